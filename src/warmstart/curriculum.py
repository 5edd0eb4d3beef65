"""The reward plan: shape → format → solve, advanced and taken back on what is measured.

A fixed row of weights is wrong at both ends: paying for single tags keeps paying when nothing more is to
be learnt from them, and paying for the answer alone leaves a model without the format with nothing. The
plan moves between the rows of `rewards.STAGE_WEIGHTS`. Thresholds up and down lie apart (hysteresis), so
that noise does not make it flap.

`solve` pays for right answers, so it needs groups in which some answers are right and some are not. Until
there are, the plan waits in `format`, where there is still something to learn from; but not for ever.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from warmstart.rewards.functions import STAGE_WEIGHTS

Stage = Literal["shape", "format", "solve"]
STAGES: tuple[Stage, ...] = get_args(Stage)

SOFT_ENOUGH, SOFT_LOST = 0.6, 0.3
"""From this share of completions with all tags in order `shape` is done; below the other it is lost."""
STRICT_ENOUGH, STRICT_LOST = 0.8, 0.5
"""The same for the exact format, which `format` is for."""
MIXED_ENOUGH = 0.10
"""Share of groups with right and wrong answers from which `solve` has something to learn from. It has no
lower twin: format rewards do not bring such groups back, so `solve` is left only when the format is lost."""
PATIENCE = 50
"""Steps in `format` after which a format that stands is enough, whatever the groups are."""
DWELL = 3
"""Steps in a stage before it may change: the first ones still show the policy of the one before."""
MEMORY = 0.7
"""Weight of the past in the running means: about three steps of 16 groups."""


@dataclass(frozen=True, slots=True)
class RewardPlan:
    """Where the plan stands.

    Attributes:
        stage: The row of reward weights in use.
        steps: Steps spent in it.
        soft: Running mean of the share with all tags in order; None before the first step that shows it.
        strict: Running mean of the share in the exact format; None likewise.
        mixed: Running mean of the share of groups with right and wrong answers; None likewise.
    """

    stage: Stage = "shape"
    steps: int = 0
    soft: float | None = None
    strict: float | None = None
    mixed: float | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each reward in this stage."""
        return dict(STAGE_WEIGHTS[self.stage])

    @property
    def is_gated(self) -> bool:
        """Whether format counts only in groups of mixed outcomes: in `solve`, where it is a side matter."""
        return self.stage == "solve"

    def step(self, *, soft: float, strict: float, mixed: float = math.nan) -> tuple[RewardPlan, str | None]:
        """Return the plan after a step, and why its stage changed, if it did.

        A share that could not be told (NaN) leaves its running mean as it was; while nothing was ever told of
        the groups, the format alone decides.

        Args:
            soft: Share of the step's completions with all four tags once and in order, 0 … 1.
            strict: Share in the exact format, 0 … 1.
            mixed: Share of the step's groups with right and wrong answers, 0 … 1.
        """
        now = replace(
            self,
            steps=self.steps + 1,
            soft=_running(self.soft, soft),
            strict=_running(self.strict, strict),
            mixed=_running(self.mixed, mixed),
        )
        if now.steps < DWELL:
            return now, None
        move = {"shape": now._from_shape, "format": now._from_format, "solve": now._from_solve}[now.stage]()
        if move is None:
            return now, None
        stage, why = move
        return replace(now, stage=stage, steps=0), f"reward plan {now.stage} → {stage}: {why}"

    def _from_shape(self) -> tuple[Stage, str] | None:
        if self.soft is None or self.soft < SOFT_ENOUGH:
            return None
        return "format", f"{self.soft:.0%} of the completions have all tags in order"

    def _from_format(self) -> tuple[Stage, str] | None:
        if self.soft is not None and self.soft < SOFT_LOST:
            return "shape", f"only {self.soft:.0%} of the completions have all tags in order"
        if self.strict is None or self.strict < STRICT_ENOUGH:
            return None
        exact = f"{self.strict:.0%} of the completions have the exact format"
        if self.mixed is None:
            return "solve", exact
        if self.mixed >= MIXED_ENOUGH:
            return "solve", f"{exact}, and {self.mixed:.0%} of the groups have right and wrong answers"
        if self.steps >= PATIENCE:
            return (
                "solve",
                f"{exact}; {self.steps} steps brought right and wrong answers to {self.mixed:.0%} of the groups only",
            )
        return None

    def _from_solve(self) -> tuple[Stage, str] | None:
        if self.strict is None or self.strict >= STRICT_LOST:
            return None
        return "format", f"only {self.strict:.0%} of the completions have the exact format"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a checkpoint holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, written: dict[str, Any]) -> RewardPlan:
        """Return the plan that `to_dict` wrote."""
        return cls(**written)


def _running(before: float | None, now: float) -> float | None:
    if math.isnan(now):
        return before
    return now if before is None else MEMORY * before + (1 - MEMORY) * now
