"""The time of a run: its stages one after the other, idle hours between them left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Row = dict[str, Any]

TRAINED = ("sft", "grpo")
"""The stages that have steps."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stage from its start to its end, in seconds of the run."""

    stage: str
    start: float
    end: float
    is_finished: bool = True


class Clock:
    """Says when something happened, in seconds of running time since the run began.

    Within a stage the steps are placed by the time each took, stretched over the stage; by their number
    where it was not recorded.
    """

    def __init__(self, stages: Mapping[str, Row], steps: Mapping[str, Sequence[Row]]) -> None:
        """Lay the stages out.

        Args:
            stages: The facts of each finished stage, in order.
            steps: The steps of those that train.
        """
        self.spans: list[Span] = []
        self._at: dict[str, dict[int, float]] = {}
        now = 0.0
        for stage, facts in stages.items():
            end = now + float(facts.get("wall_s") or 0.0)
            self.spans.append(Span(stage, now, end))
            self._place(stage, steps.get(stage, ()), now, end)
            now = end
        for stage in TRAINED:
            if stage not in stages and steps.get(stage):
                end = now + sum(_lengths(steps[stage]))
                self.spans.append(Span(stage, now, end, is_finished=False))
                self._place(stage, steps[stage], now, end)
                now = end
        self.end = now

    def _place(self, stage: str, steps: Sequence[Row], start: float, end: float) -> None:
        ends = list(accumulate(_lengths(steps)))
        scale = (end - start) / ends[-1] if ends and ends[-1] else 0.0
        self._at[stage] = {
            int(step["step"]): start + scale * at for step, at in zip(steps, ends, strict=True)
        }

    def of_step(self, stage: str, step: int) -> float | None:
        """Return when a step ended; the nearest one before it if it was not recorded itself."""
        known = self._at.get(stage) or {}
        if step in known:
            return known[step]
        return max((at for number, at in known.items() if number <= step), default=None)

    def of_stage(self, stage: str) -> Span | None:
        """Return when a stage was."""
        return next((span for span in self.spans if span.stage == stage), None)


def _lengths(steps: Sequence[Row]) -> list[float]:
    """Return how long each step took, in seconds; a second each where none says so."""
    known = [float(step["step_s"]) for step in steps if step.get("step_s")]
    usual = sum(known) / len(known) if known else 1.0
    return [float(step.get("step_s") or usual) for step in steps]
