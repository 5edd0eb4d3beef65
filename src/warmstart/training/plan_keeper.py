"""Where the reward plan lives between steps: with the trainer's state, so that checkpoints keep it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from warmstart.curriculum import RewardPlan

Array = npt.NDArray[np.float64]


class PlanKeeper(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Holds the reward plan where `transformers.Trainer` saves and restores it with its checkpoints."""

    def __init__(self, plan: RewardPlan | None = None) -> None:
        self.plan = plan

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": {"written": None if self.plan is None else self.plan.to_dict()}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go on from where a checkpoint left the plan."""
        kept = state.stateful_callbacks.get(type(self).__name__)
        if self.plan is not None and kept and kept["attributes"]["written"]:
            self.plan = RewardPlan.from_dict(kept["attributes"]["written"])

    def see(self, rewards: Mapping[str, Array], outcomes_P_G: Array) -> str | None:
        """Let the plan see a step, and return why its stage changed, if it did.

        Args:
            rewards: What each reward paid, a row per completion; NaN for a completion that is left out.
            outcomes_P_G: 1 for a right answer, 0 for any other, NaN for undecided, shape (problems,
                group_size).
        """
        if self.plan is None:
            return None
        # A run without the exact format among its rewards has no stage to wait for it in.
        strict = (
            share_paid(rewards["strict_format_reward_func"])
            if "strict_format_reward_func" in rewards
            else 1.0
        )
        soft = (
            share_paid(rewards["soft_format_reward_func"]) if "soft_format_reward_func" in rewards else strict
        )
        self.plan, why = self.plan.step(soft=soft, strict=strict, mixed=mixed_share(outcomes_P_G))
        return why


def share_paid(rewards: Array) -> float:
    """Return the share of the known rewards that are above 0; NaN if none is known."""
    known = rewards[~np.isnan(rewards)]
    return float((known > 0).mean()) if known.size else math.nan


def mixed_share(outcomes_P_G: Array) -> float:
    """Return the share of groups with right and wrong answers among those with two known ones; NaN if none."""
    known = (~np.isnan(outcomes_P_G)).sum(axis=1)
    right = (outcomes_P_G == 1).sum(axis=1)
    told = known >= 2
    return float(((right > 0) & (right < known))[told].mean()) if told.any() else math.nan
