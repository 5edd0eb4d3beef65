"""Rules on a probe: what the rewards make of right and wrong answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.facts import Array, Flags, ProbeFacts, live_chances, rate_over_problems
from warmstart.diagnosis.findings import Finding, finding
from warmstart.diagnosis.rules_writing import ENOUGH
from warmstart.diagnosis.wording import count_of, whole
from warmstart.estimates import wilson

BLIND = 0.5
"""From this share of right answers unpaid on, where the reward has an answer to read, it is blind."""
BLIND_WARN = 0.05
"""Share of right answers in the strict format that may go unpaid (research/users.md, triage 5)."""
PAID_MOST = 0.85
"""From this share of right answers paid on, the reward does follow the answers."""
IDLE = 0.5
"""From this share of completions in the exact format on, a term that pays none of them is worth a word."""
PAYS_WRONG = 0.1
"""From this share of wrong answers paid on, the outcome reward teaches something else."""
LEADS = 0.25
"""From this share of the reward's spread in mixed groups on, the outcome leads. Seen on a tiny model: 0.98
with the strict format beside it, 0.90 in the stages `shape` and `format`, 0.45 with the format at ten times
its weight, 0.17 beside noise four times as wide, 0.01 beside minus one per character."""


def reward_blind(facts: ProbeFacts) -> Finding | None:
    """Right answers stand where the outcome reward has something to read, and it does not pay them.

    Broken where that happens to most of what an independent grader calls right; a warning where right
    answers in the exact format go unpaid, and there are more of them than `BLIND_WARN`.
    """
    exact, right = facts.strict_P_K == 1, _right(facts)
    unpaid = facts.outcome_P_K == 0
    of, missed, where = int(right.sum()), int((right & unpaid).sum()), "where the reward can read them"
    if of < ENOUGH:
        return None
    level = Severity.BROKEN
    if missed < BLIND * of:
        of, missed, where = int(exact.sum()), int((exact & unpaid).sum()), "in the exact format"
        if of < ENOUGH or wilson(missed, of).low <= BLIND_WARN:
            return None
        level = Severity.BROKEN if missed >= BLIND * of else Severity.WARNING
    return finding(
        "reward-blind",
        f"{facts.outcome or 'the outcome'} pays nothing for {count_of(missed, of)} right answers {where}",
        level=level,
        unpaid=missed,
        right=of,
    )


def reward_unrelated(facts: ProbeFacts) -> Finding | None:
    """Right answers are often unpaid, and wrong ones are paid as often: rows mixed up, chance, a wrong sign.

    As often: the intervals over problems are not apart.

    A reward that pays nearly every right answer, and wrong ones too, is `reward_pays_wrong`.
    """
    right, wrong = _right(facts), _wrong(facts)
    paid = facts.outcome_P_K == 1
    rights, wrongs = int(right.sum()), int(wrong.sum())
    if rights < ENOUGH or wrongs < ENOUGH:
        return None
    of_right, of_wrong = int((right & paid).sum()), int((wrong & paid).sum())
    among_right, among_wrong = (
        rate_over_problems(paid.astype(np.float64), flags) for flags in (right, wrong)
    )
    if among_right is None or among_wrong is None:
        return None
    if among_right.value >= PAID_MOST or among_wrong.value < PAYS_WRONG:
        return None
    if among_right.low > among_wrong.high:
        return None
    return finding(
        "reward-unrelated",
        f"{facts.outcome or 'the outcome'} pays {count_of(of_right, rights)} right answers "
        f"and {count_of(of_wrong, wrongs)} wrong ones",
        paid_right=of_right,
        paid_wrong=of_wrong,
    )


def _right(facts: ProbeFacts) -> Flags:
    """Return the right answers that stand where the outcome reward has something to read."""
    readable = facts.answered_P_K if facts.readable_P_K is None else facts.readable_P_K
    return np.asarray((readable & facts.finished_P_K & (facts.lenient_P_K == 1)) | (facts.strict_P_K == 1))


def _wrong(facts: ProbeFacts) -> Flags:
    """Return the completions that no grader of ours calls right."""
    return np.asarray((facts.lenient_P_K == 0) & (facts.strict_P_K == 0))


def reward_pays_wrong(facts: ProbeFacts) -> Finding | None:
    """Completions are paid for their outcome that no grader of ours calls right."""
    chosen = _wrong(facts) & (facts.outcome_P_K == 1)
    of, paid = int(_wrong(facts).sum()), int(chosen.sum())
    if of < ENOUGH or paid < PAYS_WRONG * of or wilson(paid, of).low <= PAYS_WRONG / 2:
        return None
    evidence = f"{facts.outcome or 'the outcome'} pays {count_of(paid, of)} wrong answers"
    if facts.outcome is not None:
        column = facts.rewards_P_K_R[:, :, facts.reward_names.index(facts.outcome)]
        evidence += f", {column[chosen].mean():.2g} on average (more than 0 counts as right)"
    return finding("reward-pays-wrong", evidence, paid=paid, wrong=of)


def rewards_cancel(facts: ProbeFacts) -> Finding | None:
    """Rewards differ within groups and their weighted totals do not."""
    weighted = [index for index, weight in enumerate(facts.weights) if weight]
    if not weighted:
        return finding("rewards-cancel", "every reward has the weight 0", "give the rewards weights")
    varied = np.zeros(facts.problems, dtype=bool)
    for index in weighted:
        varied |= live_chances(facts.rewards_P_K_R[:, :, index], facts.format_P_K.shape[1]) > 0.5
    dead = live_chances(facts.totals_P_K, facts.format_P_K.shape[1]) < 0.5
    of, cancelled = int(varied.sum()), int((varied & dead).sum())
    if cancelled < max(3, 0.5 * of, 0.1 * facts.problems):
        return None
    terms = ", ".join(f"{facts.weights[index]:+g} · {facts.reward_names[index]}" for index in weighted)
    return finding(
        "rewards-cancel",
        f"in {count_of(cancelled, of)} groups whose rewards differ the total is the same for all: {terms}",
        cancelled=cancelled,
        varied=of,
    )


def outcome_outweighed(facts: ProbeFacts) -> Finding | None:
    """In groups with right and wrong answers the outcome decides less than `LEADS` of the total's spread.

    That share is the squared correlation within groups of outcome and total, 0 where right answers earn
    less; the upper end of its interval (Fisher's z, 90 %) must stay below twice `LEADS`.
    """
    if facts.outcome is not None and (weight := _weight(facts, facts.outcome)) <= 0:
        evidence = f"the weight of {facts.outcome} is {weight:g}: the run is not paid for right answers"
        return finding("outcome-outweighed", evidence, weight=weight)
    outcome, total = facts.outcome_P_K, facts.totals_P_K
    known = ~np.isnan(outcome) & ~np.isnan(total)
    mixed = [row for row in range(facts.problems) if len(set(outcome[row, known[row]])) == 2]
    right = _around_mean(outcome, known, mixed)
    earned = _around_mean(total, known, mixed)
    spread = float(earned @ earned)
    if len(mixed) < 5 or right.size < ENOUGH or spread < 1e-9:
        return None
    correlation = float(right @ earned) / math.sqrt(float(right @ right) * spread)
    share = max(0.0, correlation) ** 2
    high = math.tanh(math.atanh(min(correlation, 0.999)) + 1.645 / math.sqrt(right.size - 3))
    if share >= LEADS or max(0.0, high) ** 2 >= 2 * LEADS:
        return None
    parts = {
        name: weight * float(_around_mean(facts.rewards_P_K_R[:, :, index], known, mixed) @ earned) / spread
        for index, (name, weight) in enumerate(zip(facts.reward_names, facts.weights, strict=True))
        if weight and name != facts.outcome
    }
    evidence = (
        f"in {len(mixed):,} groups with right and wrong answers the outcome decides {whole(share)} of the "
        "reward's spread"
    )
    if parts:
        evidence += f", {max(parts, key=lambda name: parts[name])} the most of the rest"
    return finding("outcome-outweighed", evidence, share=share, mixed=len(mixed))


def _around_mean(values_P_K: Array, known_P_K: Flags, rows: Sequence[int]) -> Array:
    """Return the known values of the given problems, each less its problem's mean, in one line."""
    groups = [values_P_K[row, known_P_K[row]] for row in rows]
    return np.concatenate([np.nan_to_num(group - group.mean()) for group in groups] or [np.zeros(0)])


def _weight(facts: ProbeFacts, name: str) -> float:
    return facts.weights[facts.reward_names.index(name)]


def reward_idle(facts: ProbeFacts) -> Finding | None:
    """A term with weight pays nothing to anybody, although most completions are in the exact format.

    It reads other tags, or another place. The outcome has rules of its own.
    """
    if float(facts.format_P_K.mean()) < IDLE:
        return None
    idle = [
        name
        for index, name in enumerate(facts.reward_names)
        if facts.weights[index] and name != facts.outcome and (facts.rewards_P_K_R[:, :, index] == 0).all()
    ]
    if not idle:
        return None
    of, exact = facts.completions, int(facts.format_P_K.sum())
    evidence = f"{', '.join(idle)} pays none of {of:,} completions, of which {exact:,} have the exact format"
    return finding("reward-idle", evidence, idle=len(idle))


RULES: tuple[Callable[[ProbeFacts], Finding | None], ...] = (
    reward_unrelated,
    reward_blind,
    reward_pays_wrong,
    rewards_cancel,
    outcome_outweighed,
    reward_idle,
)
