"""Which problems the next step asks: rather those whose group is likely to hold right and wrong answers.

A group teaches only if its outcomes are mixed, and whether they are depends on the problem's solve rate p:
P(live) = 1 − pᴳ − (1 − p)ᴳ. Each problem has a Beta posterior of p. A short run sees most problems never
or once, so the prior is pooled: over problems of the same stratum (family and steps, or length), and the
strata over all. Old answers are forgotten, because the policy moves, and where it moves is measured: how far
the answers of a step were from what was expected of its problems shifts what is expected next. GRESO
(arXiv:2506.02177) skips problems by their own history alone and SPEED (arXiv:2506.09016) screens with a few
completions each; a pooled posterior needs neither a first visit nor completions that are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

FORGET = 0.97
"""What an answer's weight is multiplied with at every step: half after 23 of them."""
REST = 4
"""Steps a problem rests after it was asked, unless told otherwise: the shorter, the more groups are mixed; the
longer, the less a small model learns by heart what it is asked often (docs/log.md)."""
SHARPNESS = 8.0
"""A problem is drawn with a chance in proportion to this power of its P(live): one that is certain to be live is
drawn fifty times as often as one that is live with 0.6."""
FLOOR = 0.02
"""Added to P(live), so that even among problems that cannot be live each has a chance."""
REPLAYED = 0.8
"""Share of the draw that goes to problems known to be live, once they have rested: of the others it is guessed
(docs/log.md)."""
KNOWN_LIVE = 0.85
"""A problem whose answers still count for one is known to be live from this share of the largest P(live) on that
its group size allows, that of a solve rate of one half."""
_POOLED = 8.0
"""Completions' worth of belief that a stratum is like all the others."""
_STIFFNESS = 64.0
"""What a step's answers are weighed against when they shift the expectation, in completions × p (1 − p)."""
_CLOSEST, _WIDEST = 0.05, 0.8
"""Bounds of the correlation of answers within a problem, which says how different problems are."""

