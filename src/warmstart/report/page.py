"""One self-contained page from a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from warmstart import estimates
from warmstart.errors import RunDirError
from warmstart.report import charts, explorer, heatmap, probes, samples, spending, text, writing
from warmstart.report.clock import TRAINED, Clock
from warmstart.report.embed import json_block, page_code
from warmstart.report.moments import Moment, moments_of
from warmstart.report.story import gain, story
from warmstart.report.timeline import Course, timeline
from warmstart.report.training_log import GroupLog, read_groups
from warmstart.results.summary import (
    MEASURES,
    STAGE_NAMES,
    build_summary,
    describe_bound,
    describe_gain,
    describe_grading,
    headline,
    signed_points,
)
from warmstart.runs import durable
from warmstart.runs.directory import EVAL_STAGES, RunDir
from warmstart.visible import shortened, tag_names, visible

MAX_BYTES = 6_000_000
_MAX_PAIRS = 20
_SHARED = {
    "exact": "the whole question, to the letter",
    "normalised": "the whole question, case and punctuation aside",
    "ngram": "eight words in a row",
}
_MEANINGS = {
    "strict": "right answer in the exact format",
    "lenient": "right answer, in whatever form",
    "format": "exact format, whatever the answer",
}


def build_report(run_dir: Path) -> Path:
    """Write ``report.html`` into a run directory and return its path.

    The page needs no network and holds the numbers of summary.json. A run that is still going on gets a
    report of what there is.

    Raises:
        RunDirError: If ``run_dir`` is not a run directory.
    """
    run = RunDir.open(run_dir)
    page = _template().render(_facts(run))
    durable.replace(run.report_path, page.encode("utf-8", "replace"))
    return run.report_path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("warmstart.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bound"] = describe_bound
    environment.filters["gain"] = describe_gain
    environment.filters["signed"] = signed_points
    environment.filters["p"] = estimates.describe_p
    environment.filters["percent"] = estimates.percent
    environment.filters["duration"] = text.duration
    environment.filters["unbroken"] = text.unbroken
    environment.filters["shortened"] = shortened
    environment.filters["json_block"] = json_block
    return environment.get_template("report.html")


def _harmless(value: object) -> object:
    """Return what a template prints, the invisible characters of a text spelt out; jinja escapes it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _facts(run: RunDir) -> dict[str, Any]:
    resolved = run.read_json(run.resolved_path)
    summary = run.read_json_if_there(run.summary_path) or build_summary(run)
    measured = {stage: summary["eval"][stage] for stage in EVAL_STAGES if stage in summary["eval"]}
    return {
        "summary": summary,
        "headline": headline(summary),
        "is_ended": _is_ended(summary),
        "alpha": estimates.ALPHA,
        "measured": measured,
        "comparisons": _comparisons(summary),
        "gains": summary.get("gain") or [],
        "gradings": [line for result in measured.values() if (line := describe_grading(result))],
        "stage_names": STAGE_NAMES,
        "measures": MEASURES,
        "meanings": _MEANINGS,
        "rate_charts": [
            chart for mode in ("greedy", "sampled") if (chart := charts.rates_chart(measured, mode))
        ],
        "forecast_chart": probes.forecast_chart(run.read_probes()),
        "unfinished": _unfinished(run, resolved),
        "overlap": _overlap(run),
        "settings": yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
        "recipe_yaml": run.recipe_path.read_text("utf-8", "replace") if run.recipe_path.exists() else "",
        "environment": run.read_json_if_there(run.environment_path) or {},
        **_training(run, summary, measured),
        **_completions(run, measured, tag_names(resolved)),
        **page_code(),
    }


def _is_ended(summary: Mapping[str, Any]) -> bool:
    """Say whether the probe ended the run: its verdict is STOP, and nobody forced a plan."""
    first = next(iter(summary["verdicts"]), None)
    return first is not None and first["verdict"] == "STOP" and summary["plan"] is None


