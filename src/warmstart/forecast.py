"""The share of live groups to expect at each group size, from a probe at one.

The formula 1 − pᴳ − (1 − p)ᴳ at the mean solve rate overstates it badly, because problems differ: half
solved always and half never gives a mean of 0.5 and not one live group. So the problems' own counts are
used: exactly up to the probe's own number of completions, beyond it through a fitted distribution of
solve rates.

Array suffixes: ``_P`` problems, ``_K`` completions of a probe, ``_M`` kinds of problem (those the probe
cannot tell apart), ``_V`` values, ``_B`` resamples, ``_R`` solve rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import comb, expit
from scipy.stats import binom

Array = npt.NDArray[np.float64]

RESAMPLES = 1_000
"""Of the problems, for the intervals."""
_EQUAL = 1e-6
"""Rewards closer than this are equal."""
_COMPLETE = 0.9
"""Counting reaches the group size for which this share of the problems has completions enough."""
_STEPS_OF_EM = 200
"""Where the fit stops. Stopping early keeps it from breaking up into a few points."""
_RATES = np.r_[0.0, expit(np.linspace(-7.6, 7.6, 60)), 1.0]
"""Solve rates that a fit mixes: hopeless, solved, and between 1 in 2,000 and 1,999 in 2,000."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The share of live groups to expect at one group size.

    Attributes:
        group_size: Completions per problem, G.
        live: Expected share of live groups among new problems, 0 … 1.
        ci90: Interval of that expectation over problems.
        prediction90: Interval of the share that one draw of new problems will show.
        method: ``exact`` counts the probe's own completions; ``fitted`` adds what a fitted mixture of
            solve rates gains beyond the probe's number of completions.
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
    outcomes_P_K: npt.ArrayLike,
    group_sizes: Sequence[int],
    *,
    problems: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Forecast]:
    """Return the live share to expect at each group size, from a probe of K completions per problem.

    For G ≤ K it is exact: a group of G drawn without replacement from a problem's k decided completions is
    dead with the probability Σ_v C(n_v, G) / C(k, G), where n_v of them have the value v; one minus
    the mean over problems is unbiased. For G > K, the gain E[m_G(p)] − E[m_K(p)] is added, where
    m_G(p) = 1 − p^G − (1 − p)^G, over solve rates p whose distribution is fitted by maximum
    likelihood without a shape (Laird, JASA 73 (1978) 805–811), by EM on a grid that holds 0 and 1.
    A Beta-binomial, with or without atoms at 0 and 1, was less well calibrated.

    Uncertainty is a Bayesian bootstrap over problems, the fit repeated in each, with one problem that
    was not seen, live for the upper end and dead for the lower (Gaffke's bound, arXiv:1905.06208): a
    probe without one live group gives a bound, never 0. The prediction adds the binomial noise of the
    draw. It is about new problems; a draw of the probe's own varies less.

    NaN (undecided) is left out, and so is a problem with fewer decided completions than nine tenths of
    the others have.

    Args:
        outcomes_P_K: 1 for right, 0 for not, NaN for undecided; or, for G ≤ K, any rewards. Shape
            (problems, completions).
        group_sizes: The G to forecast, at least 2 each.
        problems: Groups in the draw that is predicted; as many as were probed if None.
        seed: Of the resamples.
        resamples: B, their number.

    Returns:
        One per group size; none at all when no problem has two decided completions.

    Raises:
        ValueError: If the shape is another, a group size is below 2, or rewards of more than two values
            are to be forecast beyond K.
    """
    probe = _Probe.read(outcomes_P_K)
    if probe is None:
        return []
    draw = probe.problems if problems is None else problems
    random = np.random.default_rng(seed)
    weights_B_M, unseen_B = probe.resample(resamples, random)
    rates_B_R: Array | None = None
    forecasts = []
    for group_size in group_sizes:
        known = min(_checked(group_size, probe), probe.depth)
        live_M = probe.live(known)
        live = float(live_M @ probe.counts_M) / probe.problems
        low_B = weights_B_M @ live_M
        high_B = low_B + unseen_B
        if group_size > known:
            if rates_B_R is None:
                whole = (probe.counts_M / probe.problems)[None, :]
                seen_B_M = weights_B_M / weights_B_M.sum(axis=1, keepdims=True)
                rates_B_R = _fit(probe, np.vstack([whole, seen_B_M]))
            gain_R = _mixed(_RATES, group_size) - _mixed(_RATES, known)
            # EM never leaves the small rates altogether; a probe without a live group has no gain to show.
            gains_B = rates_B_R @ gain_R * bool(live_M.any())
            # No distribution of solve rates gains more than `_extrapolate` allows; a ragged fit might.
            most_B = _extrapolate(np.r_[live, low_B, high_B], known, group_size)
            live_B, most_low_B, most_high_B = np.split(most_B, [1, 1 + resamples])
            live = min(float(live_B[0]), live + float(gains_B[0]))
            low_B = np.minimum(most_low_B, low_B + (1 - unseen_B) * gains_B[1:])
            high_B = np.minimum(most_high_B, high_B + (1 - unseen_B) * gains_B[1:])
            # Solve rates too small for the probe to see: the rule of three at this group size.
            high_B = np.maximum(high_B, _extrapolate(unseen_B, known, group_size))
        share_low_B, share_high_B = (
            random.binomial(draw, np.clip(ends_B, 0, 1)) / draw for ends_B in (low_B, high_B)
        )
        forecasts.append(
            Forecast(
                group_size,
                live,
                _ends(low_B, high_B),
                _ends(share_low_B, share_high_B),
                "exact" if group_size == known else "fitted",
            )
        )
    return forecasts


