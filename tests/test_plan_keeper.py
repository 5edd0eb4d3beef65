"""What the reward plan is told of a step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from warmstart.curriculum import RewardPlan
from warmstart.training.plan_keeper import PlanKeeper, mixed_share, share_paid

NAN = math.nan


def test_undecided_completions_are_left_out_of_the_share_and_not_counted_as_unformatted() -> None:
    assert share_paid(np.array([0.5, NAN, 0.0, NAN, 0.5])) == pytest.approx(2 / 3)
    assert math.isnan(share_paid(np.array([NAN, NAN])))


def test_a_group_is_mixed_by_what_is_known_of_it() -> None:
    outcomes = np.array([[1, 0, NAN], [1, 1, NAN], [0, 0, 0], [1, NAN, NAN], [NAN, NAN, NAN]])
    # Two known ones or more in the first three groups; of these one is mixed.
    assert mixed_share(outcomes) == pytest.approx(1 / 3)
    assert math.isnan(mixed_share(outcomes[3:]))


def test_the_keeper_tells_the_plan_what_is_known_and_nothing_else() -> None:
    keeper = PlanKeeper(RewardPlan("format", 5, 0.9, 0.5, None))
    rewards = {
        "soft_format_reward_func": np.array([0.5, 0.5, NAN, NAN]),
        "strict_format_reward_func": np.array([0.5, 0.0, NAN, NAN]),
    }
    assert keeper.see(rewards, np.array([[1.0, 0.0], [NAN, NAN]])) is None
    # soft 0.7 · 0.9 + 0.3 · 1, strict 0.7 · 0.5 + 0.3 · 0.5, mixed 1 of the one group that is known.
    assert keeper.plan is not None
    assert keeper.plan.soft == pytest.approx(0.93)
    assert keeper.plan.strict == pytest.approx(0.5)
    assert keeper.plan.mixed == 1.0


def test_a_step_of_undecided_completions_leaves_the_plan_as_it_was() -> None:
    keeper = PlanKeeper(RewardPlan("solve", 5, 0.9, 0.9, 0.3))
    nothing = {"strict_format_reward_func": np.full(4, NAN), "soft_format_reward_func": np.full(4, NAN)}
    for _ in range(20):
        assert keeper.see(nothing, np.full((1, 4), NAN)) is None
    assert keeper.plan == RewardPlan("solve", 25, 0.9, 0.9, 0.3)
