"""Rates, intervals and tests against scipy, brute force, hand-worked cases and simulation."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from warmstart.estimates import (
    Rate,
    bootstrap_rate,
    describe,
    describe_p,
    holm,
    majority_at_k,
    mcnemar_exact,
    paired_permutation,
    pass_at_k,
    percent,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 300), (1, 10), (150, 300), (299, 300), (300, 300)])
def test_wilson_agrees_with_scipy(successes, n) -> None:
    rate = wilson(successes, n)
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert (rate.value, rate.n) == (successes / n, n)


def test_wilson_of_none_and_of_all_is_a_bound_with_width() -> None:
    assert wilson(0, 300).low == 0.0
    assert 0.01 < wilson(0, 300).high < 0.013
    assert wilson(300, 300).high == 1.0
    assert 0.987 < wilson(300, 300).low < 0.99


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_rate_of_nothing_is_refused(successes, n) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        wilson(successes, n)


@pytest.mark.parametrize("n", [100, 300])
@pytest.mark.parametrize("truth", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_wilson_covers_the_truth_in_93_to_97_of_100_samples(truth, n) -> None:
    # Exactly: the chance of every count whose interval holds the truth.
    rates = [wilson(successes, n) for successes in range(n + 1)]
    covered = [successes for successes, rate in enumerate(rates) if rate.low <= truth <= rate.high]
    assert 0.93 <= stats.binom.pmf(covered, n, truth).sum() <= 0.97


def paired(both: int, lost: int, gained: int, neither: int) -> tuple[list[int], list[int]]:
    a = [1] * both + [1] * lost + [0] * gained + [0] * neither
    b = [1] * both + [0] * lost + [1] * gained + [0] * neither
    return a, b


@pytest.mark.parametrize(("lost", "gained"), [(0, 5), (3, 12), (4, 4), (12, 3), (0, 0)])
def test_mcnemar_agrees_with_the_binomial_test_of_the_problems_that_changed(lost, gained) -> None:
    test = mcnemar_exact(*paired(20, lost, gained, 10))
    expected = stats.binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert test.p == pytest.approx(expected)
    assert test.difference == pytest.approx((gained - lost) / (30 + lost + gained))
    assert test.low <= test.difference <= test.high


def test_five_gained_and_none_lost_have_p_one_in_sixteen() -> None:
    assert mcnemar_exact(*paired(0, 0, 5, 5)).p == pytest.approx(2 * 0.5**5)


@pytest.mark.parametrize(
    ("both", "lost", "gained", "neither", "low", "high"),
    [
        # Newcombe 1998, Statist. Med. 17, 2635, table II.
        pytest.param(36, 2, 12, 0, 0.0569, 0.3404, id="published"),
        # Worked by hand: Wilson's 86 % [73.81, 93.05] against 100 % [92.87, 100]; one margin is empty, so
        # the results are uncorrelated: 0.14 − √(0.0705² + 0.0713²), 0.14 + √(0.1219² + 0²).
        pytest.param(43, 0, 7, 0, 0.0397, 0.2619, id="nothing lost"),
        pytest.param(0, 0, 0, 54, -0.0664, 0.0664, id="nothing ever solved"),
    ],
)
def test_the_paired_interval_is_newcombes(both, lost, gained, neither, low, high) -> None:
    test = mcnemar_exact(*paired(both, lost, gained, neither))
    assert (test.low, test.high) == pytest.approx((low, high), abs=1e-4)


def test_the_paired_interval_has_width_when_nothing_changed_and_stays_in_range() -> None:
    nothing = mcnemar_exact([1] * 20, [1] * 20)
    assert nothing.low < 0 < nothing.high
    assert nothing.p == 1.0
    everything = mcnemar_exact([0] * 20, [1] * 20)
    assert (everything.difference, everything.high) == (1.0, 1.0)
    assert 0.7 < everything.low < 1.0


def test_the_paired_interval_covers_the_truth() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(1000):
        easiness = random.random(150)
        a, b = easiness < 0.5, (easiness < 0.45) | (random.random(150) < 0.3)
        test = mcnemar_exact(a.astype(int), b.astype(int))
        hits += test.low <= 0.45 + 0.55 * 0.3 - 0.5 <= test.high
    assert 0.93 <= hits / 1000 <= 0.985


@pytest.mark.parametrize(
    ("a", "b"), [([1], [1, 0]), ([], []), ([[1]], [[1]])], ids=["lengths", "none", "dimensions"]
)
def test_paired_results_that_do_not_pair_are_refused(a, b) -> None:
    for test in (mcnemar_exact, paired_permutation):
        with pytest.raises(ValueError, match="one value per problem"):
            test(a, b)


def test_mcnemar_refuses_means() -> None:
    with pytest.raises(ValueError, match="0/1 results"):
        mcnemar_exact([0.5, 1], [1, 1])


def test_the_bootstrap_clusters_by_problem() -> None:
    # Ten samples of each problem, all alike: there are 40 facts, not 400.
    clustered = bootstrap_rate(np.repeat([[0], [1]] * 20, 10, axis=1))
    single = wilson(20, 40)
    assert clustered.n == 40
    assert clustered.high - clustered.low == pytest.approx(single.high - single.low, rel=0.15)


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    means = np.random.default_rng(3).random(50)
    assert bootstrap_rate(means, seed=5) == bootstrap_rate(means, seed=5)
    assert bootstrap_rate(means, seed=5) != bootstrap_rate(means, seed=6)


def test_the_bootstrap_does_not_depend_on_how_it_is_cut_into_pieces(monkeypatch) -> None:
    correct = np.random.default_rng(3).integers(0, 2, size=(50, 4))
    whole = bootstrap_rate(correct, resamples=500)
    monkeypatch.setattr("warmstart.estimates._CHUNK_CELLS", 50 * 7)
    assert bootstrap_rate(correct, resamples=500) == whole


def test_where_every_problem_is_alike_the_interval_is_a_bound_not_a_point() -> None:
    none, half, every = (bootstrap_rate(np.full(100, value)) for value in (0.0, 0.5, 1.0))
    bound = wilson(0, 100).high
    assert (none.value, none.low, none.high) == (0.0, 0.0, bound)
    assert (every.value, every.low, every.high) == (1.0, pytest.approx(1 - bound), 1.0)
    assert half.low < 0.5 < half.high
    assert bootstrap_rate([[1, 1]]).low < 1.0


def coverage_of_the_bootstrap(n: int, mean: float, draws: int) -> float:
    """Share of intervals that hold the truth: n problems of unlike difficulty, four samples of each."""
    random = np.random.default_rng([n, round(10 * mean)])
    hits = 0
    for draw in range(draws):
        solve_rates = random.beta(2 * mean, 2 * (1 - mean), size=(n, 1))
        rate = bootstrap_rate(random.random((n, 4)) < solve_rates, resamples=1000, seed=draw)
        hits += rate.low <= mean <= rate.high
    return hits / draws


def test_the_bootstrap_covers_the_truth_nearly_always() -> None:
    assert 0.92 <= coverage_of_the_bootstrap(100, 0.5, 400) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("n", "mean"), [*product((100,), (0.1, 0.3, 0.5, 0.7, 0.9)), (300, 0.1), (300, 0.9)])
def test_the_bootstrap_covers_the_truth_in_93_to_97_of_100_of_2000_draws(n, mean) -> None:
    assert 0.93 <= coverage_of_the_bootstrap(n, mean, 2000) <= 0.97


def test_bootstrap_refuses_what_is_no_rate() -> None:
    for wrong in ([], [[2.0]], [[math.nan]], 1.0):
        with pytest.raises(ValueError, match="results need shape"):
            bootstrap_rate(wrong)


def test_the_permutation_test_agrees_with_every_flip_of_a_small_case() -> None:
    a, b = np.array([0.0, 0.25, 0.5, 0.5, 0.0, 0.25, 0.75]), np.array([0.5, 0.5, 0.25, 1.0, 0.25, 0.75, 1.0])
    flips = [abs(np.dot(signs, b - a)) for signs in product((-1, 1), repeat=7)]
    exact = np.mean([flip >= abs((b - a).sum()) - 1e-12 for flip in flips])
    test = paired_permutation(a, b, resamples=200_000)
    assert test.p == pytest.approx(exact, abs=0.003)
    assert test.difference == pytest.approx((b - a).mean())


def test_the_permutation_test_never_says_p_is_zero_and_is_seeded() -> None:
    a, b = np.zeros(100), np.tile([0.75, 1.0], 50)
    test = paired_permutation(a, b, resamples=999)
    assert test.p == 1 / 1000
    assert test == paired_permutation(a, b, resamples=999)
    assert test.low < test.difference < test.high


def test_no_change_at_all_has_p_one_and_an_interval_with_width() -> None:
    test = paired_permutation([0.5] * 30, [0.5] * 30)
    assert (test.difference, test.p) == (0.0, 1.0)
    assert -0.2 < test.low < 0 < test.high < 0.2


def test_a_change_that_is_the_same_everywhere_keeps_its_interval_in_range() -> None:
    test = paired_permutation([0.0] * 30, [1.0] * 30)
    assert (test.difference, test.high) == (1.0, 1.0)
    assert 0.7 < test.low < 1.0


def rejected_nulls(n: int, draws: int) -> tuple[float, float]:
    """Shares of true nulls that the permutation test and McNemar's reject at 5 %."""
    random = np.random.default_rng(n)
    permutation = mcnemar = 0
    for draw in range(draws):
        solve_rates = random.random(n)
        a, b = (random.binomial(4, solve_rates) / 4 for _ in range(2))
        permutation += paired_permutation(a, b, resamples=399, seed=draw).p < 0.05
        a, b = (random.random(n) < solve_rates for _ in range(2))
        mcnemar += mcnemar_exact(a.astype(int), b.astype(int)).p < 0.05
    return permutation / draws, mcnemar / draws