def live_bound(
    outcomes_P_K: npt.ArrayLike, group_size: int, *, seed: int = 0, resamples: int = 10 * RESAMPLES
) -> float:
    """Return the upper 95 % bound of the expected live share; 1 when nothing could be graded.

    For G ≤ K it is Gaffke's bound of a mean of values within 0 … 1 (arXiv:1905.06208); no live group among n
    problems gives 1 − 0.05^(1/n) < 3/n, the rule of three. For G > K no model is trusted: whatever the
    distribution of solve rates, E[m_G] ≤ m_G(p) where m_K(p) is the bound at K (m_G is a concave
    function of m_K), so with n problems × K completions and nothing right it is about 3G/(nK).

    Args:
        outcomes_P_K: As for `forecast`.
        group_size: G.
        seed: Of the resamples.
        resamples: Their number.

    Raises:
        ValueError: As for `forecast`.
    """
    probe = _Probe.read(outcomes_P_K)
    if probe is None:
        return 1.0
    known = min(_checked(group_size, probe), probe.depth)
    weights_B_M, unseen_B = probe.resample(resamples, np.random.default_rng(seed))
    bound = np.quantile(weights_B_M @ probe.live(known) + unseen_B, 0.95)
    return float(_extrapolate(np.clip([bound], 0, 1), known, group_size)[0])


