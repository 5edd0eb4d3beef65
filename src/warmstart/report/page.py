"""One self-contained page from a run directory."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import plotly.offline
import yaml
from markupsafe import Markup

from warmstart import durable, estimates
from warmstart.report import charts, probes, samples, text
from warmstart.runs import EVAL_STAGES, RunDir
from warmstart.summary import MEASURES, STAGE_NAMES, build_summary, describe_bound, headline, signed_points
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
    environment.filters["signed"] = signed_points
    environment.filters["p"] = estimates.describe_p
    environment.filters["percent"] = estimates.percent
    environment.filters["duration"] = text.duration
    environment.filters["unbroken"] = text.unbroken
    environment.filters["shortened"] = shortened
    environment.filters["json_block"] = _json_block
    return environment.get_template("report.html")


def _harmless(value: object) -> object:
    """Return what a template prints, the invisible characters of a text spelt out; jinja escapes it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _facts(run: RunDir) -> dict[str, Any]:
    resolved = run.read_json(run.resolved_path)
    summary = run.read_json_if_there(run.summary_path) or build_summary(run)
    measured = {stage: summary["eval"][stage] for stage in EVAL_STAGES if stage in summary["eval"]}
    kinds, chosen = samples.choose_samples(
        {stage: rows for stage in measured if (rows := run.read_completions(stage))}, tag_names(resolved)
    )
    grpo_steps = run.read_metrics("grpo")
    return {
        "summary": summary,
        "headline": headline(summary),
        "alpha": estimates.ALPHA,
        "measured": measured,
        "comparisons": _comparisons(summary),
        "stage_names": STAGE_NAMES,
        "measures": MEASURES,
        "meanings": _MEANINGS,
        "rate_charts": [
            chart for mode in ("greedy", "sampled") if (chart := charts.rates_chart(measured, mode))
        ],
        "grpo_charts": charts.grpo_charts(grpo_steps),
        "sft_charts": charts.sft_charts(run.read_metrics("sft")),
        "forecast_chart": probes.forecast_chart(run.read_probes()),
        "steps_done": len(grpo_steps),
        "generation_share": _generation_share(grpo_steps),
        "kinds": kinds,
        "samples": chosen,
        "unfinished": _unfinished(run, resolved),
        "overlap": _overlap(run),
        "settings": yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
        "recipe_yaml": run.recipe_path.read_text("utf-8", "replace") if run.recipe_path.exists() else "",
        "environment": run.read_json_if_there(run.environment_path) or {},
        **_code(),
    }


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


def _generation_share(steps: list[dict[str, Any]]) -> float | None:
    timed = [step for step in steps if step.get("generate_s") is not None and step.get("step_s")]
    whole = sum(step["step_s"] for step in timed)
    return sum(step["generate_s"] for step in timed) / whole if whole else None


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
        "pairs": found.get("pairs", [])[:_MAX_PAIRS],
    }


def _code() -> dict[str, Any]:
    """Return the page's styles and scripts, and the policy that lets exactly these scripts run."""
    folder = resources.files("warmstart.report") / "templates"
    scripts = [plotly.offline.get_plotlyjs(), (folder / "report.js").read_text("utf-8")]
    # An end tag within a script would end it early; a JavaScript string means the same with the backslash.
    scripts = [script.replace("</script", "<\\/script").replace("<!--", "<\\!--") for script in scripts]
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return {
        "styles": Markup((folder / "report.css").read_text("utf-8")),
        "scripts": [Markup(script) for script in scripts],
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    }


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json_block(value: object) -> Markup:
    """Return JSON that cannot end the script element it stands in."""
    encoded = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
