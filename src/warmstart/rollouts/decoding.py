"""Token by token from a causal model: each prompt computed once, finished rows dropped.

`transformers.generate` computes the prompt of a group once per completion, copies its whole cache for
every token and keeps finished rows to the end of the batch. This loop does none of the three, samples
from the same distribution, and gives the log-probabilities it sampled with. On a CPU a prompt is kept and
read once for all of its rows, too (`prompt_attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

from warmstart.rollouts import graphed, prompt_attention
from warmstart.rollouts.prompt_attention import PromptCache
from warmstart.rollouts.sampling import Sampling, pick, with_float64

_DROP_SHARE, _DROP_SHARE_GRAPHED = 1 / 8, 1 / 2
"""Finished rows leave the batch when they are this share of it: leaving copies the cache once, and a graph
is recorded anew."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One completion as tokens.

    Attributes:
        ids: Its tokens; the last one is a stop token unless the cap was reached.
        log_probs: Of each token under the policy, nats.
        entropy: Mean over its tokens of the policy's entropy, nats.
    """

    ids: list[int]
    log_probs: list[float]
    entropy: float


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    draws: Sequence[np.ndarray[Any, Any]] | None,
    *,
    sampling: Sampling,
    max_tokens: int,
    stops: Sequence[int],
    pad: int,
) -> list[Decoded]:
    """Return one completion per entry of ``rows``, in order.

    Args:
        model: In evaluation mode.
        prompts: Token ids of each distinct prompt.
        rows: For each completion the index of its prompt.
        draws: For each completion its uniform draws, ``max_tokens`` long; None is greedy.
        sampling: The distribution of a token.
        max_tokens: The cap.
        stops: Tokens that end a completion.
        pad: Fills short prompts on the left; it is masked.
    """
    device = model.device
    batch = _Batch(model, prompts, rows, max_tokens=max_tokens, pad=pad, history=sampling.needs_history)
    processors = sampling.processors()
    stop_ids = torch.tensor(stops, device=device)
    uniform = None if draws is None else torch.from_numpy(np.stack(draws)).to(with_float64(device))
    alive = torch.arange(len(rows), device=device)  # Which completion each row of the batch is.
    running = torch.ones(len(rows), dtype=torch.bool, device=device)
    shape = (len(rows), max_tokens)
    tokens = torch.full(shape, pad, device=device)
    log_probs = torch.zeros(shape, device=device)
    entropies = torch.zeros(shape, device=device)
    lengths = torch.full((len(rows),), max_tokens, device=device)
    for step in range(max_tokens):
        drawn = None if uniform is None else uniform[alive.to(uniform.device), step]
        token, log_prob, entropy = pick(batch.logits, drawn, sampling, processors, batch.history)
        tokens[alive, step], log_probs[alive, step], entropies[alive, step] = token, log_prob, entropy
        ended = running & torch.isin(token, stop_ids)
        lengths[alive[ended]] = step + 1
        running &= ~ended
        left = int(running.sum())
        if left == 0 or step + 1 == max_tokens:
            break
        if left <= (1 - batch.drop_share) * len(running):
            kept = running.nonzero().squeeze(-1)
            batch.keep(kept)
            alive, token, running = alive[kept], token[kept], running[kept]
        batch.advance(token)
    mask = torch.arange(max_tokens, device=device) < lengths.unsqueeze(-1)
    means = (entropies * mask).sum(dim=-1) / lengths
    return [
        Decoded(ids[:length], probs[:length], mean)
        for ids, probs, length, mean in zip(
            tokens.tolist(), log_probs.tolist(), lengths.tolist(), means.tolist(), strict=True
        )
    ]


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer in memory taken once: a token is written, nothing is copied."""

    is_sliding = False

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.length = 0
        self.place: torch.Tensor | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self.room, width)
        self.values = value_states.new_empty(rows, heads, self.room, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.place is not None:
            self.keys.index_copy_(2, self.place, key_states)
            self.values.index_copy_(2, self.place, value_states)
            return self.keys, self.values
        end = self.length + key_states.shape[-2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        return self.room

    def select(self, rows: torch.Tensor, room: int, length: int) -> None:
        """Keep the given rows' first ``length`` tokens, repeated rows too, in a block with ``room`` tokens."""
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            # Zeros: what a mask hides is multiplied by nothing, and chance memory may be NaN.
            new = old.new_zeros(len(rows), old.shape[1], room, old.shape[3])
            new[:, :, :length] = old[:, :, :length].index_select(0, rows)
            setattr(self, name, new)
        self.room, self.length, self.place = room, length, None


class _Batch:
    """The rows being written: their cache, positions and the logits of their next token."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        *,
        max_tokens: int,
        pad: int,
        history: bool,
    ) -> None:
        self._model = model
        device = model.device
        length = max(map(len, prompts))
        ids = torch.tensor([[pad] * (length - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=device)
        count = int(model.config.get_text_config().num_hidden_layers)
        self._is_plain = _attends_to_everything(model)
        # Windows and linear layers keep state of other shapes; transformers' own cache knows them.
        self._cache = (
            Cache(layers=[_Layer(length) for _ in range(count)])
            if self._is_plain
            else DynamicCache(config=model.config)
        )
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        self.logits = self._forward(ids, mask, positions)
        index = torch.tensor(rows, device=device)
        self.logits = self.logits[index]
        self._position = mask.sum(dim=-1)[index]
        self.history = ids[index] if history else None
        self._mask = torch.cat([mask[index], mask.new_ones(len(rows), max_tokens)], dim=-1)
        self._is_graphed = self._is_plain and graphed.is_possible(model)
        self.drop_share = _DROP_SHARE_GRAPHED if self._is_graphed else _DROP_SHARE
        self._prompts: PromptCache | None = None
        is_shared = self._is_plain and not self._is_graphed and len(rows) > len(prompts)
        if is_shared and prompt_attention.is_possible(model):
            self._prompts = PromptCache(self._cache.layers, mask, index)
            self._cache = Cache(layers=[_Layer(max_tokens) for _ in range(count)])
            self._room, self._length = max_tokens, 0
        else:
            self._room, self._length = length + max_tokens, length
            self._select(index)
        self._step = self._recorded() if self._is_graphed else self._next

    def advance(self, tokens: torch.Tensor) -> None:
        """Append one token to every row and compute what follows."""
        self.logits = self._step(tokens)
        self._length += 1
        self._position = self._position + 1
        if self.history is not None:
            self.history = torch.cat([self.history, tokens.unsqueeze(-1)], dim=-1)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop every other row."""
        self._select(rows)
        if self._prompts is not None:
            self._prompts.keep(rows)
        self._mask, self._position = self._mask[rows], self._position[rows]
        if self._is_graphed:
            self._step = self._recorded()
        if self.history is not None:
            self.history = self.history[rows]

    def _next(self, tokens: torch.Tensor) -> torch.Tensor:
        if self._prompts is not None:
            with prompt_attention.in_use(self._model):
                return self._forward(
                    tokens.unsqueeze(-1),
                    self._prompts.bias,
                    self._position.unsqueeze(-1),
                    prompts=self._prompts,
                )
        mask = self._mask[:, : self._length + 1]
        if self._is_plain:
            # Four dimensions: taken as it is, instead of being built anew for every token.
            mask = mask.bool()[:, None, None, :]
        return self._forward(tokens.unsqueeze(-1), mask, self._position.unsqueeze(-1))

    def _recorded(self) -> graphed.GraphedStep:
        return graphed.GraphedStep(
            self._forward,
            self._cache.layers,
            mask=self._mask,
            positions=self._position,
            length=self._length,
        )

    def _select(self, rows: torch.Tensor) -> None:
        if self._is_plain:
            for layer in self._cache.layers:
                layer.select(rows, self._room, self._length)
        else:
            self._cache.batch_select_indices(rows)

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, **attention: PromptCache
    ) -> torch.Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **attention,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _attends_to_everything(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    if config._attn_implementation != "sdpa":
        # Eager attention would add a mask of booleans to its scores; others build masks of their own.
        return False
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    return getattr(config, "sliding_window", None) is None


@torch.no_grad()
def tokens_of(
    model: PreTrainedModel,
    prompt: Sequence[int],
    draws: np.ndarray[Any, Any] | None,
    *,
    sampling: Sampling,
    max_tokens: int,
    stops: Sequence[int],
    pad: int,
) -> Iterator[int]:
    """Yield the tokens of one completion as they are drawn: those of `decode`, a stop token the last."""
    batch = _Batch(model, [prompt], [0], max_tokens=max_tokens, pad=pad, history=sampling.needs_history)
    processors = sampling.processors()
    for step in range(max_tokens):
        drawn = None if draws is None else torch.tensor([draws[step]], device=with_float64(model.device))
        token, _, _ = pick(batch.logits, drawn, sampling, processors, batch.history)
        yield int(token)
        if int(token) in stops or step + 1 == max_tokens:
            return
        batch.advance(token)
