"""What a diagnosis is made from before training: plain numbers, nothing of models or files.

Array suffixes: ``_P`` problems, ``_K`` completions of a problem, ``_R`` reward functions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from warmstart import estimates
from warmstart.diagnosis.texts import runs_on
from warmstart.estimates import Rate
from warmstart.grading.notation import canonical
from warmstart.tags import DEFAULT_TAGS, Tags

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FaultKind = Literal["raises", "wrong-length", "times-out", "not-a-number", "undecided"]

_EQUAL_DIGITS = 6
"""Rewards that agree to this many decimals are equal, as in `learning_signal`."""


@dataclass(frozen=True, slots=True)
class RewardFault:
    """What one reward function did wrong.

    Attributes:
        name: Of the function.
        kind: What it did.
        rows: Completions it happened on.
        of: Completions it was called on.
        example: The first message or value, for the reader.
    """

    name: str
    kind: FaultKind
    rows: int
    of: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class EndToken:
    """How ready the model is to end its turn.

    Attributes:
        text: The end-of-turn token.
        probability: Mean probability of it right after a complete answer, 0 … 1; None if not measured.
        is_untrained: Its embedding looks as if no training had touched it; None if not measured.
    """

    text: str
    probability: float | None = None
    is_untrained: bool | None = None


@dataclass(frozen=True, slots=True)
class PlainRates:
    """What the model writes when its own distribution is sampled, at temperature 1 and without a penalty.

    Attributes:
        of: Completions.
        format: Of them, in the exact format.
        right: Of them, right anywhere.
    """

    of: int
    format: int
    right: int


@dataclass(frozen=True)
class ProbeFacts:
    """What a probe of P problems with K completions each has seen.

    Attributes:
        format_P_K: The text is exactly the strict format.
        strict_P_K: 1 for a right answer in the strict format, 0 for not, NaN for undecided.
        lenient_P_K: 1 for a right answer anywhere, as a grader says that has no part in the reward; 0, NaN.
        answered_P_K: There is a complete answer block, whatever surrounds it.
        finished_P_K: The completion ended its turn by itself.
        tokens_P_K: Length in tokens.
        rewards_P_K_R: What each reward function returned, unweighted; NaN for None.
        reward_names: Names of the R reward functions.
        weights: Their weights.
        outcome: Name of the reward that says whether the answer is right: it pays more than 0 if and only
            if it is. None: ``strict_P_K`` is the outcome.
        texts: The completions, P lists of K.
        group_size: Completions per problem and step in the run to come.
        cap: Most tokens a completion may have.
        temperature: Of sampling.
        top_k: Of sampling; 0 for none.
        top_p: Of sampling.
        repetition_penalty: Of sampling; 1 for none.
        plain: What the model's own distribution gives, where the sampler's settings are unusual.
        tags_asked_P: Names of the blocks that each prompt speaks of; None if not kept.
        not_finite: Completions with a token whose log-probability is no finite number.
        entropy: Mean entropy of the next token, in nats, over the completions' tokens; None if not measured.
        given_P_K: The lenient answer of each completion as text, None for none; None if not kept.
        golds: The gold answer of each problem; empty if not kept.
        readable_P_K: The outcome reward has something to read there; None: wherever there is an answer block.
        faults: What the reward functions did wrong.
        end_token: What is known of the end of the turn.
        is_warmed: A warm start came before.
        lenient_before: Sampled lenient accuracy before the warm start.
        four_bit_gap: Mean absolute difference of a token's log-probability between the 4-bit and the full
            base, in nats.
        tags: The names of the two blocks.

    Raises:
        ValueError: If the shapes disagree.
    """

    format_P_K: Flags
    strict_P_K: Array
    lenient_P_K: Array
    answered_P_K: Flags
    finished_P_K: Flags
    tokens_P_K: npt.NDArray[np.int64]
    rewards_P_K_R: Array
    reward_names: tuple[str, ...]
    weights: tuple[float, ...]
    outcome: str | None
    texts: Sequence[Sequence[str]]
    group_size: int
    cap: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    plain: PlainRates | None = None
    tags_asked_P: Sequence[frozenset[str]] | None = None
    not_finite: int = 0
    entropy: float | None = None
    given_P_K: Sequence[Sequence[str | None]] | None = None
    golds: Sequence[str] = ()
    readable_P_K: Flags | None = None
    faults: tuple[RewardFault, ...] = ()
    end_token: EndToken | None = None
    is_warmed: bool = False
    lenient_before: Rate | None = None
    four_bit_gap: float | None = None
    tags: Tags = DEFAULT_TAGS

    def __post_init__(self) -> None:
        shape = self.format_P_K.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"a probe needs problems and completions; got shape {shape}")
        for name in ("strict_P_K", "lenient_P_K", "answered_P_K", "finished_P_K", "tokens_P_K"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, format_P_K {shape}")
        if self.rewards_P_K_R.shape != (*shape, len(self.reward_names)):
            raise ValueError(f"rewards_P_K_R has shape {self.rewards_P_K_R.shape}; {self.reward_names}")
        if len(self.weights) != len(self.reward_names):
            raise ValueError(f"{len(self.weights)} weights for {len(self.reward_names)} rewards")
        if self.outcome is not None and self.outcome not in self.reward_names:
            raise ValueError(f"the outcome {self.outcome!r} is none of {self.reward_names}")
        if len(self.texts) != shape[0] or any(len(group) != shape[1] for group in self.texts):
            raise ValueError("texts and arrays differ in shape")

    @property
    def problems(self) -> int:
        """Return P."""
        return int(self.format_P_K.shape[0])

    @property
    def completions(self) -> int:
        """Return P · K."""
        return int(self.format_P_K.size)

    @cached_property
    def outcome_P_K(self) -> Array:
        """Return 1 where the outcome reward paid, 0 where not, NaN where it could not tell."""
        if self.outcome is None:
            return self.strict_P_K
        column = self.rewards_P_K_R[:, :, self.reward_names.index(self.outcome)]
        return np.where(np.isnan(column), np.nan, (column > 0).astype(np.float64))

    @cached_property
    def totals_P_K(self) -> Array:
        """Return the weighted sum of the rewards; NaN where one that has weight could not tell."""
        weights = np.asarray(self.weights, dtype=np.float64)
        return np.asarray(self.rewards_P_K_R[:, :, weights != 0] @ weights[weights != 0])

    @cached_property
    def runs_on_P_K(self) -> Flags:
        """Return where a completion did not end although it had said all it had to say."""
        return np.array(
            [
                [
                    not finished and runs_on(text, self.tags)
                    for text, finished in zip(group, ends, strict=True)
                ]
                for group, ends in zip(self.texts, self.finished_P_K, strict=True)
            ]
        )

    @cached_property
    def had_room_P_K(self) -> Flags:
        """Return where a missing format or a wrong answer is not the cap's doing."""
        return np.asarray(self.finished_P_K | self.runs_on_P_K)

    @cached_property
    def luck(self) -> float | None:
        """Return how often an answer would have been right for another problem: what guessing earns.

        None if answers or golds were not kept, or there is one problem.
        """
        if self.given_P_K is None or len(self.golds) < 2:
            return None
        golds = [_plain(gold) for gold in self.golds]
        counts = Counter(golds)
        hits = sum(
            counts[_plain(answer)] - (_plain(answer) == gold)
            for gold, group in zip(golds, self.given_P_K, strict=True)
            for answer in group
            if answer is not None
        )
        return hits / (self.completions * (len(golds) - 1))

    @cached_property
    def solves_nothing(self) -> bool:
        """Return whether what is right anywhere is no more than guessing earns (binomial, p > 0.01)."""
        known = self.lenient_P_K[~np.isnan(self.lenient_P_K)]
        right = int(known.sum())
        if np.nansum(self.outcome_P_K) > 0:
            return False
        if right == 0 or self.luck is None:
            return right == 0
        return bool(binomtest(right, known.size, min(1.0, self.luck), "greater").pvalue > 0.01)

    @cached_property
    def unfinished(self) -> float:
        """Return the share of completions that did not end their turn."""
        return float(1 - self.finished_P_K.mean())

    @cached_property
    def live_outcome(self) -> Rate:
        """Return the share of groups of ``group_size`` whose outcomes differ, over problems."""
        return estimates.bootstrap_rate(live_chances(self.outcome_P_K, self.group_size))

    @cached_property
    def live_total(self) -> float:
        """Return the share of groups of ``group_size`` whose total rewards differ."""
        return float(live_chances(self.totals_P_K, self.group_size).mean())

    def signal(self) -> dict[str, float]:
        """Return the numbers every report of a probe shows: rates and shares, 0 … 1."""
        dead = 1 - live_chances(self.outcome_P_K, self.group_size)
        graded = ~np.isnan(self.outcome_P_K).all(axis=1)
        right = np.nanmean(_with_a_value(self.outcome_P_K), axis=1)
        return {
            "live_share": self.live_outcome.value,
            "live_share_high": self.live_outcome.high,
            "live_share_total": self.live_total,
            "all_fail_share": float((dead * (graded & (right < 0.5))).mean()),
            "all_pass_share": float((dead * (graded & (right >= 0.5))).mean()),
            "format": float(self.format_P_K.mean()),
            "strict": mean(self.strict_P_K),
            "lenient": mean(self.lenient_P_K),
            "unfinished_share": self.unfinished,
        }


