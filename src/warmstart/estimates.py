"""Rates with intervals, and paired tests between two models on the same problems.

A greedy completion is one 0/1 fact per problem: Wilson intervals and McNemar's exact test. Sampled
completions of one problem are not independent: the problem is the unit, so their rates have a bootstrap
over problems and their differences a permutation test on per-problem means.

Array suffixes: ``_P`` problems, ``_S`` samples of a problem, ``_B`` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm
from scipy.stats import t as student

_Z95 = float(norm.ppf(0.975))
ALPHA = 0.05
"""A p-value from here on may be chance."""
RESAMPLES = 10_000
_CHUNK_CELLS = 4_000_000
"""Resamples are drawn in pieces of at most this many numbers (32 MB of float64)."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share between 0 and 1 with its 95 % interval.

    Attributes:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.
        n: Number of problems, the independent units, behind it.
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"value", "ci95": [low, high]}``."""
        return {"value": self.value, "ci95": [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How much better ``b`` is than ``a`` on the same problems.

    Attributes:
        difference: Rate of ``b`` minus rate of ``a``.
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
        p: Two-sided p-value of "no difference".
        test: ``"mcnemar-exact"`` or ``"paired-permutation"``.
    """

    difference: float
    low: float
    high: float
    p: float
    test: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"test", "difference", "ci95": [low, high], "p"}``."""
        return {"test": self.test, "difference": self.difference, "ci95": [self.low, self.high], "p": self.p}


def wilson(successes: int, n: int) -> Rate:
    """Return a share of independent 0/1 facts with Wilson's score interval.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.96. Wilson, JASA 22 (1927) 209–212.
    None and all of ``n`` give an interval of positive width: 0 of 300 is below 1.3 %.

    Raises:
        ValueError: If ``n`` is not positive or ``successes`` is not within 0 … n.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a rate")
    share, spread = successes / n, _Z95**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    # The ends are exactly 0 and 1 there; floating point is off by an ulp.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Rate(share, low, high, n)


def mcnemar_exact(a_P: npt.ArrayLike, b_P: npt.ArrayLike) -> PairedTest:
    """Return the exact McNemar test of two models' 0/1 results on the same problems.

    Of the m problems that exactly one model solves, either is equally likely under "no difference":
    p = 2 · P(Binomial(m, ½) ≤ min(gained, lost)), at most 1. McNemar, Psychometrika 12 (1947) 153–157.
    The interval is Newcombe's square-and-add of two Wilson intervals with the correlation of the pairs
    (method 10 of Statist. Med. 17 (1998) 2635–2650); it stays within −1 … 1 and has width at no change.

    Args:
        a_P: 1 where the first model is right, else 0; shape (problems,).
        b_P: The same of the second.

    Raises:
        ValueError: If the shapes differ, there is no problem, or a value is neither 0 nor 1.
    """
    a, b = _pair(a_P, b_P)
    if not np.isin(a, (0.0, 1.0)).all() or not np.isin(b, (0.0, 1.0)).all():
        raise ValueError("McNemar's test is for 0/1 results; per-problem means need paired_permutation")
    n = a.size
    both, gained, lost = int((a * b).sum()), int(((1 - a) * b).sum()), int((a * (1 - b)).sum())
    p = min(1.0, 2 * float(binom.cdf(min(gained, lost), gained + lost, 0.5)))
    first, second = wilson(both + lost, n), wilson(both + gained, n)
    correlation = _newcombe_phi(both, lost, gained, n - both - gained - lost)
    difference = (gained - lost) / n
    low = difference - _square_and_add(second.value - second.low, first.high - first.value, correlation)
    high = difference + _square_and_add(second.high - second.value, first.value - first.low, correlation)
    return PairedTest(difference, low, high, p, "mcnemar-exact")


def _newcombe_phi(both: int, lost: int, gained: int, neither: int) -> float:
    margins = (both + lost) * (gained + neither) * (both + gained) * (lost + neither)
    if margins == 0:
        return 0.0
    excess = both * neither - lost * gained
    # Newcombe's continuity correction of a positive correlation.
    corrected = max(excess - (both + lost + gained + neither) / 2, 0) if excess > 0 else excess
    return corrected / math.sqrt(margins)


