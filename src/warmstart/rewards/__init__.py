"""The rewards: verdict and format as numbers; those of a recipe's own run in killable processes."""

from __future__ import annotations

from warmstart.rewards.functions import STAGE_WEIGHTS, TERMS, completion_text, reward_functions, score

__all__ = ["STAGE_WEIGHTS", "TERMS", "completion_text", "reward_functions", "score"]
