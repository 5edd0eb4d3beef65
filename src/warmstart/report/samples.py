"""Which problems the report shows before and after, and how: by rule, so that nobody picks cherries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import escape

from warmstart.results.summary import STAGE_NAMES
from warmstart.visible import Segment, segments, shortened, visible

SHOWN = 12
_HEAD, _TAIL = 8_000, 2_000
"""Characters shown of a completion."""
_MAX_BYTES = 20_000
"""What a completion may take: 36 of them and the chart library have to fit into the page."""
_BY = {"warmup": "SFT", "grpo": "GRPO"}
_GAINED, _LOST = "gained by {}", "lost by {}"
_NEVER, _UNFORMATTED, _ALWAYS = "never right", "right, never in the format", "right all along"
_UNTOLD = "could not be told"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """One model's completion of a shown problem; ``grade`` is ``right``, ``partly`` or ``not-right``."""

    stage: str
    mark: str
    verdict: str
    grade: str
    tokens: int
    is_cut: bool
    reasons: str
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class Sample:
    """One problem with what every model of the run wrote."""

    problem_id: str
    kind: str
    family: str
    question: str
    gold: str
    completions: list[Completion]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a problem went over the stages, how many went so, and how many of them are shown."""

    name: str
    problems: int
    shown: int


def choose_samples(
    rows: Mapping[str, Sequence[Row]], tags: Mapping[str, str]
) -> tuple[list[Kind], list[Sample]]:
    """Return how many problems got better, worse or stayed, and twelve of them.

    Every kind that occurs is shown, in equal parts as far as it reaches; losses get their places first.
    Within a kind the order is that of a hash of the problem's id.

    Args:
        rows: The completions of each stage, in the order of the stages.
        tags: The names of the blocks.
    """
    greedy = {stage: greedy_rows(stage_rows) for stage, stage_rows in rows.items()}
    kinds = problems_by_kind(greedy)
    shares = _places({kind: len(ids) for kind, ids in kinds.items()})
    samples = [
        _sample({stage: found[problem_id] for stage, found in greedy.items()}, kind, tags)
        for kind, ids in kinds.items()
        for problem_id in ids[: shares[kind]]
    ]
    return [Kind(kind, len(ids), shares[kind]) for kind, ids in kinds.items()], samples


def problems_by_kind(greedy: Mapping[str, Mapping[str, Row]]) -> dict[str, list[str]]:
    """Return the problems that every stage answered, by how they went; shuffled by a hash of their ids.

    Args:
        greedy: The greedy completion of each problem, by stage.
    """
    if not greedy:
        return {}
    shared = set.intersection(*(set(found) for found in greedy.values()))
    kinds: dict[str, list[str]] = {}
    for problem_id in sorted(shared, key=shuffled):
        path = {stage: _level(found[problem_id]) for stage, found in greedy.items()}
        kinds.setdefault(_kind(path), []).append(problem_id)
    return {kind: kinds[kind] for kind in sorted(kinds, key=_order)}


def greedy_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the greedy completion of each held-out problem."""
    return {row["problem_id"]: row for row in rows if row["mode"] == "greedy" and row["split"] == "eval"}


def shuffled(problem_id: str) -> str:
    """Return a key that sorts problems in an order nobody chose."""
    return hashlib.sha256(problem_id.encode("utf-8", "surrogatepass")).hexdigest()


def _level(row: Row) -> int | None:
    """Return 2 for right and in the format, 1 for right, 0 for not right, None if it could not be told."""
    if row["lenient_verdict"] == "undecided" and not row["strict"]:
        return None
    return 2 if row["strict"] else 1 if row["lenient"] else 0


def _kind(told: Mapping[str, int | None]) -> str:
    """Return how a problem went from stage to stage.

    An answer that an earlier stage had right and the last one has not is lost, in the format or not.
    """
    levels = {stage: level for stage, level in told.items() if level is not None}
    if len(levels) < len(told):
        return _UNTOLD
    last = list(levels.values())[-1]
    gains = [stage for (_, before), (stage, after) in pairwise(levels.items()) if before < 2 == after]
    losses = [stage for (_, before), (stage, after) in pairwise(levels.items()) if before > after]
    if last == 2:
        return _GAINED.format(_BY[gains[-1]]) if gains else _ALWAYS
    if max(levels.values()) > last:
        return _LOST.format(_BY[losses[-1]])
    return _UNFORMATTED if last else _NEVER


def _order(kind: str) -> int:
    """Later stages first, gains before losses, what did not change last."""
    changed = [changed.format(by) for by in ("GRPO", "SFT") for changed in (_GAINED, _LOST)]
    return [*changed, _NEVER, _UNFORMATTED, _UNTOLD, _ALWAYS].index(kind)


def _places(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many of each kind are shown: in turn, the kinds that tell most first, until twelve are."""
    turn = sorted(counts, key=lambda kind: (not kind.startswith("lost"), _order(kind)))
    shown = dict.fromkeys(counts, 0)
    left = min(SHOWN, sum(counts.values()))
    while left:
        for kind in turn:
            if left and shown[kind] < counts[kind]:
                shown[kind] += 1
                left -= 1
    return shown


def _sample(rows: Mapping[str, Row], kind: str, tags: Mapping[str, str]) -> Sample:
    first = next(iter(rows.values()))
    steps = f"{first['steps']} steps" if first.get("steps") else ""
    return Sample(
        problem_id=shortened(str(first["problem_id"]), 80),
        kind=kind,
        family=shortened(", ".join(filter(None, (first.get("family"), steps))), 80),
        question=shortened(str(first["question"]), 2000, 200),
        gold=shortened(str(first["gold"]), 200),
        completions=[_completion(stage, row, tags) for stage, row in rows.items()],
    )


def _completion(stage: str, row: Row, tags: Mapping[str, str]) -> Completion:
    mark, verdict = verdict_of(row)
    return Completion(
        stage=STAGE_NAMES[stage],
        mark=mark,
        verdict=verdict,
        grade=grade_of(row),
        tokens=int(row["tokens"]),
        is_cut=not row["finished"],
        reasons=reasons(row.get("why_not_strict")),
        segments=segments(_fitting(str(row["text"])), tags),
    )


def reasons(codes: str | None) -> str:
    """Return why a completion is not strict, each reason once."""
    return visible(shortened(", ".join(dict.fromkeys((codes or "").split("; "))), 300))


def grade_of(row: Row) -> str:
    """Return ``right`` (in the format), ``partly`` (right, not in it) or ``not-right``."""
    return "right" if row["strict"] else "partly" if row["lenient"] else "not-right"


def _fitting(text: str) -> str:
    """Return the text, shortened the more, the more bytes its characters take when spelt out and escaped."""
    head, tail = _HEAD, _TAIL
    while len(escape(visible(shown := shortened(text, head, tail))).encode("utf-8", "replace")) > _MAX_BYTES:
        head, tail = head // 2, tail // 2
    return shown


def verdict_of(row: Row) -> tuple[str, str]:
    """Return the mark and the words for what became of a completion."""
    if row["strict"]:
        return "✓", "right, in the exact format"
    if row["lenient"]:
        return "◐", "right, but not in the exact format"
    words = {"wrong": ("✗", "wrong"), "undecided": ("?", "could not be told")}
    mark, verdict = words.get(row["lenient_verdict"], ("–", "no answer"))
    return mark, f"{verdict}, in the exact format" if row["format"] else verdict
