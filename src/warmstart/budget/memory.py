"""How many bytes training and sampling take, from the model's shape: arithmetic, no torch.

Every formula counts what the code of torch, transformers, PEFT and TRL keeps; each constant says why it is
what it is. `tests/test_memory.py` and `benchmarks/memory.py` hold them against measured peaks on CPU.

Letters: d hidden, q all query heads, k all key heads, f feed-forward, r rank, c bytes of a number in the
compute precision.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from warmstart.budget.model_shapes import ModelShape

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Of a weight in NF4: 4 bits, an 8-bit scale per 64 weights, a 32-bit scale per 256 scales (arXiv:2305.14314)."""
HEAD_ROWS, HEAD_COLUMNS = 4096, 32768
"""The tile in which TRL computes logits: tokens × vocabulary; the whole matrix is never there."""
_HEAD_COPIES_CPU = 8.25
"""On CPU TRL's backward of a tile holds it and, beside it, the scaled logits, those over the temperature,
the log-probabilities, the probabilities, the gradient, two temporaries and a mask of one byte."""
_PICK_BYTES = 28
"""Per row and token of the vocabulary when a token is drawn: float32 scores, log-probabilities and
probabilities (12), and the cumulative sum in float64 with its input (16)."""


@dataclass(frozen=True, slots=True)
class Precision:
    """In which precision a phase computes.

    Attributes:
        compute: Bytes of an activation: 4, or 2 in 16 bits.
        adapter: Bytes of a trained number: 4, or 2 where TRL makes a QLoRA adapter bfloat16.
        is_nf4: Whether the linear layers are quantised.
        is_cuda: On CUDA logits are computed in place by a Triton kernel and only where there is a loss.
    """

    compute: int = 4
    adapter: int = 4
    is_nf4: bool = False
    is_cuda: bool = False

    @property
    def is_mixed(self) -> bool:
        """Whether a float32 adapter works on 16-bit activations, which PEFT casts for every layer anew."""
        return self.adapter > self.compute


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter: its rank and the layers it is on."""

    rank: int
    targets: Collection[str]

    def parameters(self, shape: ModelShape) -> int:
        """Return how many numbers are trained."""
        return shape.adapter_parameters(self.rank, self.targets)


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch at its worst: every row of full length.

    Attributes:
        rows: Completions.
        prompt: Tokens before each.
        cap: Tokens of each.
        prompts: Distinct prompts among them.
    """

    rows: int
    prompt: int
    cap: int
    prompts: int

    @property
    def length(self) -> int:
        """Tokens of a whole row."""
        return self.prompt + self.cap


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is held at the peak of a phase, by what it is for."""

    weights: float = 0
    adapter: float = 0
    activations: float = 0
    logits: float = 0
    cache: float = 0
    reserve: float = 0

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


def weight_bytes(shape: ModelShape, precision: Precision) -> float:
    """Return the bytes of the frozen base: embeddings, norms and biases are never quantised."""
    linear = shape.linear_parameters
    rest = shape.parameters - linear
    return linear * (NF4_BYTES if precision.is_nf4 else precision.compute) + rest * precision.compute


def adapter_bytes(shape: ModelShape, lora: Lora, precision: Precision) -> float:
    """Return the bytes of adapter, gradient and AdamW's two moments, all in the adapter's precision."""
    return 4 * precision.adapter * lora.parameters(shape)


def saved_bytes(
    shape: ModelShape, lora: Lora, precision: Precision, *, tokens: float, pairs: float, attended: float
) -> float:
    """Return what one decoder layer keeps for the backward pass.

    A frozen layer keeps nothing of its input; what LoRA's A, the norms, attention and the gate work on
    stays:

    - norms: their input, 2 × d, in float32 whatever the precision;
    - inputs of A: d for query, key and value, q, d for gate and up, f for down. In one precision the first
      three share one and the next two share one, and attention's own output is o's; with a float32 adapter
      on 16 bits every layer has a cast copy of its own;
    - attention: queries and output, 2 × q; keys and values repeated for every query head, 2 × q per
      attended token; the mask as numbers, once per pair of positions;
    - the gate: its input, its output and what it is multiplied with, 3 × f (and f, the input of down);
    - Qwen3's norms of heads: q + k, in float32;
    - r for the input of every B.

    Args:
        shape: The model.
        lora: The adapter.
        precision: Of the phase.
        tokens: Query tokens of the batch.
        pairs: Query positions × attended positions, summed over rows.
        attended: Attended tokens, summed over rows.
    """
    d, q, f, c = shape.hidden, shape.queries, shape.inner, precision.compute
    on = set(lora.targets)
    first, gated = on & {"q_proj", "k_proj", "v_proj"}, on & {"gate_proj", "up_proj"}
    inputs = (len(first) if precision.is_mixed else bool(first)) * d
    inputs += (len(gated) if precision.is_mixed else bool(gated)) * d
    inputs += q if precision.is_mixed and "o_proj" in on else 0
    inputs += f if "down_proj" in on else 0
    norms = 4 * (2 * d + (q + shape.keys if shape.head_norms else 0))
    per_token = norms + c * (inputs + 2 * q + 3 * f + lora.rank * len(on))
    return tokens * per_token + attended * 2 * q * c + pairs * c


def passing_bytes(shape: ModelShape, precision: Precision, *, tokens: float) -> float:
    """Return what one layer needs for a moment in its backward pass, over what it has kept.

    At the feed-forward block, where most is: the gradient of its product from the frozen layer, from the
    adapter and their sum, that of one factor, 4 × f, and the gradient of the residual stream twice, 2 × d.
    """
    return tokens * precision.compute * (4 * shape.inner + 2 * shape.hidden)


def head_bytes(shape: ModelShape, precision: Precision, *, tokens: float, scored: float) -> float:
    """Return what TRL's fused head needs: its input and gradient, and one tile of logits.

    The gradient is summed in float32. On CUDA only positions with a loss are scored, in one tile in place;
    elsewhere all are, with torch's temporaries (`_HEAD_COPIES_CPU`).
    """
    positions = scored if precision.is_cuda else tokens
    rows = min(positions, HEAD_ROWS)
    if precision.is_cuda:
        tile = rows * HEAD_COLUMNS * precision.compute
    else:
        tile = rows * min(shape.vocabulary, HEAD_COLUMNS) * 4 * _HEAD_COPIES_CPU
    return tile + positions * shape.hidden * (precision.compute + 4)


def update_bytes(
    shape: ModelShape,
    lora: Lora,
    precision: Precision,
    batch: Rows,
    *,
    checkpointing: bool,
    shares_prompts: bool = False,
    scored: int | None = None,
) -> Bytes:
    """Return the peak of one forward and backward pass over a micro-batch.

    With checkpointing each layer keeps its input, d, and one layer at a time keeps everything. With shared
    prompts (ours, without checkpointing) the prompt's queries are computed once, and its keys and values
    are attended to by every row and held in the cache.

    Args:
        shape: The model.
        lora: The adapter.
        precision: Of the phase.
        batch: The micro-batch, rows of full length.
        checkpointing: Gradient checkpointing.
        shares_prompts: Compute the prompt of a group once.
        scored: Positions with a loss; None: the completions.
    """
    tokens = float(batch.rows * batch.length)
    pairs = float(batch.rows * batch.length**2)
    attended, cache = tokens, 0.0
    if shares_prompts:
        tokens = float(batch.rows * (batch.cap + 1) + batch.prompts * batch.prompt)
        pairs = float(batch.rows * (batch.cap + 1) * batch.length + batch.prompts * batch.prompt**2)
        attended = float(batch.rows * batch.length + batch.prompts * batch.prompt)
        cache = 2 * shape.keys * shape.layers * batch.rows * batch.length * precision.compute
    one = saved_bytes(shape, lora, precision, tokens=tokens, pairs=pairs, attended=attended)
    stream = shape.layers * tokens * shape.hidden * precision.compute
    kept = stream + one if checkpointing else shape.layers * one
    # The final norm keeps its input in float32.
    ends = 4 * tokens * shape.hidden
    head = head_bytes(shape, precision, tokens=tokens, scored=scored or batch.rows * batch.cap)
    passing = passing_bytes(shape, precision, tokens=tokens)
    base = {
        "weights": weight_bytes(shape, precision),
        "adapter": adapter_bytes(shape, lora, precision),
    }
    # The head is done when the layers' backward begins: the larger of the two, not both. With
    # checkpointing no layer's inside is there yet while the head works.
    at_head, at_layer = (stream if checkpointing else kept) + ends, kept + ends + passing
    if at_head + head + cache > at_layer:
        return Bytes(**base, activations=at_head, logits=head, cache=cache)
    return Bytes(**base, activations=at_layer)


def sampling_bytes(
    shape: ModelShape,
    lora: Lora | None,
    precision: Precision,
    batch: Rows,
    *,
    holds_copy: bool = False,
    is_training: bool = False,
) -> Bytes:
    """Return the peak of sampling a batch: weights, cache, and the larger of prompt and drawing.

    The cache has room for every row's cap from the start. The other peak, of the prompts going through a
    layer, comes before it.

    Args:
        shape: The model.
        lora: The adapter, or None where it is merged for good.
        precision: Of the weights.
        batch: What is sampled at once.
        holds_copy: GRPO samples from a second, merged copy of the adapted layers.
        is_training: The optimizer's state is there.
    """
    c = precision.compute
    cache = 2 * shape.keys * shape.layers * batch.rows * batch.length * c
    prompt = batch.prompts * batch.prompt * c * (3 * shape.inner + 4 * shape.hidden)
    drawing = batch.rows * shape.vocabulary * (_PICK_BYTES + (c if c < 4 else 0))
    copied = 0
    if lora is not None and holds_copy:
        copied = shape.layers * sum(a * b for name, (a, b) in shape.linears.items() if name in lora.targets)
    state = 0.0 if lora is None else adapter_bytes(shape, lora, precision) * (0.75 if is_training else 0.25)
    return Bytes(
        weights=weight_bytes(shape, precision) + copied * c,
        adapter=state,
        activations=max(0, prompt - cache - drawing),
        logits=drawing,
        cache=cache,
    )
