"""Where the reward plan lives between steps: with the trainer's state, so that checkpoints keep it."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from warmstart.curriculum import RewardPlan


class PlanKeeper(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Holds the reward plan where `transformers.Trainer` saves and restores it with its checkpoints."""

    def __init__(self, plan: RewardPlan | None = None, written: dict[str, Any] | None = None) -> None:
        self.plan = RewardPlan.from_dict(written) if written else plan

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"args": {"written": None if self.plan is None else self.plan.to_dict()}, "attributes": {}}
