"""An engine that writes the trainer's completions, and the proof that it has the trainer's weights.

vLLM computes the policy a second time, with other kernels. It can hold the weights of yesterday, drop the
adapter, or have another template's idea of the base, and training goes on all the same, on completions of
another model. `check_engine` nudges the adapter, hands it over, and looks whether the engine follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from warmstart import ranks
from warmstart.errors import TrainingError
from warmstart.models import evaluating, merged

NUDGE = 0.5
"""Nats per token that the trainer's own log-probabilities are moved by, on average: far over the noise of
16-bit kernels."""
FOLLOWS = 0.5
"""The engine must be nearer to the nudged trainer than to the old one by this factor."""
ANOTHER = 0.5
"""A mean gap of so many nats per token before anything moved: it is another policy."""

Written = tuple[list[int], list[float]]
"""A completion's tokens and the engine's log-probability of each."""


class Engine(Protocol):
    """Writes completions with the trainer's weights, once it has been given them."""

    def sync(self) -> None:
        """Hand the trainer's weights over."""

    def write(self, prompts: Sequence[Sequence[int]]) -> list[Written]:
        """Return a sampled completion of every prompt."""


class TrlEngine:
    """The vLLM of a TRL trainer, in its process (colocate) or behind an address (server)."""

    def __init__(self, trainer: Any) -> None:  # noqa: ANN401
        self._trainer = trainer

    def sync(self) -> None:
        """Hand the weights over, the adapter merged into a copy: TRL merges in place and back, which drifts."""
        if ranks.sharded():
            self._trainer.vllm_generation.sync_weights()
            return
        with handing_over(self._trainer.accelerator.unwrap_model(self._trainer.model)):
            self._trainer.vllm_generation.sync_weights()

    def follow(self) -> None:
        """Hand the weights over if a step was taken since; TRL then finds nothing left to do."""
        if self._trainer.state.global_step != self._trainer._last_loaded_step:
            self.sync()
            self._trainer._last_loaded_step = self._trainer.state.global_step

    def write(self, prompts: Sequence[Sequence[int]]) -> list[Written]:
        """Return a sampled completion of every prompt, with the log-probabilities it was sampled with."""
        _, ids, log_probs, _ = self._trainer.vllm_generation.generate(
            prompts=[list(prompt) for prompt in prompts], images=None, num_generations=1
        )
        return [
            (list(row), [float(one[0]) for one in probs]) for row, probs in zip(ids, log_probs, strict=True)
        ]


@contextmanager
def handing_over(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Let TRL find the adapter merged inside the ``with`` block, so that it does not merge it itself."""
    with merged(model), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        yield


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """Mean absolute differences between engine and trainer, in nats per token.

    Attributes:
        gap: As training would start.
        followed: After the adapter was nudged and handed over.
        stale: What ``followed`` would be if the engine had kept the old weights, as its own completions tell it.
    """

    gap: float
    followed: float
    stale: float

    @property
    def has_followed(self) -> bool:
        """Whether the engine computes with the weights it was given last."""
        return self.followed < FOLLOWS * self.stale


def check_engine(
    model: Any,  # noqa: ANN401
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
) -> EngineCheck:
    """Return how near the engine is to the trainer, before and after the weights moved; they are put back.

    Args:
        model: With a LoRA adapter; the one the engine is given by `Engine.sync`.
        engine: Under test.
        prompts: Token ids; a few will do.
        temperature: Of the engine's sampling and of the trainer's log-probabilities.

    Raises:
        TrainingError: If the engine computes another policy, or does not follow the trainer's.
    """
    engine.sync()
    written = engine.write(prompts)
    before = log_probs_of(model, prompts, written, temperature)
    with nudged(model, prompts, written, before, temperature):
        engine.sync()
        moved = engine.write(prompts)
        followed = gap(log_probs_of(model, prompts, moved, temperature), moved)
    stale = gap(log_probs_of(model, prompts, moved, temperature), moved)
    engine.sync()
    found = EngineCheck(gap(before, written), followed, stale)
    if found.gap > ANOTHER:
        raise TrainingError(
            f"vLLM computes another model than the trainer: their log-probabilities differ by {found.gap:.2f} nats per token",
            "does it serve the recipe's base, in the same precision? The trainer hands it the weights of model.name alone",
        )
    if not found.has_followed:
        raise TrainingError(
            f"vLLM does not follow the trainer's weights: after a nudge of {found.stale:.2f} nats per token it is "
            f"{found.followed:.2f} away from the trainer",
            "update vLLM to a version that TRL names (warmstart doctor), or set grpo.vllm=off",
        )
    return found


@contextmanager
def nudged(
    model: Any,  # noqa: ANN401
    prompts: Sequence[Sequence[int]],
    written: Sequence[Written],
    before: Sequence[Sequence[float]],
    temperature: float = 1.0,
) -> Iterator[None]:
    """Move every B of the adapter inside the ``with`` block until the log-probabilities of ``written`` move by `NUDGE`.

    Raises:
        TrainingError: If there is no adapter, or nothing moves them.
    """
    weights = [p for name, p in model.named_parameters() if "lora_B" in name]
    if not weights:
        raise TrainingError("the check of vLLM needs a LoRA adapter", "use one, or set grpo.vllm=off")
    kept = [p.detach().clone() for p in weights]
    noise = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=noise).to(p) for p in weights]
    try:
        for doubling in range(12):
            for p, old, direction in zip(weights, kept, directions, strict=True):
                p.data.copy_(old + 1e-3 * 2**doubling * direction)
            now = log_probs_of(model, prompts, written, temperature)
            if _mean_difference(before, now) >= NUDGE:
                break
        else:
            raise TrainingError(
                "the adapter does not move the model: its log-probabilities stay where they are",
                "is the adapter active, and are its layers among lora.target_modules?",
            )
        yield
    finally:
        for p, old in zip(weights, kept, strict=True):
            p.data.copy_(old)


@torch.no_grad()
def log_probs_of(
    model: Any,  # noqa: ANN401
    prompts: Sequence[Sequence[int]],
    written: Sequence[Written],
    temperature: float = 1.0,
) -> list[list[float]]:
    """Return the trainer's log-probability of every token written, in nats."""
    found = []
    with evaluating(model):
        for prompt, (ids, _) in zip(prompts, written, strict=True):
            tokens = torch.tensor([[*prompt, *ids]], device=model.device)
            logits = model(input_ids=tokens).logits[0, len(prompt) - 1 : -1].float() / temperature
            chosen = torch.log_softmax(logits, dim=-1).gather(-1, tokens[0, len(prompt) :].unsqueeze(-1))
            found.append(chosen.squeeze(-1).tolist())
    return found


def gap(trainers: Sequence[Sequence[float]], written: Sequence[Written]) -> float:
    """Return the mean absolute difference between the trainer's log-probabilities and the engine's, nats per token."""
    return _mean_difference(trainers, [log_probs for _, log_probs in written])


def _mean_difference(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    return float(
        np.mean(
            [abs(x - y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
        )
    )
