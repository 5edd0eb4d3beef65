"""The forecast against brute force, and against fresh draws from pools of problems."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from warmstart.forecast import forecast, live_bound

NAN = np.nan
GROUP_SIZES = (2, 4, 8, 16, 32, 64)


def _rows(right_P, completions):
    """Outcomes of problems with so many right completions each."""
    return (np.arange(completions) < np.asarray(right_P)[:, None]).astype(float)


def _by_enumeration(values_P_K, group_size):
    """The live share over every group of every problem."""
    shares = []
    for values in values_P_K:
        groups = list(itertools.combinations(values[~np.isnan(values)], group_size))
        shares.append(np.mean([max(group) - min(group) > 1e-6 for group in groups]))
    return np.mean(shares)


def test_half_always_and_half_never_solved_is_never_live() -> None:
    for found in forecast(_rows([8] * 10 + [0] * 10, 8), [2, 8, 64]):
        assert found.live == 0.0


def test_the_share_of_mixed_draws_worked_by_hand() -> None:
    # 1 right of 4: a pair is mixed in 3 of 6 draws, a triple in 3 of 4, all four always.
    assert [f.live for f in forecast([[1, 0, 0, 0]], (2, 3, 4))] == pytest.approx([0.5, 0.75, 1.0])


@given(arrays(float, (3, 6), elements=st.sampled_from([0.0, 0.5, 2.5])), st.integers(2, 6))
def test_the_exact_forecast_is_that_of_every_group_there_is_whatever_the_rewards(rewards, group_size) -> None:
    [found] = forecast(rewards, [group_size], resamples=20)
    assert found.live == pytest.approx(_by_enumeration(rewards, group_size), abs=1e-12)
    assert found.method == "exact"


@given(arrays(float, (3, 6), elements=st.sampled_from([0.0, 1.0, NAN])))
def test_undecided_completions_are_left_out_of_the_draws(outcomes) -> None:
    outcomes[:, 0] = outcomes[:, 1] = 1.0
    outcomes[:, 2] = 0.0
    sizes = range(2, int((~np.isnan(outcomes)).sum(axis=1).min()) + 1)
    found = forecast(outcomes, sizes, resamples=20)
    assert [f.live for f in found] == pytest.approx([_by_enumeration(outcomes, size) for size in sizes])


@settings(max_examples=40)
@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(2, 10)), elements=st.sampled_from([0.0, 1.0])))
def test_a_forecast_lies_within_its_intervals_within_0_and_1_and_grows_with_the_group(outcomes) -> None:
    found = forecast(outcomes, GROUP_SIZES, resamples=100)
    assert tuple(f.group_size for f in found) == GROUP_SIZES
    for f in found:
        assert 0 <= f.ci90[0] <= f.live + 1e-9
        assert f.live - 1e-9 <= f.ci90[1] <= 1
        assert 0 <= f.prediction90[0] <= f.prediction90[1] <= 1
        assert f.live <= live_bound(outcomes, f.group_size, resamples=1000) + 1e-9
    for smaller, larger in itertools.pairwise(found):
        assert smaller.live <= larger.live + 1e-9


def test_the_same_seed_gives_the_same_forecast_and_it_is_json() -> None:
    outcomes = _rows([0, 1, 3, 8], 8)
    assert forecast(outcomes, [16], seed=3) == forecast(outcomes, [16], seed=3)
    assert json.loads(json.dumps(forecast(outcomes, [16])[0].to_dict()))["method"] == "fitted"


def test_values_that_differ_by_rounding_are_one_and_two_values_of_any_size_are_outcomes() -> None:
    assert forecast([[0.1 + 0.2, 0.3]], [2])[0].live == 0.0
    facts = _rows([0, 1, 3, 8], 8)
    assert forecast(2.5 * facts, GROUP_SIZES) == forecast(facts, GROUP_SIZES)


@pytest.mark.parametrize("right", [0, 8], ids=["nothing right", "everything right"])
@pytest.mark.parametrize("problems", [16, 64, 200])
def test_no_live_group_is_a_bound_and_not_a_certainty(problems, right) -> None:
    probe = _rows([right] * problems, 8)
    for found in forecast(probe, GROUP_SIZES):
        assert found.live == found.ci90[0] == found.prediction90[0] == 0.0
        assert found.ci90[1] > 0
        assert found.prediction90[1] > 0
    # The rule of three, exactly: 1 − 0.05^(1/n) of the problems, and about 3G/(nK) beyond the probe's K.
    for group_size in (2, 4, 8):
        assert live_bound(probe, group_size) == pytest.approx(1 - 0.05 ** (1 / problems), rel=0.05)
    per_completion = 1 - 0.05 ** (1 / (8 * problems))
    assert live_bound(probe, 32) == pytest.approx(1 - (1 - per_completion) ** 32, rel=0.05)


def test_the_bound_falls_with_the_size_of_the_probe_and_rises_with_the_group() -> None:
    bounds = [live_bound(_rows([0] * problems, 8), 8) for problems in (8, 64, 512)]
    assert bounds == sorted(bounds, reverse=True)
    bounds = [live_bound(_rows([0, 0, 1, 8] * 10, 8), group_size) for group_size in GROUP_SIZES]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= 1


def _pool(name, random, problems):
    """Solve rates as they are met: with hopeless and solved problems, a cold start, two kinds of problem."""
    kind = random.random(problems)
    if name == "u-shaped":
        return random.beta(0.3, 0.4, problems)
    if name == "atoms":
        return np.where(kind < 0.4, 0.0, np.where(kind < 0.6, 1.0, random.beta(0.8, 1.5, problems)))
    if name == "cold":
        return np.where(kind < 0.85, 0.0, random.beta(0.5, 8, problems))
    if name == "two kinds":
        return np.where(kind < 0.5, 0.02, 0.6)
    return np.where(kind < 0.6, 1.0, random.beta(6, 0.6, problems))


@pytest.mark.parametrize("name", ["u-shaped", "atoms", "cold", "two kinds", "nearly solved"])
def test_a_fresh_draw_falls_into_the_prediction_as_often_as_it_says(name) -> None:
    random = np.random.default_rng(7)
    problems, probed, redraws, group_sizes = 200, 16, 200, (4, 8, 16, 32)
    right_P = random.binomial(256, _pool(name, random, problems))
    same, new = dict.fromkeys(group_sizes, 0), dict.fromkeys(group_sizes, 0)
    for redraw in range(redraws):
        from_pool = _rows(random.hypergeometric(right_P, 256 - right_P, probed), probed)
        for found in forecast(from_pool, group_sizes, seed=redraw, resamples=100):
            drawn = random.hypergeometric(right_P, 256 - right_P, found.group_size)
            same[found.group_size] += _within(found, drawn)
        others = _rows(random.binomial(probed, _pool(name, random, problems)), probed)
        for found in forecast(others, group_sizes, seed=redraw, resamples=100):
            drawn = random.binomial(found.group_size, _pool(name, random, problems))
            new[found.group_size] += _within(found, drawn)
    # The probe's own problems drawn again, and new ones: these vary more, and the interval is for them.
    assert min(same.values()) >= 170, same
    assert min(new.values()) >= 170, new


def _within(found, drawn_P):
    share = np.mean((drawn_P > 0) & (drawn_P < found.group_size))
    return found.prediction90[0] - 1e-9 <= share <= found.prediction90[1] + 1e-9


def test_a_draw_of_fewer_problems_is_predicted_less_sharply() -> None:
    probe = _rows([0, 0, 0, 2, 5, 8] * 20, 8)
    widths = [np.ptp(forecast(probe, [8], problems=n)[0].prediction90) for n in (1000, 64, 8)]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("probe", "group_size", "message"),
    [
        ([1.0, 0.0], 2, "needs shape"),
        ([[1.0, 0.0]], 1, "start at 2"),
        ([[0.0, 0.5, 2.5]], 4, "more than two values can be forecast up to the probe's 3"),
    ],
)
def test_what_cannot_be_forecast_is_refused(probe, group_size, message) -> None:
    for function in (lambda: forecast(probe, [group_size]), lambda: live_bound(probe, group_size)):
        with pytest.raises(ValueError, match=message):
            function()


def test_without_grades_there_is_nothing_to_forecast_from() -> None:
    assert forecast(np.full((4, 8), NAN), [8]) == []
    assert live_bound(np.full((4, 8), NAN), 8) == 1.0


def test_a_problem_with_hardly_any_decided_completion_does_not_stop_the_count() -> None:
    probe = _rows([4] * 20, 8)
    probe[-1, 2:] = NAN
    [found] = forecast(probe, [8])
    assert (found.method, found.live) == ("exact", 1.0)