def _training(run: RunDir, summary: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the course of the run: its story, its charts, what happened in it."""
    steps = {stage: run.read_metrics(stage) for stage in TRAINED}
    clock = Clock(run.finished_stages(), steps)
    log, broken = _group_log(run)
    moments = moments_of(summary, clock, [] if log is None else log.stage_changes())
    warm_checks = run.finished_stages().get("sft", {}).get("checks") or []
    course = Course(clock, steps["grpo"], moments, measured, run.read_metrics("check"), warm_checks, log)
    return {
        "story": story(summary, clock, steps["grpo"]),
        "gain": gain(summary),
        "timeline": timeline(course),
        "moments": [_moment(moment) for moment in moments],
        "heat_maps": [] if log is None else heatmap.heat_maps(log),
        "broken_log": broken,
        "tricks_chart": writing.tricks_chart(run.read_metrics("writing"), summary.get("events") or []),
        "writing_charts": writing.writing_charts(run.read_metrics("writing")),
        "grpo_charts": charts.grpo_charts(steps["grpo"]),
        "sft_charts": charts.sft_charts(steps["sft"]),
        "time_chart": spending.time_chart(summary["cost"], steps["grpo"]),
        "steps_done": len(steps["grpo"]),
    }


def _group_log(run: RunDir) -> tuple[GroupLog | None, str]:
    """Return the groups of the rollout log, or why it cannot be read: the rest of the page does not need it."""
    try:
        return read_groups(run.rollout_files()), ""
    except RunDirError as error:
        return None, str(error)


def _moment(moment: Moment) -> dict[str, Any]:
    """Return a line of the table of what happened."""
    return {
        "at": text.duration(moment.at),
        "step": moment.step,
        "what": text.LANES[moment.lane],
        "name": moment.name,
        "words": moment.words,
        "is_bad": moment.is_bad,
    }


def _completions(run: RunDir, measured: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return what models wrote: the problems shown, and what can be explored."""
    evaluations = {stage: rows for stage in measured if (rows := run.read_completions(stage))}
    kinds, chosen = samples.choose_samples(evaluations, tags)
    log, _ = _group_log(run)
    found = explorer.explore(evaluations, log, run.rollout_files(), tags)
    is_empty = not (found["heldOut"] or found["groups"])
    return {"kinds": kinds, "samples": chosen, "explorer": None if is_empty else found}


def _comparisons(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the paired tests as rows (which two models, greedy or sampled) with a cell per measure."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for test in summary["paired"]:
        key = (test["a"], test["b"], test["mode"])
        row = rows.setdefault(
            key, {"a": test["a"], "b": test["b"], "mode": test["mode"], "test": test["test"], "cells": {}}
        )
        row["cells"][test["measure"]] = test
    return list(rows.values())


def _unfinished(run: RunDir, resolved: Mapping[str, Any]) -> list[str]:
    """Return the stages that the run has still to do."""
    plan = run.read_json_if_there(run.plan_path)
    is_warm = resolved.get("sft", {}).get("enabled", True) if plan is None else plan["warm_start"] != "none"
    warmup = ["sft", "eval-warmup"] if is_warm else []
    done = run.finished_stages()
    probed = ["probe"] if "probe" in resolved else []
    wanted = ("data", *probed, "eval-base", *warmup, "grpo", "eval-grpo")
    return [stage for stage in wanted if stage not in done]


def _overlap(run: RunDir) -> dict[str, Any] | None:
    found = run.read_json_if_there(run.overlap_path)
    if found is None:
        return None
    counts = [(said, found[name]) for name, said in _SHARED.items() if name in found]
    return {
        "problems": found["eval_problems"],
        "counts": counts,
        "by_source": found.get("by_source") or {},
        "kinds": [name for name in _SHARED if name in found],
        "pairs": found.get("pairs", [])[:_MAX_PAIRS],
    }
