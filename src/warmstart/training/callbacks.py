"""What the trainers' logs become: lines of the run directory and the live line of the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from warmstart.progress import Task
from warmstart.time_split import TimeSplit, Work, best_lever

Sink = Callable[[dict[str, Any]], None]
"""Takes one line of metrics.jsonl."""

_RENAMED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "reward": "reward",
    "reward_std": "reward_std",
    "entropy": "entropy",
    "signal/entropy": "entropy",
    "kl": "kl",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncated_share",
    "signal/live_share": "live_share",
    "signal/mixed_share": "outcome_live_share",
    "signal/expected_live_share": "expected_live_share",
    "signal/update_share": "update_share",
    "signal/all_fail_share": "all_fail_share",
    "signal/all_pass_share": "all_pass_share",
    "signal/undecided_share": "undecided_share",
    "signal/reward_fault_share": "reward_fault_share",
    "sampling/sampling_logp_difference/mean": "engine_gap",
    "signal/held_out_strict": "held_out_strict",
    "signal/held_out_lenient": "held_out_lenient",
    "signal/held_out_format": "held_out_format",
    "time/generate_s": "generate_s",
    "time/score_s": "score_s",
    "step_time": "step_s",
}
_REWARD = "rewards/"
_MEAN = "/mean"


class Metrics(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Writes one line per step, adds up what the stage reports, and keeps the progress bar going.

    Attributes:
        steps: Logged steps, those before a checkpoint included.
        loss: The sum of their losses.
        generated_tokens: All tokens generated.
    """

    def __init__(self, stage: str, task: Task, sink: Sink) -> None:
        self.steps = 0
        self.loss = 0.0
        self.generated_tokens = 0
        self._stage = stage
        self._task = task
        self._sink = sink

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        sums = {"steps": self.steps, "loss": self.loss, "generated_tokens": self.generated_tokens}
        return {"args": {}, "attributes": sums}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go on from what a checkpoint kept."""
        kept = state.stateful_callbacks.get(type(self).__name__)
        if kept and state.global_step:
            for name, value in kept["attributes"].items():
                setattr(self, name, value)
            self._task.advance(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        """Take one log of the trainer; the closing summary of TRL is left out."""
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        # What the trainer remembers of every step grows without end, and the run directory holds it.
        del state.log_history[:-1]
        line = metrics_line(self._stage, state.global_step, logs, generations=generations_per_log(args))
        self.steps += 1
        self.loss += line.get("loss", 0.0)
        self.generated_tokens += line.get("generated_tokens", 0)
        self._sink(line)
        self._task.advance(1, live_line(line))


class TimeNote(TrainerCallback):  # type: ignore[misc]
    """Says once, when the first steps are over, where their time went and what would shorten them most.

    Args:
        work: Returns what the time is spent on, given the longest completion of the step.
        say: Gets the line.
        after: Steps to wait for: the first ones also warm caches up.
    """

    def __init__(self, work: Callable[[float], Work], say: Callable[[str], None], *, after: int = 3) -> None:
        self._work = work
        self._say = say
        self._after = after

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: object,
    ) -> None:
        """Speak at the step it was told to wait for."""
        if (
            not state.is_world_process_zero
            or state.global_step != self._after
            or "reward" not in (logs or {})
        ):
            return
        assert logs is not None
        line = metrics_line("grpo", state.global_step, logs, generations=generations_per_log(args))
        split = TimeSplit.from_line(line)
        if split is not None:
            lever = best_lever(split, self._work(float(logs.get("completions/max_length", 0.0))))
            self._say(split.describe() + ("" if lever is None else f"; {lever}"))


def generations_per_log(args: TrainingArguments) -> float:
    """Return how many times completions are generated for each optimizer step whose time is logged.

    TRL logs means. A step that generates nothing has no generation time in its log; over several steps the
    mean is taken over the generations alone.
    """
    each = int(getattr(args, "steps_per_generation", None) or args.gradient_accumulation_steps)
    per_step = args.gradient_accumulation_steps / (each * int(getattr(args, "num_iterations", 1)))
    return float(max(1.0, per_step) if args.logging_steps == 1 else per_step)


def metrics_line(stage: str, step: int, logs: dict[str, Any], *, generations: float = 1.0) -> dict[str, Any]:
    """Return the line of metrics.jsonl for one log of a TRL trainer, in our words.

    Args:
        stage: Of the run.
        step: The optimizer step.
        logs: TRL's.
        generations: Generations for each step, by which the times of one become those of a step.
    """
    line: dict[str, Any] = {"stage": stage, "step": step}
    line |= {ours: logs[theirs] for theirs, ours in _RENAMED.items() if theirs in logs}
    rewards = {
        key.removeprefix(_REWARD).removesuffix(_MEAN): value
        for key, value in logs.items()
        if key.startswith(_REWARD) and key.endswith(_MEAN)
    }
    if rewards:
        line["rewards"] = rewards
    for part in ("generate_s", "score_s"):
        if part in line:
            line[part] *= generations
    if "step_s" in line:
        line["update_s"] = max(0.0, line["step_s"] - line.get("generate_s", 0.0) - line.get("score_s", 0.0))
    if "signal/generated_tokens" in logs:
        line["generated_tokens"] = round(logs["signal/generated_tokens"])
        if line.get("step_s"):
            line["tokens_per_s"] = logs["signal/generated_tokens"] / line["step_s"]
    return line


def live_line(line: dict[str, Any]) -> str:
    """Return the few numbers worth watching; the loss is none of them, since GRPO's is 0 by construction."""
    if "reward" not in line:
        return f"loss {line['loss']:.3f}" if line.get("loss") is not None else ""
    parts = [f"reward {line['reward']:.2f}"]
    if line.get("live_share") is not None:
        parts.append(f"live {line['live_share']:.0%}")
    parts.append(f"grad {line['grad_norm']:.2f}")
    if "tokens_per_s" in line:
        parts.append(f"{line['tokens_per_s']:,.0f} tok/s")
    split = TimeSplit.from_line(line)
    if split is not None:
        shares = split.shares()
        parts.append(f"generate {shares['generate']:.0%} update {shares['update']:.0%}")
    return "  ".join(parts)


def quieten(trainer: Trainer) -> None:
    """Take away the printing of every log; ours replaces it."""
    trainer.remove_callback(PrinterCallback)
