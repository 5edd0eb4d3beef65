"""Attention of one token per row that reads the prompt of a group once for all of its rows.

To write a token, attention reads the keys and values of everything before it. On a CPU this reading is
what attention costs, and most of what is read is the prompt, the same for every row of a group. Here the
queries of a group are multiplied with one copy of it, its own tokens are read as ever, and one softmax
goes over both (Hydragen, arXiv:2402.05099). Nothing is left out: but for rounding the result is that of
attention over the whole row.

Names of dimensions: P prompts, M rows of the largest group, B rows, K heads of keys, R heads of queries
for each of them, D width of a head, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, PreTrainedModel

MODELS = ("qwen2", "qwen3", "llama")
"""`model_type` of the models whose attention is that of `attend`, each held against its own by a test. Others may
cap their scores, keep something else than keys and values, or not hand arguments down to their layers."""
_NAME = "warmstart_prompt_attention"


class FilledLayer(Protocol):
    """A layer's cache after the prompts went through, keys and values (P, K, T, D)."""

    keys: torch.Tensor
    values: torch.Tensor


def is_possible(model: PreTrainedModel) -> bool:
    """Return whether ``model`` is one of `MODELS`, with its standard attention, on a CPU.

    On a GPU a token costs the launches of its kernels, and this takes more of them than one fused kernel.
    """
    config = model.config.get_text_config()
    return (
        model.device.type == "cpu" and config.model_type in MODELS and config._attn_implementation == "sdpa"
    )


class PromptCache:
    """The prompts of all rows: every layer's keys and values once, and which row has which prompt.

    Args:
        layers: Every layer's cache, filled with the prompts.
        mask: Which tokens are a prompt's own, (P, T).
        prompt_of: The prompt of each row, (B,); every prompt has one.
    """

    def __init__(self, layers: Sequence[FilledLayer], mask: torch.Tensor, prompt_of: torch.Tensor) -> None:
        self._layers = [(layer.keys, layer.values) for layer in layers]
        bias = layers[0].keys.new_zeros(mask.shape).masked_fill(mask == 0, -torch.inf)
        self.bias = bias[:, None, None, :]
        """What is added to the scores of a prompt's tokens, (P, 1, 1, T): 0, and minus infinity for padding."""
        self._place(prompt_of)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop every other row, and the prompts that no row has any more."""
        left, index = torch.unique(self._prompt_of[rows], return_inverse=True)
        if len(left) < len(self.bias):
            self._layers = [(keys[left], values[left]) for keys, values in self._layers]
            self.bias = self.bias[left]
        self._place(index)

    def _place(self, prompt_of: torch.Tensor) -> None:
        """Give every row a slot: its prompt's, and among those the next free one."""
        sizes = torch.bincount(prompt_of, minlength=len(self.bias))
        order = torch.argsort(prompt_of, stable=True)
        starts = sizes.cumsum(0) - sizes
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order)) - starts[prompt_of[order]]
        self._most = int(sizes.max())
        self._prompt_of, self._slot = prompt_of, prompt_of * self._most + rank

    def scores(self, layer: int, query: torch.Tensor) -> torch.Tensor:
        """Return the scores of the prompt's tokens, (B, K, R, T), of scaled queries (B, K, R, D)."""
        keys, _ = self._layers[layer]
        heads = keys.shape[1]
        added = self.bias.expand(-1, heads, 1, -1).flatten(0, 1)
        found = torch.baddbmm(added, self._by_prompt(query), keys.flatten(0, 1).transpose(1, 2))
        return self._by_row(found, heads)

    def values(self, layer: int, weights: torch.Tensor) -> torch.Tensor:
        """Return the prompt's values under weights (B, K, R, T), summed, (B, K, R, D)."""
        _, values = self._layers[layer]
        return self._by_row(torch.bmm(self._by_prompt(weights), values.flatten(0, 1)), values.shape[1])

    def _by_prompt(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what is of rows, (B, K, R, any), as (P K, M R, any); slots without a row are zero."""
        _, heads, queries, width = rows.shape
        slots = rows.new_zeros(len(self.bias) * self._most, heads, queries, width)
        slots[self._slot] = rows
        together = slots.view(-1, self._most, heads, queries, width).transpose(1, 2)
        return together.reshape(-1, self._most * queries, width)

    def _by_row(self, prompts: torch.Tensor, heads: int) -> torch.Tensor:
        """Return what is of prompts, (P K, M R, any), as (B, K, R, any)."""
        apart = prompts.view(len(self.bias), heads, self._most, -1, prompts.shape[-1]).transpose(1, 2)
        return apart.flatten(0, 1)[self._slot]


@contextmanager
def in_use(model: PreTrainedModel) -> Iterator[None]:
    """Let the layers of ``model`` attend by `attend` inside this block; they want ``prompts`` as an argument."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def attend(
    module: Any,  # noqa: ANN401
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    prompts: PromptCache,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Return what one new token of every row sees, (B, 1, K R, D), as transformers asks it of attention.

    Args:
        module: The layer; its ``layer_idx`` says which.
        query: (B, K R, 1, D).
        key: Of the row's own tokens, the new one included, (B, K, T, D).
        value: Of the same tokens.
        attention_mask: Not needed: the prompts know their padding, and a row has none.
        scaling: Factor of the scores.
        prompts: What stands before these tokens.
    """
    rows, heads = key.shape[:2]
    asked = (query * scaling).view(rows, heads, -1, query.shape[-1])
    scores = [prompts.scores(module.layer_idx, asked), torch.matmul(asked, key.transpose(2, 3))]
    weights = torch.softmax(torch.cat(scores, dim=-1), dim=-1, dtype=torch.float32).to(value.dtype)
    on_prompt, on_row = torch.split(weights, [part.shape[-1] for part in scores], dim=-1)
    seen = prompts.values(module.layer_idx, on_prompt) + torch.matmul(on_row, value)
    return seen.reshape(rows, 1, -1, value.shape[-1]), None


AttentionInterface.register(_NAME, attend)
