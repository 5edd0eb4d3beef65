"""The reward plan: shape → format → solve, advanced and taken back on what is measured.

A fixed row of weights is wrong at both ends: paying for single tags keeps paying when nothing more is to
be learnt from them, and paying for the answer alone leaves a model without the format with nothing. The
plan moves between the rows of `rewards.STAGE_WEIGHTS`. Thresholds up and down lie apart (hysteresis), so
that noise does not make it flap.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from warmstart.rewards import STAGE_WEIGHTS

Stage = Literal["shape", "format", "solve"]
STAGES: tuple[Stage, ...] = get_args(Stage)

SOFT_ENOUGH, SOFT_LOST = 0.6, 0.3
"""From this share of completions with all tags in order `shape` is done; below the other it is lost."""
STRICT_ENOUGH, STRICT_LOST = 0.8, 0.5
"""The same for the exact format, which `format` is for."""
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
        soft: Running mean of the share with all tags in order; None before the first step.
        strict: Running mean of the share in the exact format.
    """

    stage: Stage = "shape"
    steps: int = 0
    soft: float | None = None
    strict: float | None = None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each reward in this stage."""
        return dict(STAGE_WEIGHTS[self.stage])

    @property
    def is_gated(self) -> bool:
        """Whether format counts only in groups of mixed outcomes: in `solve`, where it is a side matter."""
        return self.stage == "solve"

    def step(self, *, soft: float, strict: float) -> tuple[RewardPlan, str | None]:
        """Return the plan after a step, and why its stage changed, if it did.

        Args:
            soft: Share of the step's completions with all four tags once and in order.
            strict: Share in the exact format.
        """
        now = replace(
            self,
            steps=self.steps + 1,
            soft=_mixed(self.soft, soft),
            strict=_mixed(self.strict, strict),
        )
        if now.steps < DWELL or now.soft is None or now.strict is None:
            return now, None
        place = STAGES.index(self.stage)
        shares = {"shape": now.soft, "format": now.strict, "solve": now.strict}
        share = shares[self.stage]
        up = {"shape": SOFT_ENOUGH, "format": STRICT_ENOUGH}
        down = {"format": (now.soft, SOFT_LOST), "solve": (now.strict, STRICT_LOST)}
        if self.stage in up and share >= up[self.stage]:
            return now._moved(STAGES[place + 1], f"{share:.0%} of the completions have it")
        if self.stage in down and down[self.stage][0] < down[self.stage][1]:
            return now._moved(STAGES[place - 1], f"only {down[self.stage][0]:.0%} of the completions have it")
        return now, None

    def _moved(self, stage: Stage, why: str) -> tuple[RewardPlan, str]:
        return replace(self, stage=stage, steps=0), f"reward plan {self.stage} → {stage}: {why}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a checkpoint holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, written: dict[str, Any]) -> RewardPlan:
        """Return the plan that `to_dict` wrote."""
        return cls(**written)


def _mixed(before: float | None, now: float) -> float:
    return now if before is None else MEMORY * before + (1 - MEMORY) * now
