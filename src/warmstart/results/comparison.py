"""Several runs side by side: their results, paired tests on the problems they share, what their recipes differ in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmstart import estimates
from warmstart.errors import RunDirError
from warmstart.results.rates import MEASURES, gain_rows, paired_rows
from warmstart.results.summary import build_summary
from warmstart.runs import durable
from warmstart.runs.changes import flat_settings
from warmstart.runs.completion_log import EvalDir
from warmstart.runs.directory import EVAL_STAGES, RunDir

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the models compared.

    Attributes:
        label: How it is called, unlike any other of the comparison.
        path: Its folder.
        stage: Of the run; None for what ``warmstart eval --out`` left.
        result: Its rates, as eval/STAGE.json holds them.
        rows: Its completions, without their texts.
        settings: Every setting, flat.
        facts: Model, seed, verdicts, cures, signal, cost, commit.
    """

    label: str
    path: Path
    stage: str | None
    result: dict[str, Any]
    rows: list[Row]
    settings: dict[str, Any]
    facts: dict[str, Any]


def compare(folders: Sequence[str]) -> dict[str, Any]:
    """Return the comparison; the first folder is what the others are tested against.

    Args:
        folders: Run directories, with ``:STAGE`` behind for another than the last stage measured, and
            folders that ``warmstart eval --out`` wrote.

    Raises:
        RunDirError: If a folder is neither, or has measured nothing.
    """
    compared = [_open(folder) for folder in folders]
    labels = _labels(compared)
    compared = [
        Compared(label, one.path, one.stage, one.result, one.rows, one.settings, one.facts)
        for label, one in zip(labels, compared, strict=True)
    ]
    first, others = compared[0], compared[1:]
    paired = [
        test for other in others for test in paired_rows(first.rows, other.rows, first.label, other.label)
    ]
    return {
        "runs": [_shown(one) for one in compared],
        "paired": _adjusted(paired),
        "gain": [
            gain for other in others for gain in gain_rows(first.rows, other.rows, first.label, other.label)
        ],
        "shared_problems": {other.label: len(_keys(first) & _keys(other)) for other in others},
        "settings": _differences(compared),
    }


def _open(given: str) -> Compared:
    path, stage = Path(given), None
    if not path.exists() and given.rpartition(":")[2] in EVAL_STAGES:
        folder, _, stage = given.rpartition(":")
        path = Path(folder)
    if EvalDir(path).result_path.is_file():
        return _evaluation(EvalDir(path))
    run = RunDir.open(path)
    summary = run.read_json_if_there(run.summary_path) or build_summary(run)
    measured = [
        name for name in EVAL_STAGES if run.completions_path(name).exists() and run.eval_path(name).exists()
    ]
    chosen = stage or (measured[-1] if measured else None)
    if chosen not in measured:
        there = f"; there is {', '.join(measured)}" if measured else ""
        raise RunDirError(
            f"{path} has not measured {chosen or 'anything'} yet{there}", "let the run go on first"
        )
    environment = run.read_json_if_there(run.environment_path) or {}
    facts = {
        "model": summary["model"],
        "seed": summary["seed"],
        "verdicts": [f"{one['stage']}: {one['verdict']}" for one in summary["verdicts"]],
        "cures": [cure["name"] for cure in summary["cures"]],
        "signal": summary["signal"],
        "cost": {key: value for key, value in summary["cost"].items() if key != "by_stage"},
        "commit": environment.get("commit"),
    }
    rows = run.read_completions(chosen, without=("text",))
    settings = dict(flat_settings(run.read_json(run.resolved_path)))
    return Compared(
        str(path), path, chosen, run.read_json(run.eval_path(chosen)), _keyed(rows), settings, facts
    )


def _evaluation(folder: EvalDir) -> Compared:
    result: dict[str, Any] = json.loads(folder.result_path.read_bytes())
    rows = durable.read_rows(folder.log.path, without=("text",))
    facts = {"model": result["of"]["model"], "seed": result["of"]["sampling"]["seed"]}
    settings = dict(flat_settings({"evaluation": result["of"]}))
    return Compared(str(folder.path), folder.path, None, result, _keyed(rows), settings, facts)


def _keyed(rows: list[Row]) -> list[Row]:
    """Return the rows with problems named by what they ask: ids of different seeds and files repeat."""
    return [
        row | {"problem_id": hashlib.sha256(f"{row['question']}\0{row['gold']}".encode()).hexdigest()}
        for row in rows
    ]


def _keys(one: Compared) -> set[str]:
    return {row["problem_id"] for row in one.rows if row["split"] == "eval"}


def _labels(compared: Sequence[Compared]) -> list[str]:
    """Return short names that differ: the folder's, its whole path where two are called alike."""
    short = [f"{one.path.resolve().name}{f' ({one.stage})' if one.stage else ''}" for one in compared]
    whole = [f"{one.path}{f':{one.stage}' if one.stage else ''}" for one in compared]
    names = [name if short.count(name) == 1 else path for name, path in zip(short, whole, strict=True)]
    return [name if names.count(name) == 1 else f"{name} #{at}" for at, name in enumerate(names, 1)]


def _shown(one: Compared) -> dict[str, Any]:
    kept = ("n", "greedy", "sampled", "truncated", "mean_tokens", "undecided", "grading", "unseen")
    return {
        "label": one.label,
        "path": str(one.path),
        "stage": one.stage,
        **one.facts,
        "eval": {key: one.result.get(key) for key in kept},
    }


def _adjusted(paired: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tests with Holm's p-value for the comparisons of one measure: several runs are several chances."""
    for mode in ("greedy", "sampled"):
        for measure in MEASURES:
            tests = [test for test in paired if (test["mode"], test["measure"]) == (mode, measure)]
            for test, adjusted in zip(tests, estimates.holm([test["p"] for test in tests]), strict=True):
                test["p_adjusted"] = adjusted
    return paired


def _differences(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """Return the settings that are not the same in all, each with its value in every run; None where unset."""
    keys = dict.fromkeys(key for one in compared for key in one.settings)
    rows = [{"key": key, "values": [one.settings.get(key) for one in compared]} for key in keys]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"][1:])]
