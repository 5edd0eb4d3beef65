"""The share of live groups to expect at each group size, from a probe at one.

The formula 1 − pᴳ − (1 − p)ᴳ at the mean solve rate overstates it badly, because problems differ: half
solved always and half never gives a mean of 0.5 and not one live group. So the problems' own counts are
used: exactly up to the probe's own number of completions, beyond it through a fitted distribution of
solve rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, expit

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 2000
"""Of the problems, for the intervals."""
_SHRINK = 1e-3
"""Keeps the fit finite when every problem is alike; far below what a single problem says."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The share of live groups to expect at one group size.

    Attributes:
        group_size: Completions per problem.
        live: Expected share of groups whose outcomes differ, 0 … 1.
        ci90: Interval of that expectation over problems.
        prediction90: Interval of the share that one fresh draw of groups will show.
        method: ``exact`` up to the probe's completions per problem, ``fitted`` beyond.
    """

    group_size: int
    live: float
    ci90: tuple[float, float]
    prediction90: tuple[float, float]
    method: Literal["exact", "fitted"]

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as JSON holds it."""
        return asdict(self) | {"ci90": list(self.ci90), "prediction90": list(self.prediction90)}


def forecast(
    outcomes_P_K: Array, group_sizes: Sequence[int], *, problems: int | None = None, seed: int = 0
) -> list[Forecast]:
    """Return the live share to expect at each group size.

    Up to K completions per problem the expectation is unbiased: the chance that G of a problem's K
    outcomes, drawn without replacement, are mixed (hypergeometric). Beyond, solve rates are taken to
    follow a Beta distribution with atoms at 0 and 1, fitted by maximum likelihood to the counts.

    Args:
        outcomes_P_K: 1 right, 0 not, NaN undecided; shape (problems, completions).
        group_sizes: Completions per problem to forecast for.
        problems: Groups in the draw that ``prediction90`` is about; as many as were probed by default.
        seed: Of the bootstrap.

    Returns:
        One per group size; none at all when no problem has two graded completions.
    """
    right, graded = counts_of(outcomes_P_K)
    if not len(right):
        return []
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(right), (RESAMPLES, len(right)))
    most_graded = int(graded.min())
    fit: _Fit | None = None
    found = []
    for size in group_sizes:
        is_exact = size <= most_graded
        chances = mixed_chances(right, graded, min(size, most_graded))
        means = chances[drawn].mean(axis=1)
        live = float(chances.mean())
        expected = [means]
        if 2 * size > most_graded:
            # Few distinct groups of this size are in the probe: when all of them are live, the counts
            # alone would promise certainty. The fit's noise is that of what it is fitted to.
            fit = fit or _fit(right, graded)
            expected.append(np.clip(means + fit.live(size) - live, 0.0, 1.0))
        if not is_exact and fit is not None:
            expected, live = expected[1:], fit.live(size)
        groups = problems or len(right)
        low, high = _interval(expected)
        least, most = _interval([rng.binomial(groups, means) / groups for means in expected])
        unseen = unseen_bound(right, graded, size)
        if unseen is not None:
            high, most = max(high, unseen), max(most, unseen)
        found.append(
            Forecast(
                size,
                live,
                (min(low, live), max(high, live)),
                (least, most),
                "exact" if is_exact else "fitted",
            )
        )
    return found


def _interval(samples: Sequence[Array]) -> tuple[float, float]:
    """Return the widest of the 90 % intervals of several samples."""
    ends = [np.quantile(sample, (0.05, 0.95)) for sample in samples]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def live_bound(outcomes_P_K: Array, group_size: int, *, seed: int = 0) -> float:
    """Return the upper 95 % bound of the expected live share; 1 when nothing could be graded."""
    found = forecast(outcomes_P_K, [group_size], seed=seed)
    return found[0].ci90[1] if found else 1.0


def counts_of(outcomes_P_K: Array) -> tuple[Counts, Counts]:
    """Return right and graded completions of each problem with at least two graded ones."""
    known = ~np.isnan(outcomes_P_K)
    graded = known.sum(axis=1)
    right = np.where(known, outcomes_P_K, 0.0).sum(axis=1).round().astype(np.int64)
    return right[graded >= 2], graded[graded >= 2].astype(np.int64)


def mixed_chances(right_P: Counts, graded_P: Counts, group_size: int) -> Array:
    """Return 1 − [C(c, G) + C(k − c, G)] / C(k, G) for each problem with c of k right; G ≤ every k."""
    return np.array(
        [
            1.0 - (math.comb(c, group_size) + math.comb(k - c, group_size)) / math.comb(k, group_size)
            for c, k in zip(right_P.tolist(), graded_P.tolist(), strict=True)
        ]
    )


def unseen_bound(right_P: Counts, graded_P: Counts, group_size: int) -> float | None:
    """Return what the live share may still be when every outcome was the same, with 95 % confidence; else None.

    P problems showed no mixture within k completions. Whatever the distribution of solve rates, fewer
    than 3/P of the problems show one within k (rule of three), and a group of G > k completions meets a
    rare outcome at most G/k times as often: min(1, 3/P · max(1, G/k)).
    """
    if 0 < right_P.sum() < graded_P.sum():
        return None
    return float(min(1.0, 3.0 / len(right_P) * max(1.0, group_size / float(graded_P.mean()))))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Solve rates: 0 with weight ``never``, 1 with weight ``always``, else Beta(a, b)."""

    never: float
    always: float
    a: float
    b: float

    def live(self, size: int) -> float:
        """Return the chance that a group of ``size`` completions is mixed."""
        same = math.exp(betaln(self.a + size, self.b) - betaln(self.a, self.b))
        same += math.exp(betaln(self.a, self.b + size) - betaln(self.a, self.b))
        return max(0.0, (1.0 - self.never - self.always) * (1.0 - same))


def _fit(right: Counts, graded: Counts) -> _Fit:
    """Return the maximum-likelihood fit to the counts (Beta-binomial with atoms at both ends)."""
    total_right, total = int(right.sum()), int(graded.sum())
    if total_right == 0:
        return _Fit(1.0, 0.0, 1.0, 1.0)
    if total_right == total:
        return _Fit(0.0, 1.0, 1.0, 1.0)
    pairs, weights = np.unique(np.stack([right, graded], axis=1), axis=0, return_counts=True)
    c, k = pairs[:, 0].astype(np.float64), pairs[:, 1].astype(np.float64)

    def loss(x: Array) -> float:
        never, always = _atoms(x)
        a, b = np.exp(np.clip(x[2:], -5.0, 7.0))
        inside = np.exp(betaln(c + a, k - c + b) - betaln(a, b))
        likelihood = (1 - never - always) * inside + never * (c == 0) + always * (c == k)
        return float(-(weights * np.log(np.maximum(likelihood, 1e-300))).sum() + _SHRINK * (x**2).sum())

    mean = total_right / total
    starts = ([-3.0, -3.0, math.log(2 * mean), math.log(2 * (1 - mean))], [0.0, 0.0, 0.5, 0.5])
    best = min((minimize(loss, np.array(start), method="L-BFGS-B") for start in starts), key=lambda r: r.fun)
    never, always = _atoms(best.x)
    a, b = np.exp(np.clip(best.x[2:], -5.0, 7.0))
    return _Fit(never, always, float(a), float(b))


def _atoms(x: Array) -> tuple[float, float]:
    """Return the two weights; together below one."""
    both = float(expit(x[0]))
    share = float(expit(x[1]))
    return both * share, both * (1 - share)
