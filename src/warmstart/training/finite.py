"""No update by a gradient that is not finite: one NaN in it would end up in every weight."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from warmstart.errors import TrainingError

PATIENCE = 10
"""float16 starts with a scale that is too large and needs some steps to come down."""


class FiniteOnly(TrainerCallback):  # type: ignore[misc]
    """Leaves out updates whose gradient holds a NaN or an infinity; many in turn end the run.

    Args:
        stage: For the messages.
        say: Gets a line for each update that is left out.
    """

    def __init__(self, stage: str, say: Callable[[str], None]) -> None:
        self._stage = stage
        self._say = say
        self._in_turn = 0

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: torch.nn.Module | None = None,
        **kwargs: object,
    ) -> None:
        """Take the gradients away if they are not finite; gradients are the same on every process.

        Raises:
            TrainingError: If that was so in `PATIENCE` steps in turn.
        """
        assert model is not None
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        if all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._in_turn = 0
            return
        self._in_turn += 1
        step = state.global_step + 1
        if self._in_turn >= PATIENCE:
            raise TrainingError(
                f"the gradient of {self._stage} was not finite in {PATIENCE} steps in turn, up to step {step}",
                f"lower {self._stage}.learning_rate, or set model.dtype=bfloat16 or float32; no weight was changed by them",
            )
        model.zero_grad(set_to_none=True)
        self._say(f"{self._stage} step {step}: the gradient is not finite; its update is left out")