_LAST_RESORT = 1e-12 * FLOOR**SHARPNESS
"""The weight of a problem that is drawn only when the others do not suffice: less than any other's."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Posterior:
    """What is known of every problem's solve rate. Values of it are never changed, only replaced.

    Attributes:
        stratum_N: Which problems are alike; integers from 0 on.
        right_N: Right completions of each problem, forgotten with time.
        of_N: Completions of each problem whose verdict is known, forgotten with time.
        asked_N: The step each problem was last asked at, counted from 1; 0 for never.
        step: Steps drawn so far.
        moments: Sums over first groups: of 1, of the squared distance of a group's rate from its stratum's m, of
            m (1 − m), and of 1/size.
        drift: How much better than by their answers problems are expected to be solved now, in logits: those
            that were never answered, and those that were, which training has made easier.
    """

    stratum_N: npt.NDArray[np.int64]
    right_N: Floats
    of_N: Floats
    asked_N: npt.NDArray[np.int64]
    step: int = 0
    moments: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    drift: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def fresh(cls, strata: Sequence[object]) -> Posterior:
        """Return a posterior that has seen nothing of ``len(strata)`` problems; equal strata are alike."""
        numbers = {name: index for index, name in enumerate(dict.fromkeys(strata))}
        zeros = np.zeros(len(strata))
        return cls(
            np.array([numbers[name] for name in strata], dtype=np.int64),
            zeros,
            zeros,
            np.zeros(len(strata), dtype=np.int64),
        )

    def learn(self, problems: Sequence[int], right: Sequence[float], of: Sequence[float]) -> Posterior:
        """Return the posterior after ``right`` of ``of`` completions were right; what was known fades."""
        index = np.asarray(problems, dtype=np.int64)
        drift = self._drift_after(index, np.asarray(right, dtype=float), np.asarray(of, dtype=float))
        right_N, of_N = FORGET * self.right_N, FORGET * self.of_N
        np.add.at(right_N, index, right)
        np.add.at(of_N, index, of)
        # First groups alone: those asked again were chosen by their rates and are more alike than problems are.
        is_first = (np.asarray(of) > 1) & (self.of_N[index] == 0)
        right_G, of_G = (np.asarray(value, dtype=np.float64)[is_first] for value in (right, of))
        right_S, of_S = self._by_stratum(right_N), self._by_stratum(of_N)
        stratum_G = self.stratum_N[index][is_first]
        # What the others of the stratum let expect of a group; with itself among them it would be near itself.
        mean_G = _drawn_to_all(right_S[stratum_G] - right_G, of_S[stratum_G] - of_G, right_N, of_N)
        added = (
            of_G.size,
            ((right_G / of_G - mean_G) ** 2).sum(),
            (mean_G * (1 - mean_G)).sum(),
            (1 / of_G).sum(),
        )
        fading = FORGET if of_G.size else 1.0
        weight, squares, most, inverse = (
            fading * old + float(new) for old, new in zip(self.moments, added, strict=True)
        )
        moments = (weight, squares, most, inverse)
        return replace(self, right_N=right_N, of_N=of_N, moments=moments, drift=drift)

    def _drift_after(self, problems: npt.NDArray[np.int64], right: Floats, of: Floats) -> tuple[float, float]:
        """Return the drift after these answers: of problems never answered, and of those answered before.

        One Newton step of each one's likelihood, Δ = Σ (right − of p) / (stiffness + Σ of p (1 − p)); the
        first answers of all have nothing they could be compared with.
        """
        if not self.of_N.any():
            return self.drift
        a, b = self.beta()
        expected = (a / (a + b))[problems]
        gap, information = right - of * expected, of * expected * (1 - expected)
        was_answered = self.of_N[problems] > 0
        new, old = (
            shift + float(gap[kind].sum() / (_STIFFNESS + information[kind].sum()))
            for shift, kind in zip(self.drift, (~was_answered, was_answered), strict=True)
        )
        return new, old

    def beta(self) -> tuple[Floats, Floats]:
        """Return both parameters of every problem's Beta distribution, shape (problems,) each.

        The prior of problem i in stratum s is Beta(κ mₛ, κ (1 − mₛ)): mₛ is the stratum's share of right
        answers, drawn towards that of all; κ = 1/ρ − 1, where ρ is the correlation of two answers to one
        problem within its stratum, from the spread of the groups' rates beyond the binomial's. The mean of the posterior is then
        moved by the drift, in logits; a + b stays.
        """
        right_S, of_S = self._by_stratum(self.right_N), self._by_stratum(self.of_N)
        mean_S = _drawn_to_all(right_S, of_S, self.right_N, self.of_N)
        agreement = 1 / self._correlation() - 1
        mean_N = mean_S[self.stratum_N]
        a, b = agreement * mean_N + self.right_N, agreement * (1 - mean_N) + self.of_N - self.right_N
        new, old = self.drift
        odds = a / b * np.exp(np.where(self.of_N > 0, old, new))
        return (a + b) * odds / (1 + odds), (a + b) / (1 + odds)

    def _by_stratum(self, values_N: Floats) -> Floats:
        """Return the sum over each stratum's problems, shape (strata,)."""
        sums_S = np.zeros(int(self.stratum_N.max(initial=0)) + 1)
        np.add.at(sums_S, self.stratum_N, values_N)
        return sums_S

    def _correlation(self) -> float:
        """Return ρ of E[(rate − m)²] = m (1 − m) (1/size + (1 − 1/size) ρ)."""
        weight, squares, most, inverse = self.moments
        if weight < 1 or most < 1e-9:
            return 0.5
        beyond = (squares / most - inverse / weight) / (1 - inverse / weight)
        return float(np.clip(beyond, _CLOSEST, _WIDEST))

    def live(self, group_size: int) -> Floats:
        """Return every problem's P(live) = E[1 − pᴳ − (1 − p)ᴳ], shape (problems,); E[pᴳ] = B(a + G, b)/B(a, b)."""
        a, b = self.beta()
        solved = np.exp(betaln(a + group_size, b) - betaln(a, b))
        failed = np.exp(betaln(a, b + group_size) - betaln(a, b))
        return np.asarray(np.clip(1 - solved - failed, 0.0, 1.0))

    def draw(
        self, count: int, group_size: int, *, seed: int, rest: int = REST
    ) -> tuple[Posterior, list[int]]:
        """Return the posterior that knows of the draw, and ``count`` different problems for the next step.

        The chance of a problem is in proportion to (P(live) + `FLOOR`) to the power of `SHARPNESS`; those
        asked within ``rest`` steps come only when there are not enough others. Problems known to be live are
        lifted together to the share `REPLAYED`, if theirs is smaller; the others are explored.

        Raises:
            ValueError: If there are fewer problems than ``count``.
        """
        total = self.stratum_N.size
        if count > total:
            raise ValueError(f"{count} different problems are wanted and there are {total}")
        random = np.random.default_rng([seed, self.step])
        step = self.step + 1
        live = self.live(group_size)
        rests = (self.asked_N > 0) & (step - self.asked_N <= rest)
        weight = np.where(rests, _LAST_RESORT, (live + FLOOR) ** SHARPNESS)
        largest = 1 - 2 * 0.5**group_size
        is_known_live = (self.of_N >= 1) & ~rests & (live >= KNOWN_LIVE * largest)
        if is_known_live.any():
            others = REPLAYED / (1 - REPLAYED) * weight[~is_known_live].sum()
            weight[is_known_live] *= max(1.0, others / weight[is_known_live].sum())
        drawn = random.choice(total, count, replace=False, p=weight / weight.sum()).tolist()
        asked_N = self.asked_N.copy()
        asked_N[drawn] = step
        return replace(self, asked_N=asked_N, step=step), drawn

    def to_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps, as JSON can hold it: the problems that were asked, and the sums."""
        seen = np.flatnonzero((self.asked_N > 0) | (self.of_N > 0))
        return {
            "step": self.step,
            "moments": list(self.moments),
            "drift": list(self.drift),
            "problems": seen.tolist(),
            "right": self.right_N[seen].tolist(),
            "of": self.of_N[seen].tolist(),
            "asked": self.asked_N[seen].tolist(),
        }

    def restored(self, written: Mapping[str, Any]) -> Posterior:
        """Return the posterior of the same problems with what `to_dict` wrote.

        Raises:
            ValueError: If it was written of more problems than there are.
        """
        seen = np.array(written["problems"], dtype=np.int64)
        if seen.size and seen.max() >= self.stratum_N.size:
            raise ValueError(
                f"the checkpoint knows problem {int(seen.max())} and there are {self.stratum_N.size}"
            )
        right_N, of_N, asked_N = (
            np.zeros_like(self.right_N),
            np.zeros_like(self.of_N),
            np.zeros_like(self.asked_N),
        )
        right_N[seen], of_N[seen], asked_N[seen] = written["right"], written["of"], written["asked"]
        weight, squares, most, inverse = written["moments"]
        new, old = written["drift"]
        return replace(
            self,
            right_N=right_N,
            of_N=of_N,
            asked_N=asked_N,
            step=int(written["step"]),
            moments=(weight, squares, most, inverse),
            drift=(new, old),
        )


def _drawn_to_all(right_S: Floats, of_S: Floats, right_N: Floats, of_N: Floats) -> Floats:
    """Return each share of right answers, drawn towards that of all problems by `_POOLED` completions."""
    everywhere = float((right_N.sum() + 1) / (of_N.sum() + 2))
    return (right_S + _POOLED * everywhere) / (of_S + _POOLED)
