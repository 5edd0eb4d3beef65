"""Rules on what a probed model writes: the same text, no end, no format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.facts import Flags, ProbeFacts, mean
from warmstart.diagnosis.findings import Finding, finding
from warmstart.diagnosis.texts import closed_blocks
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
SPOILT = 0.2
"""Points of format, or of right answers, that a sampler costs before it is to blame for what is written."""
ENTROPY_GONE = 0.02
"""Nats per token. Healthy tiny runs have 0.05 … 0.6, trained models of billions of parameters 0.05 … 0.4."""
TAGGED = 0.2
"""From this share of answer blocks on, the tags are in use."""
ENOUGH = 10
"""Completions, or problems, below which a share is not worth a claim."""


def not_finite(facts: ProbeFacts) -> Finding | None:
    """Any completion the model gives no finite probability to."""
    if not facts.not_finite:
        return None
    evidence = f"the model's own probabilities are no finite numbers in {count_of(facts.not_finite, facts.completions)} completions"
    return finding("not-a-number", evidence, "load the weights anew, in float32 or bfloat16")


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


def sampling_distorted(facts: ProbeFacts) -> Finding | None:
    """The model's own distribution has clearly more of the format, or of right answers, than the sampler's."""
    plain = facts.plain
    if plain is None:
        return None
    for word, of_plain, flags in (
        ("have the format", plain.format, facts.format_P_K),
        ("are right anywhere", plain.right, facts.lenient_P_K == 1),
    ):
        now, own = wilson(int(flags.sum()), facts.completions), wilson(of_plain, plain.of)
        if own.low > now.high and own.value > now.value + SPOILT:
            return finding(
                "sampling-distorted",
                f"{count_of(int(flags.sum()), facts.completions)} completions {word} at temperature "
                f"{facts.temperature:g} and repetition penalty {facts.repetition_penalty:g}; at temperature 1 "
                f"and without a penalty {count_of(of_plain, plain.of)}",
            )
    return None


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


def tags_differ(facts: ProbeFacts) -> Finding | None:
    """The prompt speaks of other blocks than the rewards read, or the model writes others and never ours.

    The model's own ``<think>`` counts as another block only where the prompt asks for it. A warning where
    the format is common all the same.
    """
    ours = frozenset({facts.tags.reasoning.lower(), facts.tags.answer.lower()})
    read = " and ".join((facts.tags.exact[0], facts.tags.exact[2]))
    level = Severity.WARNING if float(facts.format_P_K.mean()) >= SAME else None
    asked = _commonest(names for names in facts.tags_asked_P or () if not ours <= names)
    if asked[1] >= SAME * facts.problems:
        evidence = f"the prompt speaks of {_named(asked[0])}, and the rewards read {read}"
        return finding("tags-differ", evidence, level=level)
    judged = judged_completions(facts)
    if (facts.answered_P_K & judged).sum() >= FORMAT_RARE * judged.sum():
        return None
    texts = [text for group in facts.texts for text in group]
    chosen = [text for text, is_judged in zip(texts, judged.ravel(), strict=True) if is_judged]
    used = _commonest(closed_blocks(text) - {"think"} - ours for text in chosen)
    if len(chosen) < ENOUGH or used[1] < SAME * len(chosen):
        return None
    evidence = (
        f"{count_of(used[1], len(chosen))} completions have {_named(used[0])}, and the rewards read {read}"
    )
    return finding("tags-differ", evidence, level=level)


def _commonest(sets: Iterable[frozenset[str]]) -> tuple[frozenset[str], int]:
    """Return the commonest set of names that is not empty, and how often it comes."""
    counts = Counter(names for names in sets if names)
    return counts.most_common(1)[0] if counts else (frozenset(), 0)


def _named(names: frozenset[str]) -> str:
    return " and ".join(f"<{name}>" for name in sorted(names))


def no_format(facts: ProbeFacts) -> Finding | None:
    """(Nearly) no completion has an answer block, among those the cap did not cut."""
    judged = judged_completions(facts)
    of, used = int(judged.sum()), int((facts.answered_P_K & judged).sum())
    if of < ENOUGH or used >= FORMAT_RARE * of:
        return None
    evidence, advice = claim(used, of, "completions used the format"), None
    right = mean(np.where(judged, facts.lenient_P_K, np.nan))
    if right > 0:
        evidence += f"; {whole(right)} of them hold the right answer anyway"
    if facts.tags_asked_P is not None and facts.tags.answer.lower() not in frozenset().union(
        *facts.tags_asked_P
    ):
        evidence += "; nothing in the prompt asks for it"
        advice = (
            f"say in the prompt to write {' and '.join(facts.tags.exact[::2])}, or warm the model up to it"
        )
    return finding("no-format", evidence, advice, used=used, of=of)


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


RULES: tuple[Callable[[ProbeFacts], Finding | None], ...] = (
    not_finite,
    sampling_degenerate,
    sampling_distorted,
    truncated,
    never_stops,
    tags_differ,
    no_format,
    format_inexact,
)
