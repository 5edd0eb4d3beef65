"""What a diagnosis is made from during training: the steps so far, as arrays.

Array suffix: ``_T`` logged steps, in order. NaN stands for "not logged"; no rule takes it for a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart.diagnosis.texts import runs_on
from warmstart.estimates import Rate
from warmstart.grading.numbers import Number, read_number
from warmstart.grading.verdicts import grade_lenient
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, Tags, parse

Array = npt.NDArray[np.float64]

WINDOW = 10
"""Logged steps a claim about "now" rests on (research/users.md, triage)."""
EARLY = 5
"""Logged steps that say how the run began."""
_FEWEST_WORDS = 6
"""A shorter reasoning may be the same for two problems by right: "12 + 3 = 15." is."""
_DIGITS = re.compile(r"[0-9]+(?:[.,][0-9]+)*")
_MOST_CHARS = 10_000
"""Characters of an answer that are looked at for numbers."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Held-out results at a step: right in the exact format, right anywhere, the format."""

    step: int
    strict: Rate
    lenient: Rate | None = None
    format: Rate | None = None


@dataclass(frozen=True, slots=True)
class RolloutStats:
    """What the completions of one step look like; shares are 0 … 1.

    Attributes:
        step: The training step.
        distinct: Mean share of distinct texts in a group; 1 / group_size if all are the same.
        several_blocks: Completions with more than one answer block.
        reasoning_words: Mean number of words before the answer, tags left out.
        paid_wrong: Completions whose outcome reward paid while the lenient grader says wrong.
        runs_on: Completions that repeat themselves, or go on long after a complete answer.
        several_numbers: Completions with an answer that is no number and holds more numbers than the gold.
        repeated_tags: Completions that write one of the four tags more than once.
        copied: Completions whose reasoning stands word for word in a completion of another problem, as that
            of an exemplar does that is copied.
        no_reasoning: Completions with tags, and nothing but tags before their answer.
    """

    step: int
    distinct: float
    several_blocks: float
    reasoning_words: float
    paid_wrong: float
    runs_on: float
    several_numbers: float = 0.0
    repeated_tags: float = 0.0
    copied: float = 0.0
    no_reasoning: float = 0.0

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], outcome: str | None, tags: Tags = DEFAULT_TAGS
    ) -> RolloutStats:
        """Return the statistics of one step from its rollout rows, as the trainer keeps them.

        Args:
            rows: With ``step``, ``problem_id``, ``gold``, ``text`` and ``rewards``; one per completion.
            outcome: Name of the reward that says whether the answer is right.
            tags: The names of the two blocks.

        Raises:
            ValueError: If there is no row.
        """
        if not rows:
            raise ValueError("no rollouts")
        groups: dict[str, list[str]] = {}
        askers: dict[str, set[str]] = {}
        reasonings = [_reasoning(row["text"], tags) for row in rows]
        counts = dict.fromkeys(
            ("several_blocks", "repeated_tags", "several_numbers", "no_reasoning", "paid_wrong", "runs_on"), 0
        )
        for row, reasoning in zip(rows, reasonings, strict=True):
            text = row["text"]
            groups.setdefault(row["problem_id"], []).append(text)
            askers.setdefault(reasoning, set()).add(row["problem_id"])
            parsed = parse(text, tags)
            counts["several_blocks"] += parsed.answer_blocks > 1
            counts["repeated_tags"] += max(parsed.tag_counts) > 1
            counts["several_numbers"] += any(_is_spray(answer, row["gold"]) for answer in parsed.answers)
            counts["no_reasoning"] += max(parsed.tag_counts) > 0 and not any(map(str.isalnum, reasoning))
            counts["runs_on"] += runs_on(text, tags)
            paid = outcome is not None and (row["rewards"].get(outcome) or 0.0) > 0
            counts["paid_wrong"] += (
                paid and grade_lenient(text, row["gold"], tags=tags).verdict is Verdict.WRONG
            )
        lengths = [len(reasoning.split()) for reasoning in reasonings]
        copied = [
            length >= _FEWEST_WORDS and len(askers[reasoning]) > 1
            for reasoning, length in zip(reasonings, lengths, strict=True)
        ]
        return cls(
            step=int(rows[0]["step"]),
            distinct=float(np.mean([len(set(texts)) / len(texts) for texts in groups.values()])),
            reasoning_words=sum(lengths) / len(rows),
            copied=sum(copied) / len(rows),
            **{name: count / len(rows) for name, count in counts.items()},
        )


