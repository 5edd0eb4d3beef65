"""Rules on a probe: what the rewards make of what the model writes, and what it can do.

One function per cause, from facts to a finding or None; `diagnose_probe` orders what they find and leaves
out what another one explains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from warmstart.diagnosis import rules_rewards, rules_writing
from warmstart.diagnosis.facts import ProbeFacts, live_chances, mean, rate_over_problems
from warmstart.diagnosis.findings import Finding, explaining, finding
from warmstart.diagnosis.rules_plumbing import diagnose_faults
from warmstart.diagnosis.rules_writing import ENOUGH, is_without_entropy, judged_completions
from warmstart.diagnosis.wording import claim, count_of, whole
from warmstart.estimates import percent, wilson

LIVE = 0.2
"""Below this share of live groups four fifths of the sampling is thrown away (research/users.md, 1)."""
RIGHT_RARE = 0.1
"""Below this share of right answers, and with few live groups, the problems are too hard (triage 7)."""
RIGHT_MOST = 0.9
"""From this share of right answers on, and with few live groups, the problems are solved (triage 8)."""
CONTRADICTED = 0.75
"""Share of confident majorities against the gold that no skill explains: a plurality of samples is right
more often than a single one (self-consistency, arXiv:2203.11171), unless the golds are not the problems'."""
CONFIDENT = 0.4
"""A majority is confident with this share of a problem's answers, three at least, twice the runner-up."""
SURE = 0.75
"""From this share of a problem's answers alike on, the model is sure."""
SURE_WRONG = 0.2
"""Share of sure answers against the gold that wrong golds alone explain: tiny models have 0 … 5 %."""
MANY, MOST = 0.1, 0.25
"""Shares of problems that must have a confident majority before the golds are doubted, ten at least: the second,
or the first if the model is sure of `SURE_OF` of them. Tiny models with four samples, where a majority is sure:
20 % cold, 70 % warm (3 … 7 % of them against true golds, 98 % against shuffled ones), and 3 % on problems beyond
them; with eight samples 38 % cold, and 11 … 20 % on problems beyond it, hardly any of them sure."""
SURE_OF = 0.3
SKILL = 0.1
"""Points of lenient accuracy a warm start may cost within the noise of its measurement."""
GATED = 0.25
"""Below this ratio of outcome-live to total-live groups, shaping leads the gradient."""
FOUR_BIT = 0.2
"""Nats per token. By judgement: engines of one and the same model differ by 0.01 (research/users.md, 19)."""

Rule = Callable[[ProbeFacts], Finding | None]


def diagnose_probe(facts: ProbeFacts) -> list[Finding]:
    """Return what keeps a run from these facts from learning, the explaining cause first."""
    return explaining([*diagnose_faults(facts.faults), *(found for rule in RULES if (found := rule(facts)))])


def gold_contradicted(facts: ProbeFacts) -> Finding | None:
    """On many problems the model agrees with itself, and on most of those not with the gold.

    One answer given to most problems alike is no agreement about a problem: the majorities must be at
    least half as varied as the golds. Golds that the model mostly met before a warm start cost it that skill
    are not what is wrong.
    """
    if facts.given_P_K is None or _were_met(facts):
        return None
    majorities = []
    against = 0
    sure = [0, 0]
    for index, answers in enumerate(facts.given_P_K):
        known = [
            answer if ended else None
            for answer, ended in zip(answers, facts.finished_P_K[index], strict=True)
        ]
        winner = _confident(known)
        if winner is not None:
            majorities.append(winner)
            is_against = facts.lenient_P_K[index, known.index(winner)] == 0
            against += is_against
            if known.count(winner) >= SURE * len(known):
                sure[int(is_against)] += 1
    of, values = len(majorities), set(majorities)
    variety = min(of, len(set(facts.golds)) or of)
    needed = MANY if sum(sure) >= SURE_OF * of else MOST
    if of < max(ENOUGH, needed * facts.problems) or len(values) < 0.5 * variety:
        return None
    is_most = against >= CONTRADICTED * of and wilson(int(against), of).low > 0.5
    if not is_most and not _contradicts_even_when_sure(*sure):
        return None
    evidence = (
        f"on {of:,} of {facts.problems:,} problems the model's answers agree with each other, "
        f"and on {against:,} of those not with the gold"
    )
    if not is_most:
        evidence += f"; where {whole(SURE)} agree, on {sure[1]:,} of {sum(sure):,}"
    elsewhere = len(values & {gold.strip() for gold in facts.golds})
    if elsewhere:
        evidence += f"; {elsewhere:,} of the answers are the gold of another problem"
    return finding("gold-contradicted", evidence, confident=of, against=int(against))


def _were_met(facts: ProbeFacts) -> bool:
    before = facts.lenient_before
    return before is not None and before.low > 0.5 and skill_lost(facts) is not None


