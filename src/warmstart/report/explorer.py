"""The completions that can be explored on the page: held-out problems before and after, groups of GRPO.

The page has a size limit, so that a rule chooses; what it leaves out, ``warmstart rollouts`` shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from warmstart.report.embed import json_block
from warmstart.report.samples import (
    grade_of,
    greedy_rows,
    problems_by_kind,
    reasons,
    shuffled,
    verdict_of,
)
from warmstart.report.training_log import GroupLog
from warmstart.results.summary import STAGE_NAMES
from warmstart.runs.rollout_log import Files, Selection
from warmstart.visible import shortened, visible

MAX_GROUPS, MAX_PROBLEMS = 240, 240
_BYTES = 1_000_000
"""What the groups, and the problems, may each take of the page."""
_HEAD, _TAIL = 2_500, 700
"""Characters shown of a text."""
_BINS = 12
"""Parts of the run from which groups are taken alike."""
_AGAIN = 40
"""Problems asked more than once whose first and last group are taken before others."""

Row = dict[str, Any]
Entry = dict[str, Any]


class _Texts:
    """Texts by their number: most completions of a group are written more than once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.bytes = 0
        self._known: dict[str, int] = {}

    def number(self, text: object, head: int = _HEAD, tail: int = _TAIL) -> int:
        shown = visible(shortened(str(text), head, tail))
        if shown not in self._known:
            # What takes six bytes a character for escapes gets fewer characters.
            while len(json_block(shown)) > 4 * (_HEAD + _TAIL) and head > 100:
                head, tail = head // 2, tail // 2
                shown = visible(shortened(str(text), head, tail))
            if shown not in self._known:
                self._known[shown] = len(self.all)
                self.all.append(shown)
                self.bytes += len(json_block(shown)) + 1
        return self._known[shown]