def live_chances(values_P_K: Array, group_size: int) -> Array:
    """Return for every problem the chance that a group drawn from its completions is live.

    1 − Σᵥ C(nᵥ, g) / C(n, g) over the distinct values, for g drawn without replacement: unbiased for g ≤ n.
    With fewer completions than ``group_size`` it is that of a group of all of them, a lower bound.

    Args:
        values_P_K: Rewards or outcomes; NaN is left out. Shape (problems, completions).
        group_size: Completions in a group.

    Returns:
        Chances, shape (problems,); 0 for a problem with fewer than two known values.
    """
    chances = np.zeros(values_P_K.shape[0])
    for index, values in enumerate(values_P_K):
        known = values[~np.isnan(values)]
        size = min(group_size, known.size)
        if size >= 2:
            counts = np.unique(np.round(known, _EQUAL_DIGITS), return_counts=True)[1]
            whole = math.comb(known.size, size)
            chances[index] = 1 - sum(math.comb(int(count), size) for count in counts) / whole
    return chances


def mean(values: Array) -> float:
    """Return the mean of the known values; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def rate_over_problems(values_P_K: Array, among_P_K: Flags | None = None) -> Rate | None:
    """Return the share of 1 among known values, its interval over problems; None if nothing is known.

    Args:
        values_P_K: 1, 0 or NaN.
        among_P_K: Where to look; everywhere if None.
    """
    chosen = values_P_K if among_P_K is None else np.where(among_P_K, values_P_K, np.nan)
    means = [mean(row) for row in chosen if not np.isnan(row).all()]
    return estimates.bootstrap_rate(means) if means else None


def _plain(text: str) -> str:
    return canonical(text.rpartition("####")[2]).replace(",", "")


def _with_a_value(values_P_K: Array) -> Array:
    """Return the values with 0 in rows where nothing is known."""
    return np.where(np.isnan(values_P_K).all(axis=1, keepdims=True), 0.0, values_P_K)
