"""The rewards: verdict and format as numbers; those of a recipe's own run in killable processes."""

from __future__ import annotations

from warmstart.rewards.functions import (
    STAGE_WEIGHTS,
    TERMS,
    completion_text,
    correctness_reward_func,
    easy_reward_func,
    int_reward_func,
    reward_functions,
    score,
    soft_format_reward_func,
    strict_format_reward_func,
    xmlcount_reward_func,
)

__all__ = [
    "STAGE_WEIGHTS",
    "TERMS",
    "completion_text",
    "correctness_reward_func",
    "easy_reward_func",
    "int_reward_func",
    "reward_functions",
    "score",
    "soft_format_reward_func",
    "strict_format_reward_func",
    "xmlcount_reward_func",
]
