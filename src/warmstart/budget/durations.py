"""How long the phases of a run take at most, from a GPU's data sheet and what was measured on one: orders of magnitude.

`UTILISATION` and `BANDWIDTH_SHARE` are assumptions. What launching kernels takes was measured on one H200
(torch 2.11, transformers 5.23, Qwen2.5's shapes of 0.5B to 7B, `benchmarks/gpu`), on a machine whose
processor is slow at it.
"""

from __future__ import annotations

from warmstart.budget.gpus import Gpu
from warmstart.budget.memory import Precision, weight_bytes
from warmstart.budget.model_shapes import ModelShape

UTILISATION = 0.35
"""Share of the data sheet's operations that training reaches; 0.3 to 0.5 is usual for such models."""
BANDWIDTH_SHARE = 0.6
"""Share of the memory's bandwidth that reading weights and cache reaches."""
GRAPHED_TOKEN, EAGER_TOKEN = 2.1e-4, 1.4e-3
"""Seconds of one layer's launches for one token of every row: as part of a CUDA graph, and one by one (a 4-bit base)."""
UPDATE_LAYER = 9e-3
"""Seconds of one layer's launches, forward and backward, with LoRA on every linear layer: what a micro-batch takes at
least, however small."""
SHARED_PASSES = 1.7
"""With shared prompts there are two forward passes, of the prompts and of the completions, and one backward."""


def sampling_seconds(
    shape: ModelShape, precision: Precision, gpu: Gpu, *, rows: int, prompt: int, tokens: int
) -> float:
    """Return the time of one batch of completions, ``tokens`` long each.

    Every token reads the weights once and each row's cache, at half its final length on average; the
    products of a large batch, or the launches of a small one, may take longer than that.
    """
    launching = shape.layers * (EAGER_TOKEN if precision.is_nf4 else GRAPHED_TOKEN)
    cache = rows * (prompt + tokens / 2) * 2 * shape.keys * shape.layers * precision.compute
    reading = (weight_bytes(shape, precision) + cache) / (gpu.bandwidth_gbs * 1e9 * BANDWIDTH_SHARE)
    computing = 2 * shape.parameters * rows / (gpu.tflops * 1e12 * UTILISATION)
    return tokens * max(reading, computing, launching)


def update_seconds(
    shape: ModelShape,
    gpu: Gpu,
    *,
    tokens: int,
    length: int,
    micro_batches: int,
    checkpointing: bool,
    shares_prompts: bool = False,
) -> float:
    """Return the time of forward and backward over ``tokens`` tokens in rows of ``length``.

    Two operations per number and token forward, two more for the gradient of the input (a frozen weight
    has none of its own), and two to compute a checkpointed layer again; attention the same over half the
    length, four per pair and width. Small micro-batches take as long as their launches do.

    Args:
        shape: The model.
        gpu: Where.
        tokens: Of all micro-batches.
        length: Of a row.
        micro_batches: How many forward and backward passes the tokens are dealt out to.
        checkpointing: Gradient checkpointing.
        shares_prompts: Compute the prompt of a group once.
    """
    passes = 3 if checkpointing else 2
    attention = 2 * shape.layers * shape.queries * length
    computing = passes * tokens * (2 * shape.parameters + attention) / (gpu.tflops * 1e12 * UTILISATION)
    launching = micro_batches * shape.layers * UPDATE_LAYER * (SHARED_PASSES if shares_prompts else 1)
    return max(computing, launching)
