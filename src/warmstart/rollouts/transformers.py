"""Completions from a transformers model in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from warmstart.models import stop_ids


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote: the text without special tokens, its length, whether it ended by itself."""

    text: str
    tokens: int
    is_finished: bool


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_tokens: int,
    batch_size: int,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Completion]]:
    """Return ``samples`` completions for each prompt, in the order of ``prompts``.

    Args:
        model: In evaluation mode or not; it is left as it was.
        tokenizer: Decodes the completions and names the stop tokens.
        prompts: Token ids.
        samples: Completions per prompt.
        temperature: 0 is greedy; otherwise the whole distribution is sampled (no top-k).
        top_p: Nucleus sampling; 1 switches it off.
        max_tokens: The cap; a completion that reaches it is not finished.
        batch_size: Completions generated at once.
        seed: The same arguments give the same completions.
        on_progress: Called with the number of completions of each batch.
    """
    ends = stop_ids(model, tokenizer)
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        if temperature
        else {"do_sample": False}
    )
    # A fresh config: the model's own would bring its vendor's top-k and top-p with it.
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
        **sampling,
    )
    # Rows of like length together, so that little is spent on padding.
    rows = sorted((len(ids), index) for index, ids in enumerate(prompts) for _ in range(samples))
    completions: list[list[Completion]] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    torch.manual_seed(seed)
    for start in range(0, len(rows), batch_size):
        batch = [index for _, index in rows[start : start + batch_size]]
        written = _generate_batch(model, config, [list(prompts[index]) for index in batch])
        for index, ids in zip(batch, written, strict=True):
            completions[index].append(_completion(tokenizer, ids, ends))
        if on_progress is not None:
            on_progress(len(batch))
    model.train(was_training)
    return completions


def _generate_batch(
    model: PreTrainedModel, config: GenerationConfig, prompts: list[list[int]]
) -> list[list[int]]:
    length = max(len(ids) for ids in prompts)
    pad = config.pad_token_id
    ids = torch.tensor([[pad] * (length - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    return output[:, length:].tolist()  # type: ignore[no-any-return]


def _completion(tokenizer: PreTrainedTokenizerBase, ids: list[int], ends: list[int]) -> Completion:
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    kept = ids if stop is None else ids[: stop + 1]
    return Completion(str(tokenizer.decode(kept, skip_special_tokens=True)), len(kept), stop is not None)
