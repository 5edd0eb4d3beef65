"""The computation of one token as a CUDA graph.

A token of a small model is some hundred kernels of a few microseconds; to launch them one by one takes
Python longer than the GPU takes to run them. A graph is recorded once and launched whole (CUDA graphs;
torch.cuda.CUDAGraph). It reads and writes the same places for every token: a token's keys and values go
where a number on the GPU says, and every row attends over all the room there is, less what its mask hides.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from transformers import PreTrainedModel

Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class FixedLayer(Protocol):
    """A layer's cache that writes its next token where ``place`` says, and gives all of its room."""

    place: torch.Tensor | None


def is_possible(model: PreTrainedModel) -> bool:
    """Return whether a token of ``model`` can be recorded: on one CUDA device, always by the same kernels.

    Quantised layers choose theirs while they run, experts take as many rows as are sent to them, and some
    rotary embeddings ask how long the text has become.
    """
    devices = {parameter.device for parameter in model.parameters()}
    config = model.config.get_text_config()
    is_quantised = getattr(model, "hf_quantizer", None) is not None
    has_experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts"))
    return (
        len(devices) == 1
        and next(iter(devices)).type == "cuda"
        and not (is_quantised or has_experts)
        and not any(_looks_at_numbers(module) for module in model.modules())
    )


def _looks_at_numbers(module: torch.nn.Module) -> bool:
    """Return whether what the layer does depends on what its tensors hold."""
    kinds = getattr(module, "rope_type", "")
    names = kinds.values() if isinstance(kinds, dict) else [str(kinds)]
    return type(module).__name__ == "Linear4bit" or any(
        "dynamic" in one or one == "longrope" for one in names
    )


class GraphedStep:
    """The next token of a fixed number of rows. The first call computes, the second records, all others replay.

    Args:
        forward: From tokens (rows, 1), mask (rows, 1, 1, room) and positions (rows, 1) to logits.
        layers: The cache; from now on it is written at ``place``.
        mask: What may be attended to, (rows, room); the places from ``length`` on count as hidden.
        positions: Of each row's next token, (rows,).
        length: Tokens in the cache.
    """

    def __init__(
        self,
        forward: Forward,
        layers: Sequence[FixedLayer],
        *,
        mask: torch.Tensor,
        positions: torch.Tensor,
        length: int,
    ) -> None:
        self._forward = forward
        self._tokens = torch.zeros_like(positions).unsqueeze(-1)
        self._positions = positions.clone().unsqueeze(-1)
        self._mask = mask.bool()[:, None, None, :].clone()
        self._mask[..., length:] = False
        self._place = torch.tensor([length], device=mask.device)
        for layer in layers:
            layer.place = self._place
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Append ``tokens`` (rows,) and return the logits of what follows, valid until the next call."""
        self._tokens.copy_(tokens.unsqueeze(-1))
        self._calls += 1
        # The first time libraries take memory and choose kernels, which a recording must not hold.
        if self._calls == 1 or tokens.device.type != "cuda":
            return self._append()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, such as one that pins a loader's memory, may go on.
            with _uncollected(), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._logits = self._append()
        self._graph.replay()
        assert self._logits is not None
        return self._logits

    def _append(self) -> torch.Tensor:
        self._mask.index_fill_(3, self._place, True)
        logits = self._forward(self._tokens, self._mask, self._positions)
        self._positions += 1
        self._place += 1
        return logits


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python from collecting garbage: to free a CUDA object of someone else's would end the recording."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
