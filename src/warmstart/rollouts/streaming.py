"""A completion as it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from warmstart.models import evaluating, merged, stop_ids
from warmstart.rollouts.decoding import tokens_of
from warmstart.rollouts.sampling import Sampling, stream

_HALF_A_CHARACTER = "\ufffd"


def stream_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    *,
    temperature: float,
    top_p: float = 1.0,
    max_tokens: int,
    seed: int = 0,
) -> Iterator[str]:
    """Yield a completion in pieces, each token's text as soon as it is whole; together they are its text.

    Args:
        model: With an adapter or not.
        tokenizer: Decodes, and names the stop tokens.
        prompt: Token ids.
        temperature: 0 is greedy.
        top_p: Nucleus sampling.
        max_tokens: The cap.
        seed: Of the draws.
    """
    draws = stream(max_tokens, seed) if temperature else None
    ids: list[int] = []
    shown = ""
    with evaluating(model), merged(model):
        for token in tokens_of(
            model,
            prompt,
            draws,
            sampling=Sampling(temperature=temperature, top_p=top_p),
            max_tokens=max_tokens,
            stops=stop_ids(model, tokenizer),
            pad=int(tokenizer.pad_token_id),
        ):
            ids.append(token)
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            # A character of several tokens is not there before its last one.
            if not text.endswith(_HALF_A_CHARACTER) and len(text) > len(shown):
                yield text[len(shown) :]
                shown = text
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    if len(text) > len(shown):
        yield text[len(shown) :]