def explore(
    evaluations: Mapping[str, Sequence[Row]],
    log: GroupLog | None,
    files: Files,
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the page's explorer works on, and how much there was.

    Args:
        evaluations: The completions of each measured stage.
        log: The groups of the rollout log.
        files: The rollout log.
        tags: The names of the blocks.
    """
    texts = _Texts()
    held_out, of_problems = _held_out(evaluations, texts)
    before = texts.bytes
    groups = [] if log is None else list(_bounded(_groups(log, files, texts), texts, before, MAX_GROUPS))
    groups.sort(key=lambda entry: (entry["step"], entry["group"]))
    return {
        "tags": dict(tags),
        "stages": [STAGE_NAMES[stage] for stage in evaluations],
        "heldOut": held_out,
        "heldOutOf": of_problems,
        "groups": groups,
        "groupsOf": 0 if log is None else len(log),
        "texts": texts.all,
    }


def _bounded(found: Iterator[Entry], texts: _Texts, before: int, most: int) -> Iterator[Entry]:
    """Yield entries until they, with the texts they brought, have taken their bytes."""
    own = 0
    for count, entry in enumerate(found):
        own += len(json_block(entry)) + 1
        if count >= most or own + texts.bytes - before > _BYTES:
            return
        yield entry


def _held_out(evaluations: Mapping[str, Sequence[Row]], texts: _Texts) -> tuple[list[Entry], int]:
    """Return the problems with the greedy completion of every stage; of every kind alike, as far as it reaches."""
    greedy = {stage: greedy_rows(rows) for stage, rows in evaluations.items()}
    sampled = {stage: _sampled(rows) for stage, rows in evaluations.items()}
    kinds = problems_by_kind(greedy)
    in_turn = [
        (kind, problem)
        for turn in zip_longest(*([(kind, problem) for problem in ids] for kind, ids in kinds.items()))
        for kind, problem in filter(None, turn)
    ]
    entries = (
        _problem(problem, kind, {stage: found[problem] for stage, found in greedy.items()}, sampled, texts)
        for kind, problem in in_turn
    )
    chosen = list(_bounded(entries, texts, texts.bytes, MAX_PROBLEMS))
    order = {kind: place for place, kind in enumerate(kinds)}
    return sorted(chosen, key=lambda entry: order[entry["kind"]]), len(in_turn)


def _sampled(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return of each problem how many sampled completions were right in the exact format, of how many."""
    found: dict[str, list[int]] = {}
    for row in rows:
        if row["mode"] == "sampled" and row["split"] == "eval":
            counts = found.setdefault(row["problem_id"], [0, 0])
            counts[0] += bool(row["strict"])
            counts[1] += 1
    return found


def _problem(
    problem: str,
    kind: str,
    rows: Mapping[str, Row],
    sampled: Mapping[str, Mapping[str, list[int]]],
    texts: _Texts,
) -> Entry:
    first = next(iter(rows.values()))
    steps = f"{first['steps']} steps" if first.get("steps") else ""
    return {
        "id": visible(shortened(str(problem), 80)),
        "kind": kind,
        "family": visible(shortened(", ".join(filter(None, (first.get("family"), steps))), 80)),
        "question": texts.number(first["question"], 1500, 200),
        "gold": visible(shortened(str(first["gold"]), 200)),
        "rows": [
            {
                "name": STAGE_NAMES[stage],
                "text": texts.number(row["text"]),
                "mark": verdict_of(row)[0],
                "verdict": verdict_of(row)[1],
                "grade": grade_of(row),
                "tokens": int(row["tokens"]),
                "cut": not row["finished"],
                "why": reasons(row.get("why_not_strict")),
                "sampled": sampled[stage].get(problem),
            }
            for stage, row in rows.items()
        ],
    }


def _groups(log: GroupLog, files: Files, texts: _Texts) -> Iterator[Entry]:
    """Yield groups in the order of their claim to be shown; read from the log in one pass."""
    chosen = _choose(log)[:MAX_GROUPS]
    keys = np.array([[log.step_N[i], log.group_N[i], 0] for i in chosen], dtype=np.int64).reshape(-1, 3)
    tables = Selection(files, keys).group_tables()
    found = {
        (int(rows[0]["step"]), int(rows[0]["group"])): rows
        for rows in (table.to_pylist() for table in tables)
    }
    for index in chosen:
        rows = found.get((int(log.step_N[index]), int(log.group_N[index])))
        if rows:
            yield _group(rows, log.kind(index), texts)


def _choose(log: GroupLog) -> list[int]:
    """Return places in the log: first and last group of problems asked again, then every kind from everywhere."""
    times: dict[str, list[int]] = {}
    for index, problem in enumerate(log.problem_N.tolist()):
        times.setdefault(problem, []).append(index)
    again = sorted((problem for problem, at in times.items() if len(at) > 1), key=shuffled)[:_AGAIN]
    pairs = [index for problem in again for index in (times[problem][0], times[problem][-1])]
    first, last = int(log.step_N.min()), int(log.step_N.max())
    bins: dict[tuple[str, int], list[int]] = {}
    for index, step in enumerate(log.step_N.tolist()):
        place = (step - first) * _BINS // (last - first + 1)
        bins.setdefault((log.kind(index), place), []).append(index)
    # A wrong answer in the exact format is what there is to learn from: those groups come first.
    ordered = (
        sorted(
            found, key=lambda i: (not log.strict_wrong_N[i], shuffled(f"{log.step_N[i]} {log.group_N[i]}"))
        )
        for found in bins.values()
    )
    in_turn = [index for turn in zip_longest(*ordered) for index in turn if index is not None]
    return list(dict.fromkeys([*pairs, *in_turn]))


def _group(rows: list[Row], kind: str, texts: _Texts) -> Entry:
    first = rows[0]
    right = sum(row["verdict"] == "correct" for row in rows)
    return {
        "id": visible(shortened(str(first["problem_id"]), 80)),
        "kind": kind,
        "step": int(first["step"]),
        "group": int(first["group"]),
        "stage": visible(str(first["stage"] or "")),
        "right": right,
        "question": texts.number(first["question"], 1500, 200),
        "gold": visible(shortened(str(first["gold"]), 200)),
        "rows": [_completion(row, texts) for row in sorted(rows, key=_by_advantage)],
    }


def _by_advantage(row: Row) -> tuple[float, int]:
    return -(row["advantage"] or 0.0), int(row["sample"])


def _completion(row: Row, texts: _Texts) -> Entry:
    parts = {
        visible(shortened(name.removesuffix("_reward_func"), 40)): _rounded(value)
        for name, value in (row.get("rewards") or {}).items()
    }
    return {
        "name": f"sample {row['sample']}",
        "text": texts.number(row["text"]),
        "verdict": visible(str(row["verdict"] or "not graded")).replace("_", " "),
        "grade": "right" if row["verdict"] == "correct" else "not-right",
        "format": bool(row["format"]),
        "tokens": int(row["tokens"]),
        "reward": _rounded(row["reward"]),
        "advantage": _rounded(row["advantage"]),
        "logProb": _rounded(row["log_prob"]),
        "why": reasons(row["why_not_strict"]),
        "parts": parts,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 3)
