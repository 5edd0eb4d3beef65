"""Completions from a transformers model in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from warmstart import ranks
from warmstart.models import Lazy, evaluating, merged, stop_ids
from warmstart.rollouts.decoding import Decoded, decode
from warmstart.rollouts.journal import Journal
from warmstart.rollouts.sampling import Sampling, stream


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: Without special tokens.
        ids: Its tokens.
        tokens: Its length, the stop token included.
        is_finished: Whether it ended by itself.
        log_prob: Mean log-probability of its tokens under the policy, nats.
        entropy: Mean entropy of the policy over its tokens, nats.
        is_truncated: Whether it ran into the cap.
    """

    text: str
    ids: tuple[int, ...]
    tokens: int
    is_finished: bool
    log_prob: float
    entropy: float
    is_truncated: bool = False

    def after(self, prefill: str) -> Completion:
        """Return the completion with what the prompt had already written of it in front."""
        return replace(self, text=prefill + self.text) if prefill else self


def generate(
    model: PreTrainedModel | Lazy,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    max_tokens: int,
    batch_size: int,
    seed: int = 0,
    keys: Sequence[int] | None = None,
    on_progress: Callable[[int], None] | None = None,
    journal: Journal | None = None,
) -> list[list[Completion]]:
    """Return ``samples`` completions for each prompt, in the order of ``prompts``.

    In a run of several processes each samples its share and all return the whole: all must call it.

    Args:
        model: In evaluation mode or not, with an adapter or not; it is left as it was. A lazy one is loaded
            if there is something left to draw.
        tokenizer: Decodes the completions and names the stop tokens.
        prompts: Token ids.
        samples: Completions per prompt.
        temperature: 0 is greedy.
        top_p: Nucleus sampling; 1 switches it off.
        top_k: 0 switches it off.
        min_p: None switches it off.
        repetition_penalty: 1 switches it off.
        max_tokens: The cap; a completion that reaches it is not finished.
        batch_size: Completions generated at once.
        seed: Every completion has random draws of its own, keyed by seed, prompt and sample index.
        keys: What stands for each prompt in that key; by default its index.
        on_progress: Called with the number of completions of each batch, those of all processes.
        journal: Keeps every batch; those it holds already are not drawn again.
    """
    sampling = Sampling(temperature, top_p, top_k, min_p, repetition_penalty)
    # Rows of like length together, so that little is spent on padding; a prompt's samples stay together.
    mine = ranks.share([index for _, index in sorted((len(ids), index) for index, ids in enumerate(prompts))])
    rows = [(index, sample) for index in mine for sample in range(samples)]
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    told = (prompts, samples, sampling, max_tokens, batch_size, seed, keys)
    drawn = [] if journal is None else journal.open(*told)
    completions: dict[int, list[Completion]] = {index: [] for index in mine}

    def place(batch: list[tuple[int, int]], written: list[Completion]) -> None:
        for (index, _), completion in zip(batch, written, strict=True):
            completions[index].append(completion)
        if on_progress is not None:
            on_progress(len(batch) * ranks.count())

    for batch, rows_drawn in zip(batches, drawn, strict=False):
        place(batch, [Completion(**row | {"ids": tuple(row["ids"])}) for row in rows_drawn])
    if len(drawn) < len(batches):
        loaded = model.loaded() if isinstance(model, Lazy) else model
        stops = stop_ids(loaded, tokenizer)
        with evaluating(loaded), merged(loaded):
            for batch in batches[len(drawn) :]:
                indices = list(dict.fromkeys(index for index, _ in batch))
                draws = (
                    [
                        stream(max_tokens, seed, index if keys is None else keys[index], sample)
                        for index, sample in batch
                    ]
                    if temperature
                    else None
                )
                decoded = decode(
                    loaded,
                    [prompts[index] for index in indices],
                    [indices.index(index) for index, _ in batch],
                    draws,
                    sampling=sampling,
                    max_tokens=max_tokens,
                    stops=stops,
                    pad=int(tokenizer.pad_token_id),
                )
                fresh = [_completion(tokenizer, one, stops) for one in decoded]
                if journal is not None:
                    journal.append([asdict(one) for one in fresh])
                place(batch, fresh)
    everyones = dict(ranks.gather(list(completions.items())))
    return [everyones[index] for index in range(len(prompts))]


def _completion(tokenizer: PreTrainedTokenizerBase, decoded: Decoded, stops: list[int]) -> Completion:
    return Completion(
        text=str(tokenizer.decode(decoded.ids, skip_special_tokens=True)),
        ids=tuple(decoded.ids),
        tokens=len(decoded.ids),
        is_finished=decoded.ids[-1] in stops,
        is_truncated=decoded.ids[-1] not in stops,
        log_prob=sum(decoded.log_probs) / len(decoded.log_probs),
        entropy=decoded.entropy,
    )
