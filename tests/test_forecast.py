"""The forecast against brute force, and against fresh draws from pools of problems."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.forecast import counts_of, forecast, live_bound, mixed_chances, unseen_bound


def test_half_always_and_half_never_solved_is_never_live() -> None:
    outcomes = np.array([[1.0] * 8] * 10 + [[0.0] * 8] * 10)
    for found in forecast(outcomes, [2, 8, 64]):
        # What is fitted beyond the probe's eight can only come near.
        assert found.live == pytest.approx(0.0, abs=1e-9 if found.method == "exact" else 0.02)


def test_one_right_of_four_is_mixed_in_half_of_the_pairs() -> None:
    # Pairs that hold the one right completion: 3 of 6.
    assert mixed_chances(np.array([1]), np.array([4]), 2).tolist() == [0.5]


@given(st.lists(st.integers(0, 1), min_size=2, max_size=8), st.integers(2, 8))
def test_the_exact_chance_is_that_of_all_groups_drawn_without_replacement(outcomes, size) -> None:
    if size <= len(outcomes):
        groups = list(combinations(outcomes, size))
        expected = sum(len(set(group)) > 1 for group in groups) / len(groups)
        found = mixed_chances(np.array([sum(outcomes)]), np.array([len(outcomes)]), size)
        assert found[0] == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_larger_groups_are_live_more_often_and_every_number_is_a_share(seed) -> None:
    rng = np.random.default_rng(seed)
    outcomes = (rng.random((30, 8)) < rng.beta(0.5, 0.5, (30, 1))).astype(float)
    found = forecast(outcomes, [2, 4, 8])
    assert [f.method for f in found] == ["exact"] * 3
    assert sorted(f.live for f in found) == [f.live for f in found]
    for f in found:
        assert 0 <= f.ci90[0] <= f.live <= f.ci90[1] <= 1
        assert 0 <= f.prediction90[0] <= f.prediction90[1] <= 1


def test_undecided_outcomes_are_left_out_of_their_problem() -> None:
    outcomes = np.array([[1.0, 0.0, np.nan], [np.nan, np.nan, 1.0], [0.0, 0.0, 0.0]])
    right, graded = counts_of(outcomes)
    assert (right.tolist(), graded.tolist()) == ([1, 0], [2, 3])


def test_nothing_right_leaves_a_bound_and_never_zero() -> None:
    # No mixture in 64 problems: fewer than 3/64 of them, twice that in groups twice as large.
    outcomes = np.zeros((64, 8))
    assert live_bound(outcomes, 8) == pytest.approx(3 / 64)
    assert live_bound(outcomes, 16) == pytest.approx(6 / 64)
    assert forecast(outcomes, [8])[0].live == 0.0
    assert unseen_bound(np.array([0, 1]), np.array([8, 8]), 8) is None


def test_without_grades_there_is_nothing_to_forecast_from() -> None:
    assert forecast(np.full((4, 8), np.nan), [8]) == []
    assert live_bound(np.full((4, 8), np.nan), 8) == 1.0


POOLS = {
    "u-shaped": lambda rng: rng.beta(0.5, 0.5, 200),
    "hard": lambda rng: rng.beta(0.4, 4.0, 200),
    "with-atoms": lambda rng: np.where(
        (u := rng.random(200)) < 0.3, 0.0, np.where(u > 0.8, 1.0, rng.beta(2.0, 2.0, 200))
    ),
    "bell": lambda rng: rng.beta(5.0, 5.0, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_fresh_draws_fall_into_the_prediction_interval(pool) -> None:
    """Probes of 16 from a pool of 200 × 256; the live share of a fresh draw, 200 times."""
    rng = np.random.default_rng(11)
    completions = (rng.random((200, 256)) < POOLS[pool](rng)[:, None]).astype(float)
    hits = dict.fromkeys((4, 8, 16, 32), 0)
    for redraw in range(200):
        order = rng.permuted(np.tile(np.arange(256), (200, 1)), axis=1)
        probe = np.take_along_axis(completions, order[:, :16], axis=1)
        fresh = np.take_along_axis(completions, order[:, 16:], axis=1)
        for found in forecast(probe, tuple(hits), seed=redraw):
            group = fresh[:, : found.group_size]
            live = float((group.max(axis=1) > group.min(axis=1)).mean())
            hits[found.group_size] += found.prediction90[0] <= live <= found.prediction90[1]
    assert min(hits.values()) >= 170, hits