def _reasoning(text: str, tags: Tags) -> str:
    """Return what stands before the answer, without tags, one blank between words."""
    before = text.split(tags.exact[2], 1)[0]
    for tag in tags.exact:
        before = before.replace(tag, " ")
    return " ".join(before.split())


def _is_spray(answer: str, gold: str) -> bool:
    """Return whether an answer holds more numbers than the gold and is none itself: 1,000 or 3/4 is one."""
    numbers = len(_DIGITS.findall(answer[:_MOST_CHARS]))
    return numbers > max(1, len(_DIGITS.findall(gold))) and not isinstance(read_number(answer), Number)


@dataclass(frozen=True)
class TrainingWindow:
    """The steps of a GRPO run so far; "now" is the last ``window`` of them, "early" the first five.

    Attributes:
        step_T: Number of each logged step.
        series: By the key of metrics.jsonl: ``reward``, ``reward_std``, ``grad_norm``, ``loss``, ``entropy``
            (nats per token), ``kl``, ``completion_tokens``, ``truncated_share``, ``live_share`` (by total
            reward), ``outcome_live_share``, ``all_fail_share``, ``all_pass_share``, ``undecided_share``,
            ``learning_rate``, ``clip_ratio``, ``engine_gap`` (nats per token), ``weight_change`` (relative, since the start). Shape (T,) each.
        rewards: Mean of each reward function, unweighted; shape (T,) each.
        broken_T: Loss or gradient norm was logged and is no finite number.
        outcome: Name of the reward that says whether the answer is right.
        outcome_max: What it pays for a right answer.
        format: Name of the reward for the exact format.
        format_max: What it pays.
        group_size: Completions per problem and step.
        temperature: Of the sampling; None if not known.
        cap: Most tokens a completion may have; None if not known.
        usual_rate: Learning rate known to work for this model and method; None if not known.
        peak_rate: The learning rate the run was given, before any schedule; None if not known.
        masks_truncated: Truncated completions are left out of the loss.
        evaluations: Held-out results, oldest first.
        rollouts: Statistics of the completions, oldest first.
        window: Logged steps that make up "now".
    """

    step_T: npt.NDArray[np.int64]
    series: Mapping[str, Array]
    rewards: Mapping[str, Array] = field(default_factory=dict)
    broken_T: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    outcome: str | None = "correctness_reward_func"
    outcome_max: float = 2.0
    format: str | None = "strict_format_reward_func"
    format_max: float = 0.5
    group_size: int = 8
    temperature: float | None = None
    cap: int | None = None
    usual_rate: float | None = None
    peak_rate: float | None = None
    masks_truncated: bool = False
    evaluations: tuple[Evaluation, ...] = ()
    rollouts: tuple[RolloutStats, ...] = ()
    window: int = WINDOW

    @classmethod
    def from_metrics(
        cls,
        lines: Iterable[Mapping[str, Any]],
        *,
        stage: str = "grpo",
        window: int = WINDOW,
        **known: Any,  # noqa: ANN401
    ) -> TrainingWindow:
        """Return the window over lines of metrics.jsonl; any key may be missing from any line.

        A loss or gradient norm that is null is one that was not finite: JSON cannot say NaN.

        Args:
            lines: All lines so far, oldest first; the best of the run so far needs the older ones.
            stage: Lines of another stage are left out.
            window: Logged steps that make up "now".
            known: The other attributes of `TrainingWindow`.
        """
        kept = [line for line in lines if line.get("stage", stage) == stage]
        keys = dict.fromkeys(key for line in kept for key in line if key not in ("stage", "step", "rewards"))
        names = dict.fromkeys(name for line in kept for name in line.get("rewards") or ())
        return cls(
            step_T=np.array([line.get("step", at + 1) for at, line in enumerate(kept)], dtype=np.int64),
            series={key: np.array([_number(line.get(key)) for line in kept]) for key in keys},
            rewards={
                name: np.array([_number((line.get("rewards") or {}).get(name)) for line in kept])
                for name in names
            },
            broken_T=np.array(
                [
                    any(
                        key in line and not math.isfinite(_number(line[key])) for key in ("loss", "grad_norm")
                    )
                    for line in kept
                ],
                dtype=bool,
            ),
            window=window,
            **known,
        )

    def __len__(self) -> int:
        return self.step_T.size

    def of(self, key: str) -> Array:
        """Return a series; all NaN if it was never logged."""
        return self.series.get(key, np.full(len(self), np.nan))

    def now(self, key: str) -> float:
        """Return the mean of a series over the window; NaN if nothing in it was logged."""
        return mean(self.of(key)[-self.window :])

    @property
    def right_T(self) -> Array:
        """Return the share of right completions by the outcome reward; NaN where not logged."""
        return self.rewards.get(self.outcome or "", np.full(len(self), np.nan)) / self.outcome_max

    @property
    def format_T(self) -> Array:
        """Return the share of completions in the exact format by its reward; NaN where not logged."""
        return self.rewards.get(self.format or "", np.full(len(self), np.nan)) / self.format_max

    @property
    def outcome_live(self) -> float:
        """Return the share of groups whose outcomes differ, over the window.

        As logged; else what is neither all-fail nor all-pass is not enough to tell it, so it is the smaller
        of the share by total reward and the bound that the share of right answers sets: a group that is live
        by outcome has a right answer, and a wrong one, among its ``group_size``.
        """
        logged = self.now("outcome_live_share")
        if not math.isnan(logged):
            return logged
        right = mean(self.right_T[-self.window :])
        bounds = [self.now("live_share"), self.group_size * right, self.group_size * (1 - right)]
        return min((bound for bound in bounds if not math.isnan(bound)), default=math.nan)


