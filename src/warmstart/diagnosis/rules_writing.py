"""Rules on what a probed model writes: the same text, no end, no format."""

from __future__ import annotations

import math

import numpy as np

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.facts import Flags, ProbeFacts, mean
from warmstart.diagnosis.findings import Finding, finding
from warmstart.diagnosis.wording import claim, count_of, whole
from warmstart.estimates import wilson

UNFINISHED_ILL = 0.5
"""From this share of unfinished completions on, the cap decides the rewards (research/users.md, triage 2)."""
UNFINISHED_WARN = 0.3
"""The same as a warning (research/users.md, 3)."""
FORMAT_RARE = 0.05
"""Below this share of usable answers the format counts as never sampled (research/users.md, triage 4)."""
SAME = 0.5
"""From this share of groups with one and the same text on, sampling at a low temperature does not explore."""
ALL_SAME = 0.9
"""The same at a usual temperature, where a model that is sure of easy problems writes some twice: in
healthy tiny runs the texts of a group are distinct by half. A shared seed makes all groups the same."""
COLD = 0.3
"""Below this temperature (or at top_k 1) equal completions are the sampler's doing: R1 and Qwen are sampled
at 0.6 and above."""
ENTROPY_GONE = 0.02
"""Nats per token. Healthy tiny runs have 0.05 … 0.6, trained models of billions of parameters 0.05 … 0.4."""
TAGGED = 0.2
"""From this share of answer blocks on, the tags are in use."""
ENOUGH = 10
"""Completions, or problems, below which a share is not worth a claim."""


def sampling_degenerate(facts: ProbeFacts) -> Finding | None:
    """Groups hold one and the same text.

    Texts cut off by the cap may agree because they are short, and an over-warmed model because it has no
    entropy left; there it takes the sampler's settings to blame the sampler.
    """
    sizes = [len(set(group)) for group in facts.texts]
    per_group = len(facts.texts[0])
    same = sum(size == 1 for size in sizes)
    distinct = float(np.mean(sizes)) / per_group
    is_cold = facts.temperature < COLD or facts.top_k == 1
    if per_group < 2 or (same < ALL_SAME * len(sizes) and not (is_cold and distinct < SAME)):
        return None
    if not is_cold and (facts.unfinished >= UNFINISHED_ILL or is_without_entropy(facts)):
        return None
    return finding(
        "sampling-degenerate",
        f"{count_of(same, len(sizes))} groups hold one and the same text {per_group} times "
        f"(temperature {facts.temperature:g}, top_k {facts.top_k}, top_p {facts.top_p:g})",
        None if is_cold else "give every completion a random stream of its own",
        same=same,
        distinct=distinct,
    )


def is_without_entropy(facts: ProbeFacts) -> bool:
    """Return whether a warm start left (nearly) no choice to the sampler."""
    return facts.is_warmed and facts.entropy is not None and facts.entropy < ENTROPY_GONE


def truncated(facts: ProbeFacts) -> Finding | None:
    """Many completions do not end, and most of those still had something to say."""
    if not _is_cut(facts) or _runs_on_share(facts) >= SAME or _cannot_end(facts):
        return None
    count = int((~facts.finished_P_K).sum())
    ended = facts.tokens_P_K[facts.finished_P_K]
    enough = math.ceil(1.25 * float(np.quantile(ended, 0.95))) if ended.size >= ENOUGH else 0
    wanted = max(2 * facts.cap, enough) if facts.unfinished >= UNFINISHED_ILL else max(facts.cap + 1, enough)
    return finding(
        "truncated",
        f"{count_of(count, facts.completions)} completions ran into the cap of {facts.cap:,} tokens "
        f"before they had given an answer",
        f"raise grpo.max_completion_tokens to {wanted:,} at least and probe again",
        level=None if facts.unfinished >= UNFINISHED_ILL else Severity.WARNING,
        unfinished=count,
        cap=facts.cap,
    )


def never_stops(facts: ProbeFacts) -> Finding | None:
    """Many completions do not end, although most had given their answer, or repeat themselves."""
    if not _is_cut(facts) or not (_runs_on_share(facts) >= SAME or _cannot_end(facts)):
        return None
    count, running = int((~facts.finished_P_K).sum()), int(facts.runs_on_P_K.sum())
    evidence = (
        f"{count_of(count, facts.completions)} completions did not end within {facts.cap:,} tokens; "
        f"{running:,} of these repeat themselves or had given their answer long before"
    )
    advice = None
    end = facts.end_token
    if end is not None and end.probability is not None:
        evidence += f"; after a complete answer {end.text} has a probability of {end.probability:.2g}"
    if end is not None and end.is_untrained:
        evidence += f"; the embedding of {end.text} is untrained"
        advice = f"end the turn with a token the base was trained on instead of {end.text}"
    return finding(
        "never-stops",
        evidence,
        advice,
        level=None if facts.unfinished >= UNFINISHED_ILL else Severity.WARNING,
        unfinished=count,
        runs_on=running,
    )


def _is_cut(facts: ProbeFacts) -> bool:
    count = int((~facts.finished_P_K).sum())
    return facts.unfinished >= UNFINISHED_WARN and wilson(count, facts.completions).low > UNFINISHED_WARN / 2


def _runs_on_share(facts: ProbeFacts) -> float:
    return float(facts.runs_on_P_K.sum() / (~facts.finished_P_K).sum())


def _cannot_end(facts: ProbeFacts) -> bool:
    end = facts.end_token
    is_improbable = end is not None and end.probability is not None and end.probability < 0.01
    return bool(end is not None and (end.is_untrained or is_improbable))


def no_format(facts: ProbeFacts) -> Finding | None:
    """(Nearly) no completion has an answer block, among those the cap did not cut."""
    judged = judged_completions(facts)
    of, used = int(judged.sum()), int((facts.answered_P_K & judged).sum())
    if of < ENOUGH or used >= FORMAT_RARE * of:
        return None
    evidence = claim(used, of, "completions used the format")
    right = mean(np.where(judged, facts.lenient_P_K, np.nan))
    if right > 0:
        evidence += f"; {whole(right)} of them hold the right answer anyway"
    return finding("no-format", evidence, used=used, of=of)


def judged_completions(facts: ProbeFacts) -> Flags:
    """Return the completions to judge the model by: those the cap did not cut, where it cut many."""
    if facts.unfinished >= UNFINISHED_WARN:
        return facts.had_room_P_K
    return np.ones_like(facts.format_P_K)


def format_inexact(facts: ProbeFacts) -> Finding | None:
    """Answer blocks are common and the exact format is not."""
    used, exact = int(facts.answered_P_K.sum()), int(facts.format_P_K.sum())
    if used < TAGGED * facts.completions or exact >= FORMAT_RARE * facts.completions:
        return None
    evidence = (
        f"{count_of(used, facts.completions)} completions have an answer block, "
        f"{count_of(exact, facts.completions)} have the exact format"
    )
    return finding("format-inexact", evidence, answered=used, exact=exact)
