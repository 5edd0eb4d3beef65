"""When a warm start is enough: measured while it trains, ended by rule, rolled back to its best point.

SFT buys the format and can pay with the skill. The rule ends it when the format is there and the share
of live groups no longer rises, and keeps the adapter that was best by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from warmstart.training.checks import Check, Checker

ENOUGH_FORMAT = 0.9
"""Share of sampled completions in the exact format (DESIGN: the ladder of cures)."""
SKILL_TOLERANCE = 0.15
"""How far the lenient accuracy of a small measurement may lie below the one before; three standard errors
of 64 completions of 16 problems would be more, and the probe after the warm start is the judge."""


def choose(checks: Sequence[Check], lenient_before: float | None) -> int:
    """Return the index of the best check.

    Among those whose skill is kept: the highest live share with the format there, else the most format.
    When none has kept it, the one that kept most.
    """
    floor = -1.0 if lenient_before is None else lenient_before - SKILL_TOLERANCE
    able = [index for index, check in enumerate(checks) if check.lenient >= floor]
    if not able:
        return max(range(len(checks)), key=lambda index: checks[index].lenient)
    formed = [index for index in able if checks[index].format >= ENOUGH_FORMAT]
    if formed:
        return max(formed, key=lambda index: checks[index].live)
    return max(able, key=lambda index: checks[index].format)


def is_enough(checks: Sequence[Check]) -> bool:
    """Say whether the format is there in the last two checks and live groups have stopped rising."""
    if len(checks) < 2:
        return False
    before, now = checks[-2:]
    return before.format >= ENOUGH_FORMAT and now.format >= ENOUGH_FORMAT and now.live <= before.live


class StopRule(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Measures the model every ``every`` steps, ends training when it is enough, remembers the best adapter."""

    def __init__(
        self,
        *,
        every: int,
        checker: Checker,
        lenient_before: float | None,
        say: Callable[[str], None],
    ) -> None:
        self.checks: list[Check] = []
        self.best_adapter: dict[str, torch.Tensor] | None = None
        self._every = every
        self._checker = checker
        self._before = lenient_before
        self._say = say

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, the best adapter aside."""
        return {"args": {}, "attributes": {"checks": [asdict(check) for check in self.checks]}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go on from what a checkpoint kept."""
        kept = state.stateful_callbacks.get(type(self).__name__)
        written = kept["attributes"].get("checks", []) if kept else []
        self.checks = [Check(**check | {"strict_P": tuple(check["strict_P"])}) for check in written]

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,  # noqa: ANN401
        **kwargs: object,
    ) -> None:
        """Measure, and stop if it is enough."""
        if state.global_step % self._every and state.global_step != state.max_steps:
            return
        check = self._checker.measure(model, state.global_step)
        self.checks.append(check)
        # Which of two checks is the better does not depend on a third: the best so far is all that is needed.
        if choose(self.checks, self._before) == len(self.checks) - 1:
            self.best_adapter = {
                name: weight.detach().cpu().clone()
                for name, weight in get_peft_model_state_dict(model).items()
            }
        self._say(
            f"SFT step {check.step}: format {check.format:.0%}, right anywhere {check.lenient:.0%}, "
            f"live groups {check.live:.0%}"
        )
        if is_enough(self.checks):
            control.should_training_stop = True

    def restore_best(self, model: Any) -> None:  # noqa: ANN401
        """Put the best measured adapter into the model."""
        if self.best_adapter is not None:
            best = choose(self.checks, self._before)
            if best != len(self.checks) - 1:
                self._say(f"SFT: rolled back to step {self.checks[best].step}")
            set_peft_model_state_dict(model, self.best_adapter)