@dataclass(frozen=True)
class _Probe:
    """What a probe saw, one row for each kind of problem.

    Attributes:
        tallies_M_V: How many of a problem's completions have each value, largest number first.
        high_M: How many have the larger of two values; 0 if there are more than two.
        counts_M: How many problems are of the kind.
        two_valued: Whether the whole probe holds at most two values.
    """

    tallies_M_V: Array
    high_M: Array
    counts_M: Array
    two_valued: bool

    @classmethod
    def read(cls, outcomes_P_K: npt.ArrayLike) -> _Probe | None:
        """Return the probe; None if no problem has two decided completions."""
        outcomes = np.asarray(outcomes_P_K, dtype=np.float64)
        if outcomes.ndim != 2:
            raise ValueError(f"a probe needs shape (problems, completions); got {outcomes.shape}")
        decided_P = (~np.isnan(outcomes)).sum(axis=1)
        outcomes, decided_P = outcomes[decided_P >= 2], decided_P[decided_P >= 2]
        if decided_P.size == 0:
            return None
        least = np.sort(decided_P)[int((1 - _COMPLETE) * decided_P.size)]
        levels_P_K, levels = _levels(outcomes[decided_P >= least])
        tallies_P_V = (levels_P_K[:, :, None] == np.arange(levels)).sum(axis=1)
        kinds = np.column_stack([-np.sort(-tallies_P_V, axis=1), tallies_P_V[:, -1]])
        if levels > 2:
            kinds[:, -1] = 0
        kinds, counts_M = np.unique(kinds, axis=0, return_counts=True)
        return cls(
            kinds[:, :-1].astype(float), kinds[:, -1].astype(float), counts_M.astype(float), levels <= 2
        )

    @cached_property
    def decided_M(self) -> Array:
        """Decided completions of each kind of problem, k."""
        return np.asarray(self.tallies_M_V.sum(axis=1))

    @property
    def depth(self) -> int:
        """The largest group size that can be counted rather than fitted."""
        return int(self.decided_M.min())

    @property
    def problems(self) -> int:
        """How many problems count."""
        return int(self.counts_M.sum())

    def live(self, group_size: int) -> Array:
        """Return the chance that a group of ``group_size`` of a problem's completions is live."""
        dead_M = comb(self.tallies_M_V, group_size).sum(axis=1) / comb(self.decided_M, group_size)
        return np.asarray(np.clip(1 - dead_M, 0, 1))

    def resample(self, resamples: int, random: np.random.Generator) -> tuple[Array, Array]:
        """Return the weight of every kind of problem and that of the problem that was not seen."""
        weights_B_M = random.dirichlet(np.r_[self.counts_M, 1.0], size=resamples)
        return weights_B_M[:, :-1], weights_B_M[:, -1]


def _levels(values_P_K: Array) -> tuple[npt.NDArray[np.int64], int]:
    """Return each value's rank among the distinct ones (NaN: −1), and how many there are."""
    known = ~np.isnan(values_P_K)
    distinct = np.unique(values_P_K[known])
    rank = np.cumsum(np.diff(distinct, prepend=-np.inf) > _EQUAL) - 1
    levels_P_K = np.full(values_P_K.shape, -1)
    levels_P_K[known] = rank[np.searchsorted(distinct, values_P_K[known])]
    return levels_P_K, int(rank[-1]) + 1


def _checked(group_size: int, probe: _Probe) -> int:
    if group_size < 2:
        raise ValueError(f"a group of {group_size} cannot be live; group sizes start at 2")
    if group_size > probe.depth and not probe.two_valued:
        raise ValueError(
            f"rewards of more than two values can be forecast up to the probe's {probe.depth} completions, "
            f"not to {group_size}; forecast their 0/1 outcomes, or probe more"
        )
    return group_size


def _fit(probe: _Probe, weights_B_M: Array) -> Array:
    """Return the weights of `_RATES` that make the probe likeliest, for each weighting of its problems."""
    likelihood_M_R = binom.pmf(probe.high_M[:, None], probe.decided_M[:, None], _RATES)
    rates_B_R = np.full((len(weights_B_M), _RATES.size), 1 / _RATES.size)
    for _ in range(_STEPS_OF_EM):
        rates_B_R *= (weights_B_M / (rates_B_R @ likelihood_M_R.T)) @ likelihood_M_R
    return rates_B_R


def _mixed(rates: Array, group_size: int) -> Array:
    """Return the chance that a group of completions with these solve rates holds both outcomes."""
    return np.asarray(1 - rates**group_size - (1 - rates) ** group_size)


def _extrapolate(shares: Array, known: int, group_size: int) -> Array:
    """Return the greatest live share at ``group_size`` of any problems that have ``shares`` at ``known``."""
    if group_size == known:
        return shares
    low, high = np.zeros_like(shares), np.full_like(shares, 0.5)
    for _ in range(50):
        middle = (low + high) / 2
        below = _mixed(middle, known) < shares
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.maximum(shares, _mixed(high, group_size))


def _ends(low_B: Array, high_B: Array) -> tuple[float, float]:
    """Return the outer 5 % points, clear of rounding."""
    low = float(np.quantile(low_B, 0.05, method="lower"))
    return max(0.0, low), min(1.0, float(np.quantile(high_B, 0.95, method="higher")))
