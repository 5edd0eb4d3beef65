"""The watch: the same diagnosis on the steps so far, said at once, with the hopeless ones stopped.

`SignalWatch` is a callback for TRL's own `GRPOTrainer` too:

    trl.GRPOTrainer(..., callbacks=[warmstart.SignalWatch()])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from warmstart.diagnosis import Finding, RolloutStats, Severity, TrainingWindow, diagnose_training
from warmstart.tags import DEFAULT_TAGS, Tags
from warmstart.training.callbacks import metrics_line

STOPS = frozenset(
    {
        "adapter-frozen",
        "all-masked",
        "collapse",
        "gradient-blocked",
        "hacking",
        "not-a-number",
        "no-format",
        "reward-undecided",
        "sampling-degenerate",
        "too-hard",
    }
)
"""Findings after which further steps cost time and win nothing, or destroy what was won."""
ROLLS_BACK = frozenset({"collapse", "hacking", "not-a-number", "rate-too-large"})
"""Findings that say an earlier adapter was better."""
STEADY = 5
"""Steps whose mean decides which adapter was the best, and for which a finding must hold before it stops
the run: one step's rewards are noise."""

Event = dict[str, Any]
"""What the watch said: step, code, severity, evidence, advice."""


class SignalWatch(TrainerCallback):  # type: ignore[misc]
    """Says what keeps a GRPO run from learning when it happens, and stops what is hopeless.

    A finding is said once, and again when it comes back after ten quiet steps. A hopeless one that holds
    for five steps ends training; on collapse the adapter with the best five-step mean of the outcome
    reward is put back.

    Args:
        outcome: Name of the reward that says whether the answer is right.
        outcome_max: What it pays for a right answer.
        format: Name of the reward for the exact format.
        format_max: What it pays.
        tags: The answer format.
        say: Gets each line.
        on_event: Gets each finding as a value.
        stop: End the run on hopeless findings; False only warns.
    """

    def __init__(
        self,
        *,
        outcome: str = "correctness_reward_func",
        outcome_max: float = 2.0,
        format: str = "strict_format_reward_func",  # noqa: A002 - the field's word, as everywhere here.
        format_max: float = 0.5,
        tags: Tags = DEFAULT_TAGS,
        say: Callable[[str], None] = print,
        on_event: Callable[[Event], None] | None = None,
        stop: bool = True,
    ) -> None:
        self.events: list[Event] = []
        self._known: dict[str, Any] = {
            "outcome": outcome,
            "outcome_max": outcome_max,
            "format": format,
            "format_max": format_max,
        }
        self._tags = tags
        self._say = say
        self._on_event = on_event
        self._stop = stop
        self._lines: list[dict[str, Any]] = []
        self._rollouts: list[RolloutStats] = []
        self._last_said: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._best: tuple[float, int, dict[str, torch.Tensor]] | None = None

    def see(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the completions of a step: what hacking is told by."""
        if rows:
            self._rollouts.append(RolloutStats.from_rows(rows, self._known["outcome"], self._tags))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Note what the run samples with."""
        self._known |= {
            "group_size": getattr(args, "num_generations", 8),
            "cap": getattr(args, "max_completion_length", None),
            "masks_truncated": getattr(args, "mask_truncated_completions", False),
        }

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        model: Any = None,  # noqa: ANN401
        **kwargs: object,
    ) -> None:
        """Judge the steps so far."""
        if not logs or "reward" not in logs:
            return
        line = metrics_line("grpo", state.global_step, logs)
        # Stock TRL says it the other way round; with scale_rewards="batch" it means something else.
        is_told = "frac_reward_zero_std" in logs and getattr(args, "scale_rewards", "group") != "batch"
        if "live_share" not in line and is_told:
            line["live_share"] = 1.0 - logs["frac_reward_zero_std"]
        self._lines.append(line)
        self._remember(model, state.global_step)
        window = TrainingWindow.from_metrics(self._lines, rollouts=tuple(self._rollouts), **self._known)
        found = diagnose_training(window)
        codes = {one.code for one in found}
        self._held = {one.code: self._held.get(one.code, 0) + 1 for one in found}
        for one in found:
            self._tell(one, state.global_step, window.window)
        ending = [
            one for one in found if one.is_serious and one.code in STOPS and self._held[one.code] >= STEADY
        ]
        if self._stop and ending:
            self._say(f"stopped at step {state.global_step}: {ending[0].evidence}; {ending[0].advice}")
            if codes & ROLLS_BACK:
                self.restore_best(model)
            control.should_training_stop = True

    def restore_best(self, model: Any) -> None:  # noqa: ANN401
        """Put back the adapter of the best steps, if there were better ones."""
        if self._best is not None and isinstance(model, PeftModel):
            _, step, adapter = self._best
            self._say(f"the adapter of step {step} is put back")
            set_peft_model_state_dict(model, adapter)

    def _remember(self, model: Any, step: int) -> None:  # noqa: ANN401
        recent = [line.get("rewards", {}).get(self._known["outcome"]) for line in self._lines[-STEADY:]]
        if len(recent) < STEADY or None in recent or not isinstance(model, PeftModel):
            return
        mean = sum(recent) / STEADY
        if self._best is None or mean > self._best[0]:
            state = get_peft_model_state_dict(model)
            self._best = (mean, step, {name: value.detach().cpu().clone() for name, value in state.items()})

    def _tell(self, one: Finding, step: int, quiet: int) -> None:
        last = self._last_said.get(one.code)
        self._last_said[one.code] = step
        if last is not None and step - last <= quiet:
            return
        event = {
            "step": step,
            "code": one.code,
            "severity": str(one.severity),
            "evidence": one.evidence,
            "advice": one.advice,
        }
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
        if one.severity is Severity.NOTE:
            self._say(f"step {step}: {one.evidence}")
        else:
            self._say(f"step {step}: {one.code}: {one.evidence}; {one.advice}")