_KNOWN_RATES = ((1e6, 1.5e-3), (1.5e9, 1e-5))
"""Parameters, and the rate of Adam that LoRA was seen to learn well with: docs/log.md; TRL, LoRA without
regret (there hardly falling any more beyond)."""


def usual_rate(parameters: int) -> float:
    """Return the learning rate that is usual for GRPO with LoRA on a model of so many parameters.

    Between the two sizes at which it is known, a power law; beyond them it stays.
    """
    (small, high), (large, low) = _KNOWN_RATES
    place = (math.log(parameters) - math.log(small)) / (math.log(large) - math.log(small))
    return float(high * (low / high) ** min(1.0, max(0.0, place)))


def mean(values: Array) -> float:
    """Return the mean of the known values; NaN if there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def best_before(values_T: Array, size: int) -> tuple[float, int]:
    """Return the best mean of ``size`` steps in a row that ended before the last ``size``, and its end.

    Args:
        values_T: A series; windows with fewer than half of their values known are left out.
        size: Steps in a row.

    Returns:
        The mean and the index after its last step; NaN and 0 if there is none.
    """
    best, at = math.nan, 0
    for end in range(size, values_T.size - size + 1):
        part = values_T[end - size : end]
        if 2 * np.isfinite(part).sum() >= size and not mean(part) <= best:
            best, at = mean(part), end
    return best, at


def rise(values_T: Array) -> tuple[float, float]:
    """Return how far the last third of a series lies above its first third, and in standard errors.

    Welch's t of the two thirds; the scatter within them stands for the noise, so that a step's mean over
    few groups is taken for no more than it is. NaN and 0 with fewer than four known values in a third.
    """
    known = values_T[np.isfinite(values_T)]
    third = known.size // 3
    if third < 4:
        return math.nan, 0.0
    first, last = known[:third], known[-third:]
    difference = float(last.mean() - first.mean())
    error = math.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third)
    if error == 0:
        return difference, math.copysign(math.inf, difference) if difference else 0.0
    return difference, difference / error


def noise(values_T: Array) -> float:
    """Return the standard deviation of a series about its own course, from its steps' differences.

    1.4826 · median |xₜ₊₁ − xₜ| / √2: a slow course, and a jump or two, leave it as it is. 0 without two values.
    """
    known = values_T[np.isfinite(values_T)]
    return 1.4826 * float(np.median(np.abs(np.diff(known)))) / math.sqrt(2) if known.size > 1 else 0.0


def _number(value: object) -> float:
    """Return a logged value as float; NaN for None and for text that is no number ("NaN" is one)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
