"""The watch: the same diagnosis on the steps so far, said at once, with the hopeless ones stopped.

`SignalWatch` is a callback for TRL's own `GRPOTrainer` too:

    watch = warmstart.SignalWatch(outcome="my_reward")
    trl.GRPOTrainer(..., reward_funcs=watch.reading([my_reward, my_format]), callbacks=[watch])

`reading` lets it see the completions, which is how reward hacking is told; without it the watch judges
by the logged numbers alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from warmstart import ranks
from warmstart.diagnosis import (
    Evaluation,
    Finding,
    RolloutStats,
    Severity,
    TrainingWindow,
    diagnose_training,
    usual_rate,
)
from warmstart.diagnosis.window import EARLY
from warmstart.estimates import Rate, percent
from warmstart.tags import DEFAULT_TAGS, Tags
from warmstart.training.callbacks import Sink, metrics_line
from warmstart.training.checks import Checker

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
REMEMBERED = 1_000
"""Steps that are judged by, beside the first five: a run of any length takes the same memory and time a step."""

Event = dict[str, Any]
"""What the watch said: step, code, severity, evidence, advice."""


class SignalWatch(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Says what keeps a GRPO run from learning when it happens, and stops what is hopeless.

    Everything said is kept in ``events``, and what was read of the completions of each step in ``rollouts``.
    A finding is said once, and again when it comes back after ten quiet steps. A hopeless one that holds
    for five steps ends training; on collapse the best adapter is put back: by held-out strict accuracy where
    that is measured, else by the five-step mean of the outcome reward.

    Args:
        outcome: Name of the reward that says whether the answer is right.
        outcome_max: What it pays for a right answer.
        format: Name of the reward for the exact format.
        format_max: What it pays.
        tags: The answer format.
        say: Gets each line.
        stop: End the run on hopeless findings; False only warns.
        checker: Measures the model on problems that are not trained on, graded apart from the rewards.
        check_every: Steps between those measurements; 0 for none.
        sink: Gets what was read and measured as lines of metrics.jsonl (``writing``, ``check``): the curves
            that show what the watch says.
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
        stop: bool = True,
        checker: Checker | None = None,
        check_every: int = 0,
        sink: Sink | None = None,
    ) -> None:
        self.events: list[Event] = []
        self.rollouts: list[RolloutStats] = []
        self.best_adapter: dict[str, torch.Tensor] | None = None
        self._known: dict[str, Any] = {
            "outcome": outcome,
            "outcome_max": outcome_max,
            "format": format,
            "format_max": format_max,
        }
        self._tags = tags
        self._say = say if ranks.is_main() else lambda line: None
        self._stop = stop
        self.record: Callable[[str, float], None] | None = None
        """Takes what was measured into the trainer's own log of the step; `warmstart.GRPOTrainer._record`."""
        self._checker = checker
        self._check_every = check_every
        self._sink = sink
        self._evaluations: list[Evaluation] = []
        self._lines: list[dict[str, Any]] = []
        self._last_said: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._best: tuple[float, int] | None = None

    def see(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take the completions of a step: what hacking is told by."""
        if not rows:
            return
        self.rollouts.append(RolloutStats.from_rows(rows, self._known["outcome"], self._tags))
        _forget(self.rollouts)
        if self._sink is not None:
            self._sink({"stage": "writing", **asdict(self.rollouts[-1])})

    def reading(
        self, reward_funcs: Sequence[Callable[..., list[float | None]]], *, gold: str = "answer"
    ) -> list[Callable[..., list[float | None]]]:
        """Return the reward functions, of which the outcome's lets the watch see what it is called on.

        Args:
            reward_funcs: For `trl.GRPOTrainer`; they keep their names.
            gold: The column with the gold answer.

        Raises:
            ValueError: If none of them is the outcome.
        """
        names = [function.__name__ for function in reward_funcs]
        if self._known["outcome"] not in names:
            raise ValueError(f"the outcome {self._known['outcome']!r} is none of the rewards {names}")
        return [
            self._read_by(function, gold) if function.__name__ == self._known["outcome"] else function
            for function in reward_funcs
        ]

    def _read_by(
        self, function: Callable[..., list[float | None]], gold: str
    ) -> Callable[..., list[float | None]]:
        @functools.wraps(function)
        def rewarded(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:  # noqa: ANN401
            paid = function(prompts=prompts, completions=completions, **columns)
            step = getattr(columns.get("trainer_state"), "global_step", 0) + 1
            golds = columns.get(gold, [""] * len(completions))
            texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
            rows = [
                {
                    "step": step,
                    "problem_id": str(prompt),
                    "gold": str(answer),
                    "text": text,
                    "rewards": {function.__name__: value},
                }
                for prompt, answer, text, value in zip(prompts, golds, texts, paid, strict=True)
            ]
            self.see(step, rows)
            return paid

        return rewarded

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,  # noqa: ANN401
        **kwargs: object,
    ) -> None:
        """Note what the run samples and learns with, and go on from what a checkpoint kept."""
        self._known |= {
            "group_size": getattr(args, "num_generations", 8),
            "temperature": getattr(args, "temperature", None),
            "cap": getattr(args, "max_completion_length", None),
            "masks_truncated": getattr(args, "mask_truncated_completions", False),
            "peak_rate": args.learning_rate,
            "usual_rate": usual_rate(model.num_parameters()) if isinstance(model, PeftModel) else None,
        }

        kept = state.stateful_callbacks.get(type(self).__name__)
        if kept and state.global_step:
            self._restore(**kept["attributes"])

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, the best adapter aside."""
        attributes = {
            "events": self.events,
            "rollouts": [asdict(stats) for stats in self.rollouts],
            "evaluations": [asdict(evaluation) for evaluation in self._evaluations],
            "lines": self._lines,
            "last_said": self._last_said,
            "held": self._held,
            "best": self._best,
        }
        return {"args": {}, "attributes": attributes}

    def _restore(self, **kept: Any) -> None:  # noqa: ANN401
        self.events = kept["events"]
        self.rollouts = [RolloutStats(**stats) for stats in kept["rollouts"]]
        self._evaluations = [_evaluation(**evaluation) for evaluation in kept["evaluations"]]
        self._lines, self._last_said, self._held = kept["lines"], kept["last_said"], kept["held"]
        self._best = None if kept["best"] is None else (kept["best"][0], kept["best"][1])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,  # noqa: ANN401
        **kwargs: object,
    ) -> None:
        """Measure held-out problems when it is time."""
        if self._checker is None or not self._check_every or state.global_step % self._check_every:
            return
        check = self._checker.measure(model, state.global_step)
        found = check.evaluation()
        self._evaluations.append(found)
        if self.record is not None:
            for name, share in (
                ("signal/held_out_strict", found.strict.value),
                ("signal/held_out_lenient", check.lenient),
                ("signal/held_out_format", check.format),
            ):
                self.record(name, share)
        if self._sink is not None and state.is_world_process_zero:
            shares = {"format": check.format, "lenient": check.lenient, "live_share": check.live}
            line = {"stage": "check", "step": state.global_step, "strict": found.strict.to_dict()}
            self._sink(line | shares)
        self._say(
            f"step {state.global_step}: held out, one sample: strict {percent(found.strict.value)} % "
            f"[{percent(found.strict.low)}, {percent(found.strict.high)}], format {check.format:.0%}"
        )
        self._keep_if_best(found.strict.value, model, state.global_step)

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
        _forget(self._lines)
        self._remember(model, state.global_step)
        window = TrainingWindow.from_metrics(
            self._lines,
            rollouts=tuple(self.rollouts),
            evaluations=tuple(self._evaluations),
            **self._known,
        )
        # The main process alone has read the completions; all of them stop, or none.
        found = ranks.from_main(lambda: diagnose_training(window))
        codes = {one.code for one in found if one.is_serious}
        self._held = {one.code: self._held.get(one.code, 0) + 1 for one in found}
        for one in found:
            self._tell(one, state.global_step, window.window)
        ending = [
            one for one in found if one.is_serious and one.code in STOPS and self._held[one.code] >= STEADY
        ]
        if self._stop and ending:
            self._say(f"stopped at step {state.global_step}: {ending[0].evidence}; {ending[0].advice}")
            kept = self.restore_best(model) if codes & ROLLS_BACK else None
            self.events.append(
                {
                    "step": state.global_step,
                    "code": ending[0].code,
                    "severity": "stop",
                    "evidence": f"held for {self._held[ending[0].code]} steps: training was stopped",
                    "advice": "the last adapter is kept"
                    if kept is None
                    else f"the adapter of step {kept} is put back",
                }
            )
            control.should_training_stop = True

    def said_at(self, step: int) -> list[Event]:
        """Return what was said at a step, without its number: the ``events`` of its line in metrics.jsonl."""
        return [
            {key: value for key, value in event.items() if key != "step"}
            for event in self.events
            if event["step"] == step
        ]

    def restore_best(self, model: Any) -> int | None:  # noqa: ANN401
        """Put back the adapter of the best steps, if there were better ones, and return their step."""
        if self._best is None or self.best_adapter is None or not isinstance(model, PeftModel):
            return None
        _, step = self._best
        self._say(f"the adapter of step {step} is put back")
        set_peft_model_state_dict(model, self.best_adapter)
        return step

    def _remember(self, model: Any, step: int) -> None:  # noqa: ANN401
        recent = [line.get("rewards", {}).get(self._known["outcome"]) for line in self._lines[-STEADY:]]
        if self._evaluations or len(recent) < STEADY or None in recent:
            return
        self._keep_if_best(sum(recent) / STEADY, model, step)

    def _keep_if_best(self, value: float, model: Any, step: int) -> None:  # noqa: ANN401
        is_first_held_out = len(self._evaluations) == 1  # What was kept before is of another scale.
        if isinstance(model, PeftModel) and (
            is_first_held_out or self._best is None or value > self._best[0]
        ):
            state = get_peft_model_state_dict(model)
            self._best = (value, step)
            self.best_adapter = {name: weight.detach().cpu().clone() for name, weight in state.items()}

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
        if one.severity is Severity.NOTE:
            self._say(f"step {step}: {one.evidence}")
        else:
            self._say(f"step {step}: {one.code}: {one.evidence}; {one.advice}")


def _forget(steps: list[Any]) -> None:
    """Leave out the oldest steps after the first five."""
    del steps[EARLY : max(EARLY, len(steps) - REMEMBERED)]


def _evaluation(step: int, **rates: Any) -> Evaluation:  # noqa: ANN401
    told: dict[str, Any] = {name: None if rate is None else Rate(**rate) for name, rate in rates.items()}
    return Evaluation(step, **told)