def _contradicts_even_when_sure(agreed: int, against: int) -> bool:
    """Return whether golds are wrong for some of the problems.

    A model that is not up to a problem scatters; where nearly all its samples agree it is nearly always
    right. Wrong golds contradict those answers as often as the others.
    """
    sure = agreed + against
    return sure >= ENOUGH and against >= SURE_WRONG * sure and wilson(against, sure).low > SURE_WRONG / 2


def _confident(answers: list[str | None]) -> str | None:
    counts = Counter(answer for answer in answers if answer is not None).most_common(2)
    if not counts:
        return None
    votes, runner_up = counts[0][1], counts[1][1] if len(counts) > 1 else 0
    is_confident = votes >= max(3, CONFIDENT * len(answers)) and votes >= 2 * runner_up
    return counts[0][0] if is_confident else None


def skill_lost(facts: ProbeFacts) -> Finding | None:
    """Lenient accuracy fell by more than `SKILL` since before the warm start, and the intervals are apart."""
    now, before = rate_over_problems(facts.lenient_P_K), facts.lenient_before
    if now is None or before is None or now.value > before.value - SKILL or now.high >= before.low:
        return None
    return finding(
        "skill-lost",
        f"right answers anywhere fell from {percent(before.value)} % to {percent(now.value)} % by the warm start, "
        f"while {percent(float(facts.format_P_K.mean()))} % have the format",
        before=before.value,
        now=now.value,
    )


def over_warmed(facts: ProbeFacts) -> Finding | None:
    """After a warm start no entropy is left and few groups differ."""
    if not is_without_entropy(facts) or facts.live_outcome.value >= LIVE:
        return None
    return finding(
        "over-warmed",
        f"an entropy of {facts.entropy:.2g} nats per token is left and {whole(facts.live_outcome.value)} of the "
        f"groups of {facts.group_size} differ in outcome",
        entropy=float(facts.entropy or 0.0),
    )


def saturated(facts: ProbeFacts) -> Finding | None:
    """Nearly all outcomes are right, so few groups differ."""
    share = mean(facts.outcome_P_K)
    if not share >= RIGHT_MOST or facts.live_outcome.value >= LIVE:
        return None
    right = int(np.nansum(facts.outcome_P_K))
    of = int((~np.isnan(facts.outcome_P_K)).sum())
    return finding(
        "saturated",
        f"{count_of(right, of)} completions are right and {whole(facts.live_outcome.value)} of the groups of "
        f"{facts.group_size} differ",
        right=right,
        of=of,
    )


def too_hard(facts: ProbeFacts) -> Finding | None:
    """Nearly nothing is right anywhere, by a grader that wants no format, so few groups could differ."""
    lenient = np.where(judged_completions(facts), facts.lenient_P_K, np.nan)
    of, right = int((~np.isnan(lenient)).sum()), int(np.nansum(lenient))
    if of < ENOUGH or right >= RIGHT_RARE * of:
        return None
    if float(live_chances(lenient, facts.group_size).mean()) >= LIVE:
        return None
    if facts.solves_nothing:
        by_luck = f"; the {right} right numbers are no more than guessing earns" if right else ""
        return finding(
            "too-hard",
            claim(0, of, "completions solve their problem") + by_luck,
            "easier problems first",
            of=of,
        )
    return finding(
        "too-hard",
        claim(right, of, "completions hold the right answer anywhere, in the format or not"),
        "easier problems first, then larger groups",
        right=right,
        of=of,
    )


def shaping_only(facts: ProbeFacts) -> Finding | None:
    """Groups are live by their total, and hardly any by its outcome."""
    outcome = facts.live_outcome.value
    if facts.live_total < LIVE or outcome >= GATED * facts.live_total:
        return None
    return finding(
        "shaping-only",
        f"{whole(facts.live_total)} of the groups of {facts.group_size} differ in total reward, "
        f"{whole(outcome)} in outcome",
        live_total=facts.live_total,
        live_outcome=outcome,
    )


def few_live(facts: ProbeFacts) -> Finding | None:
    """Few groups differ in outcome, and no other rule says why."""
    live = facts.live_outcome
    if live.value >= LIVE:
        return None
    shares = facts.signal()
    return finding(
        "few-live",
        f"{whole(live.value)} of the groups of {facts.group_size} differ in outcome: in "
        f"{whole(shares['all_fail_share'])} all fail, in {whole(shares['all_pass_share'])} all pass",
        live_share=live.value,
    )


def four_bit_drift(facts: ProbeFacts) -> Finding | None:
    """The 4-bit base and the full one disagree about the completions' tokens by more than `FOUR_BIT`."""
    if facts.four_bit_gap is None or facts.four_bit_gap < FOUR_BIT:
        return None
    evidence = (
        f"log-probabilities of the 4-bit and the full base differ by {facts.four_bit_gap:.2g} nats per token"
    )
    return finding("four-bit-drift", evidence, gap=facts.four_bit_gap)


RULES: tuple[Rule, ...] = (
    *rules_writing.RULES,
    *rules_rewards.RULES,
    gold_contradicted,
    skill_lost,
    over_warmed,
    saturated,
    too_hard,
    shaping_only,
    few_live,
    four_bit_drift,
)