def _square_and_add(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


def bootstrap_rate(correct_P_S: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Rate:
    """Return the mean of sampled 0/1 results with an interval over problems.

    The percentile bootstrap (Efron, Ann. Statist. 7 (1979) 1–26) of the per-problem means: problems are
    drawn with replacement, their samples stay together. The percentiles are Hesterberg's expanded ones,
    Φ(±√(n/(n−1)) t), which give small n its due (Amer. Statist. 69 (2015) 371–386). Where every problem
    has the same mean nothing varies to resample; there the interval is what Wilson's bound allows: as
    many unseen problems as 0 of n leaves open may be all wrong, or all right.

    Args:
        correct_P_S: 1 for right, 0 for not; shape (problems, samples), or (problems,) of means.
        resamples: Number of bootstrap draws.
        seed: Of the draws; the same seed gives the same interval.

    Raises:
        ValueError: If there is no problem or a value is not within 0 … 1.
    """
    means_P = _problem_means(correct_P_S)
    low, high = _interval_over_problems(means_P, 0.0, resamples, seed)
    return Rate(float(means_P.mean()), low, high, means_P.size)


def paired_permutation(
    a_P: npt.ArrayLike, b_P: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedTest:
    """Return the sign-flip permutation test of two models' per-problem means.

    Under "no difference" each problem's difference is as likely to have either sign, so
    p = (1 + #{|mean of flipped| ≥ |mean|}) / (1 + B): never 0 (Phipson and Smyth, Stat. Appl. Genet.
    Mol. Biol. 9 (2010) 39). The interval is that of `bootstrap_rate`, of the differences.

    Args:
        a_P: Mean result of the first model on each problem; shape (problems,).
        b_P: The same of the second.
        resamples: B, the number of flips, and of bootstrap draws.
        seed: Of both.

    Raises:
        ValueError: If the shapes differ or there is no problem.
    """
    a, b = _pair(a_P, b_P)
    differences_P = b - a
    difference = float(differences_P.mean())
    random = np.random.default_rng(seed)
    # The mean of flipped signs in float64 may miss an equal value by an ulp.
    threshold = abs(difference) * (1 - 1e-12)
    extreme = 0
    for size in _chunks(resamples, differences_P.size):
        signs_B_P = random.integers(0, 2, size=(size, differences_P.size), dtype=np.int8) * 2.0 - 1.0
        extreme += int((np.abs(signs_B_P @ differences_P / differences_P.size) >= threshold).sum())
    low, high = _interval_over_problems(differences_P, -1.0, resamples, seed)
    return PairedTest(difference, low, high, (1 + extreme) / (1 + resamples), "paired-permutation")


def interval_of_differences(
    differences_P: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of the mean of per-problem differences: the bootstrap of `bootstrap_rate`.

    Args:
        differences_P: Within −1 … 1; shape (problems,).
        resamples: Number of bootstrap draws.
        seed: Of the draws.

    Raises:
        ValueError: If there is no problem.
    """
    differences = np.asarray(differences_P, dtype=np.float64)
    if differences.ndim != 1 or differences.size == 0:
        raise ValueError(f"differences need one value per problem; got shape {differences.shape}")
    return _interval_over_problems(differences, -1.0, resamples, seed)


def pass_at_k(correct_P_S: npt.ArrayLike, k: int) -> Rate:
    """Return the chance that at least one of ``k`` samples of a problem is right.

    The mean over problems of 1 − C(n − c, k) / C(n, k), for c right among n samples: unbiased (Chen et
    al. 2021, arXiv:2107.03374). The interval is a bootstrap over problems.

    Args:
        correct_P_S: 1 for right, 0 for not; shape (problems, samples).
        k: How many samples are tried, at most the number there are.

    Raises:
        ValueError: If ``k`` is not within 1 … samples or a value is neither 0 nor 1.
    """
    correct = _matrix(correct_P_S)
    samples = correct.shape[1]
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs 1 to {samples} samples of {samples}")
    wrong = samples - correct.sum(axis=1)
    # C(n − c, k) / C(n, k) as a product of k factors; one of them is 0 when fewer than k are wrong.
    tried = np.arange(k)
    none_right_P = np.prod(np.clip(wrong[:, None] - tried, 0, None) / (samples - tried), axis=1)
    return bootstrap_rate(1 - none_right_P)


def majority_at_k(
    answers_P_S: Sequence[Sequence[str | None]], correct_P_S: npt.ArrayLike, k: int | None = None
) -> Rate:
    """Return the share of problems whose most frequent answer among the first ``k`` samples is right.

    Self-consistency (Wang et al. 2022, arXiv:2203.11171). A tie goes to the answer seen first. None (no
    answer) is never voted for: a problem without any answer is not solved.

    Args:
        answers_P_S: What each sample answered, as compared texts.
        correct_P_S: Whether that answer is right; shape (problems, samples).
        k: Number of votes; all samples if None.

    Raises:
        ValueError: If the shapes differ or ``k`` is not within 1 … samples.
    """
    correct = _matrix(correct_P_S)
    votes = correct.shape[1] if k is None else k
    if len(answers_P_S) != correct.shape[0] or any(
        len(answers) != correct.shape[1] for answers in answers_P_S
    ):
        raise ValueError("answers and results differ in shape")
    if not 1 <= votes <= correct.shape[1]:
        raise ValueError(f"maj@{votes} needs 1 to {correct.shape[1]} samples of {correct.shape[1]}")
    solved = [
        _majority_is_right(answers[:votes], right)
        for answers, right in zip(answers_P_S, correct, strict=True)
    ]
    return wilson(sum(solved), len(solved))


def _majority_is_right(answers: Sequence[str | None], right: Array) -> bool:
    counts: dict[str, int] = {}
    for answer in answers:
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    if not counts:
        return False
    winner = max(counts, key=counts.__getitem__)  # the first of equals: dicts keep their order
    return bool(right[list(answers).index(winner)])


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for being several, in their order.

    The i-th smallest of m is multiplied by m − i + 1, never below one before it, at most 1. Holm, Scand. J.
    Statist. 6 (1979) 65–70: at most 5 % of families of true nulls have one below 0.05.
    """
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = so_far
    return adjusted


def describe(rate: Rate) -> str:
    """Return a rate in words that never claim more than was seen.

    ``"84.3 % [79.8, 88.0]"``; at the edges a bound takes the place of a certainty: ``"0 of 300 (< 1.3 %)"``
    and ``"300 of 300 (> 98.7 %)"``, with the end of the interval.
    """
    if rate.value in (0.0, 1.0):
        return f"{round(rate.value * rate.n):,} of {rate.n:,} ({describe_bound(rate)})"
    return f"{percent(rate.value)} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def describe_bound(rate: Rate) -> str:
    """Return how far a rate of none or all may be off: ``"< 1.3 %"`` or ``"> 98.7 %"``, rounded outwards."""
    if rate.value == 0.0:
        return f"< {math.ceil(1000 * rate.high - 1e-9) / 10:.1f} %"
    return f"> {math.floor(1000 * rate.low + 1e-9) / 10:.1f} %"


def percent(share: float) -> str:
    """Return a share in per cent with one decimal, or as many as keep it off a false 0 or 100."""
    for digits in range(1, 7):
        text = f"{100 * share:.{digits}f}"
        if (float(text) == 0) == (share == 0) and (abs(float(text)) == 100) == (abs(share) == 1):
            return text
    return text


def describe_p(p: float) -> str:
    """Return a p-value in words: ``"p = 0.031"``, ``"p < 0.001"``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _pair(a_P: npt.ArrayLike, b_P: npt.ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(a_P, dtype=np.float64), np.asarray(b_P, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise ValueError(
            f"paired results need one value per problem each; got shapes {a.shape} and {b.shape}"
        )
    return a, b


def _matrix(correct_P_S: npt.ArrayLike) -> Array:
    correct = np.asarray(correct_P_S, dtype=np.float64)
    if correct.ndim != 2 or correct.size == 0 or not np.isin(correct, (0.0, 1.0)).all():
        raise ValueError("results need shape (problems, samples) and values 0 or 1")
    return correct


def _problem_means(correct_P_S: npt.ArrayLike) -> Array:
    correct = np.asarray(correct_P_S, dtype=np.float64)
    if correct.ndim not in (1, 2) or correct.size == 0 or not ((correct >= 0) & (correct <= 1)).all():
        raise ValueError("results need shape (problems, samples) or (problems,) and values within 0 … 1")
    return correct if correct.ndim == 1 else correct.mean(axis=1)


def _interval_over_problems(values_P: Array, lowest: float, resamples: int, seed: int) -> tuple[float, float]:
    """Return the bootstrap interval of the mean of values within ``lowest`` … 1."""
    n, value = values_P.size, float(values_P.mean())
    if float(np.ptp(values_P)) == 0.0:
        unseen = wilson(0, n).high
        return value - unseen * (value - lowest), value + unseen * (1 - value)
    random = np.random.default_rng(seed)
    means_B = [values_P[random.integers(0, n, size=(size, n))].mean(axis=1) for size in _chunks(resamples, n)]
    tail = float(norm.cdf(-math.sqrt(n / (n - 1)) * student.ppf(0.975, n - 1)))
    low, high = np.quantile(np.concatenate(means_B), (tail, 1 - tail))
    return float(low), float(high)


def _chunks(resamples: int, n: int) -> list[int]:
    size = max(1, _CHUNK_CELLS // n)
    whole, rest = divmod(resamples, size)
    return [size] * whole + ([rest] if rest else [])
