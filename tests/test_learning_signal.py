from __future__ import annotations

import numpy as np

from warmstart.learning_signal import group_signal, live_groups


def test_one_live_one_all_fail_and_one_all_pass_group_are_a_third_each() -> None:
    outcomes = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    signal = group_signal(live_groups(2.5 * outcomes), outcomes)
    assert (signal.live, signal.all_fail, signal.all_pass) == (1 / 3, 1 / 3, 1 / 3)


def test_a_group_that_differs_in_format_alone_is_live_by_reward() -> None:
    signal = group_signal(live_groups(np.array([[0.5, 0.0]])), np.array([[0.0, 0.0]]))
    assert (signal.live, signal.all_fail, signal.all_pass) == (1.0, 0.0, 0.0)


def test_equal_rewards_with_rounding_noise_are_dead() -> None:
    assert not live_groups(np.array([[0.1 + 0.2, 0.3, 0.3]]))[0]


def test_an_undecided_completion_neither_makes_nor_breaks_a_group() -> None:
    nan = np.nan
    live = live_groups(np.array([[nan, 1.0, 0.0], [nan, 1.0, 1.0], [nan, nan, 1.0], [nan, nan, nan]]))
    assert live.tolist() == [True, False, False, False]


def test_a_group_with_no_decided_outcome_is_neither_all_pass_nor_all_fail() -> None:
    signal = group_signal(np.array([False]), np.array([[np.nan, np.nan]]))
    assert (signal.live, signal.all_pass, signal.all_fail) == (0.0, 0.0, 0.0)
