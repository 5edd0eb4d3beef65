"""How much of a step can teach anything: live and dead groups, from raw rewards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_EQUAL = 1e-6
"""Rewards closer than this are equal: three times 0.1 has a mean that is off by one ulp."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Shares of groups: ``live + all_fail + all_pass + dead_otherwise = 1``.

    ``mixed`` is the share whose outcomes differ: live groups without it live on shaping alone.
    """

    live: float
    all_fail: float
    all_pass: float
    mixed: float = 0.0


def live_groups(rewards_P_G: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return, for every group, whether its rewards differ.

    A group whose rewards are all equal has advantage zero and no gradient (GRPO, arXiv:2402.03300).
    NaN (a reward that could not be told) is left out; a group with fewer than two rewards is dead.

    Args:
        rewards_P_G: Total reward of each completion, shape (problems, group_size).
    """
    known = ~np.isnan(rewards_P_G)
    high = np.where(known, rewards_P_G, -np.inf).max(axis=1)
    low = np.where(known, rewards_P_G, np.inf).min(axis=1)
    return np.asarray((known.sum(axis=1) >= 2) & (high - low > _EQUAL))


def group_signal(live_P: npt.NDArray[np.bool_], outcomes_P_G: npt.NDArray[np.float64]) -> Signal:
    """Return the shares of live, all-fail and all-pass groups; one without a known outcome is neither of the last two.

    TRL's ``frac_reward_zero_std`` is not used: with ``scale_rewards="batch"`` it tests the spread of the
    whole batch, and it never tells all-fail from all-pass, which need opposite cures.

    Args:
        live_P: Whether the group has gradient, shape (problems,); see `live_groups`.
        outcomes_P_G: 1 for a right answer, 0 for any other, NaN for undecided, shape (problems, group_size).
    """
    known = ~np.isnan(outcomes_P_G)
    right = np.where(known, outcomes_P_G, 0.0).sum(axis=1)
    graded = known.sum(axis=1)
    return Signal(
        live=float(live_P.mean()),
        all_fail=float((~live_P & (graded > 0) & (right == 0)).mean()),
        all_pass=float((~live_P & (graded > 0) & (right == graded)).mean()),
        mixed=float(((right > 0) & (right < graded)).mean()),
    )