def test_paired_tests_seldom_reject_a_true_null() -> None:
    permutation, mcnemar = rejected_nulls(100, 300)
    # Three standard errors of 300 draws above 5 %.
    assert permutation <= 0.088
    assert mcnemar <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300])
def test_paired_tests_reject_at_most_5_of_100_true_nulls_in_2000_draws(n) -> None:
    permutation, mcnemar = rejected_nulls(n, 2000)
    assert permutation <= 0.05
    assert mcnemar <= 0.05


@pytest.mark.slow
def test_the_interval_of_a_sampled_difference_covers_it_in_93_to_97_of_100_of_2000_draws() -> None:
    random = np.random.default_rng(8)
    hits = 0
    for draw in range(2000):
        before = random.beta(1, 1, size=100)
        after = before + 0.4 * (1 - before)
        a, b = (random.binomial(4, rates) / 4 for rates in (before, after))
        test = paired_permutation(a, b, resamples=1000, seed=draw)
        hits += test.low <= 0.2 <= test.high
    assert 0.93 <= hits / 2000 <= 0.97


@pytest.mark.parametrize("successes", [0, 1, 13, 50, 99, 100])
def test_wilson_agrees_with_statsmodels(successes) -> None:
    rate = wilson(successes, 100)
    low, high = proportion_confint(successes, 100, alpha=0.05, method="wilson")
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("lost", "gained"), [(0, 5), (3, 12), (12, 3), (7, 7), (1, 0)])
def test_mcnemar_agrees_with_statsmodels(lost, gained) -> None:
    expected = sm_mcnemar([[20, lost], [gained, 10]], exact=True)
    assert mcnemar_exact(*paired(20, lost, gained, 10)).p == pytest.approx(float(expected.pvalue))


def test_the_permutation_test_agrees_with_scipys() -> None:
    random = np.random.default_rng(9)
    before, after = random.binomial(4, 0.4, size=60) / 4, random.binomial(4, 0.5, size=60) / 4
    expected = stats.permutation_test(
        (after, before),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=1,
    )
    assert paired_permutation(before, after, resamples=20_000).p == pytest.approx(expected.pvalue, abs=0.01)


def test_the_bootstrap_agrees_with_scipys_percentile_bootstrap() -> None:
    means = np.random.default_rng(10).random(400)
    expected = stats.bootstrap((means,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    rate = bootstrap_rate(means, resamples=20_000)
    found = (rate.low, rate.high)
    # The expanded percentiles of 400 problems are wider by a few thousandths of the interval.
    assert found == pytest.approx(
        (expected.confidence_interval.low, expected.confidence_interval.high), abs=0.002
    )


def test_pass_at_k_is_the_share_of_draws_of_k_that_hold_a_right_one() -> None:
    correct = np.array([[1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
    for k in range(1, 6):
        brute = np.mean([[any(row[list(drawn)]) for drawn in combinations(range(5), k)] for row in correct])
        assert pass_at_k(correct, k).value == pytest.approx(brute)


@pytest.mark.parametrize("samples", [2, 4, 8])
def test_pass_at_k_is_unbiased(samples) -> None:
    # Every outcome of `samples` draws at solve rate p, weighed by its chance: the mean is 1 − (1 − p)^k.
    for p, k in product((0.05, 0.3, 0.9), (1, 2, samples)):
        expected = 0.0
        for right in range(samples + 1):
            row = [[1] * right + [0] * (samples - right)]
            expected += stats.binom.pmf(right, samples, p) * pass_at_k(row, k).value
        assert expected == pytest.approx(1 - (1 - p) ** k)


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.5, 0.5], [0.02], [0.9, 0.001, 0.02, 0.02]])
def test_several_p_values_are_adjusted_as_statsmodels_does(p_values) -> None:
    assert holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_pass_at_1_is_the_mean() -> None:
    correct = np.random.default_rng(7).integers(0, 2, size=(40, 8))
    assert pass_at_k(correct, 1).value == pytest.approx(correct.mean())


@pytest.mark.parametrize("k", [0, 5])
def test_more_than_there_are_samples_is_refused(k) -> None:
    with pytest.raises(ValueError, match="needs 1 to 4"):
        pass_at_k(np.ones((3, 4)), k)
    with pytest.raises(ValueError, match="needs 1 to 4"):
        majority_at_k([["1"] * 4], np.ones((1, 4)), k)


def test_the_majority_wins_ties_go_to_the_first_seen_and_no_answer_never_wins() -> None:
    answers = [["3", "4", "4"], ["3", "4", "5"], [None, None, "7"], [None, None, None]]
    correct = [[0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    rates = [majority_at_k([row], [right]).value for row, right in zip(answers, correct, strict=True)]
    assert rates == [1.0, 1.0, 1.0, 0.0]
    assert majority_at_k(answers, correct).value == 0.75
    assert majority_at_k(answers, correct, 1).value == 0.25


def test_majority_refuses_answers_and_results_of_different_shape() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        majority_at_k([["1"]], [[1, 0]])


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (wilson(0, 300), "0 of 300 (< 1.3 %)"),
        (wilson(300, 300), "300 of 300 (> 98.7 %)"),
        (Rate(0.843, 0.798, 0.880, 300), "84.3 % [79.8, 88.0]"),
        (Rate(0.0002, 0.0001, 0.001, 1319), "0.02 % [0.0, 0.1]"),
        (Rate(0.9998, 0.999, 1.0, 1319), "99.98 % [99.9, 100.0]"),
    ],
)
def test_a_rate_in_words_never_claims_more_than_was_seen(rate, words) -> None:
    assert describe(rate) == words


def test_small_p_values_are_bounds() -> None:
    assert [describe_p(p) for p in (0.0001, 0.0123, 1.0)] == ["p < 0.001", "p = 0.012", "p = 1.000"]


def test_percentages_are_zero_and_a_hundred_only_where_they_are() -> None:
    assert [percent(share) for share in (0.0, 0.0004, 0.5, 0.99999, 1.0)] == [
        "0.0",
        "0.04",
        "50.0",
        "99.999",
        "100.0",
    ]


def test_a_rate_is_written_as_the_contract_has_it() -> None:
    assert Rate(0.5, 0.4, 0.6, 10).to_dict() == {"value": 0.5, "ci95": [0.4, 0.6]}
    test = mcnemar_exact([0, 1], [1, 1]).to_dict()
    assert set(test) == {"test", "difference", "ci95", "p"}
