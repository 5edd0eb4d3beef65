"""From a run directory to summary.json, from summary.json to one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from warmstart import estimates
from warmstart.estimates import Rate
from warmstart.results.rates import MEASURES as MEASURES
from warmstart.results.rates import gain_rows, paired_rows, rate_of
from warmstart.runs.directory import EVAL_STAGES, SCHEMA, RunDir

Row = dict[str, Any]

STAGE_NAMES = {"base": "base", "warmup": "after SFT", "grpo": "after GRPO"}
_TRAINED_BY = {"base": "the base", "warmup": "SFT", "grpo": "GRPO"}
_SIGNAL = ("live_share", "all_fail_share", "all_pass_share")


def build_summary(run: RunDir) -> dict[str, Any]:
    """Return summary.json (schema 1) from what the run directory holds; a run may still be going on."""
    resolved = run.read_json(run.resolved_path)
    environment = run.read_json_if_there(run.environment_path) or {}
    measured = {stage: run.read_json_if_there(run.eval_path(stage)) for stage in EVAL_STAGES}
    measured = {stage: result for stage, result in measured.items() if result is not None}
    rows = {stage: run.read_completions(stage, without=("text", "question")) for stage in measured}
    pairs = list(combinations(measured, 2))
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": resolved.get("name"),
        "model": resolved.get("model", {}).get("name"),
        "seed": resolved.get("seed"),
        "verdicts": [
            {key: probe[key] for key in ("stage", "verdict", "findings")} for probe in run.read_probes()
        ],
        "cures": run.read_json_if_there(run.cures_path) or [],
        "plan": run.read_json_if_there(run.plan_path),
        "events": [
            {"step": line["step"], **event}
            for line in run.read_metrics("grpo")
            for event in line.get("events", ())
        ],
        "eval": measured,
        "paired": [test for a, b in pairs for test in paired_rows(rows[a], rows[b], a, b)],
        "gain": [gain for a, b in pairs for gain in gain_rows(rows[a], rows[b], a, b)],
        "overlap": run.read_json_if_there(run.overlap_path),
        "signal": _signal(run.read_metrics("grpo")),
        "cost": _cost(run.finished_stages()),
        "versions": environment.get("versions", {}),
    }
    return summary | {"headline": headline(summary)}


def _signal(steps: Sequence[Row]) -> dict[str, float | None]:
    """Return the shares of live and dead groups over all steps of GRPO."""
    shares = {}
    for name in _SIGNAL:
        known = [step[name] for step in steps if step.get(name) is not None]
        shares[name] = float(np.mean(known)) if known else None
    return shares


def _cost(stages: Mapping[str, Row]) -> dict[str, Any]:
    wanted = ("wall_s", "generated_tokens", "trained_tokens", "peak_rss_gb", "peak_gpu_gb")
    lines = [
        {"stage": name} | {key: facts[key] for key in wanted if key in facts}
        for name, facts in stages.items()
    ]
    on_gpu = [line["peak_gpu_gb"] for line in lines if "peak_gpu_gb" in line]
    return {
        "wall_s": sum(line.get("wall_s", 0.0) for line in lines),
        "generated_tokens": sum(line.get("generated_tokens", 0) for line in lines),
        "trained_tokens": sum(line.get("trained_tokens", 0) for line in lines),
        "peak_rss_gb": max((line.get("peak_rss_gb", 0.0) for line in lines), default=0.0),
        **({"peak_gpu_gb": max(on_gpu)} if on_gpu else {}),
        "by_stage": lines,
    }


def describe_rate(given: Mapping[str, Any] | None, n: int) -> str:
    """Return a rate of summary.json in words; a dash if nothing was measured."""
    rate = rate_of(given, n)
    return "–" if rate is None else estimates.describe(rate)


def describe_bound(given: Mapping[str, Any]) -> str:
    """Return what none, or all, of the problems leaves open: ``"< 1.3 %"`` or ``"> 98.7 %"``."""
    return estimates.describe_bound(Rate(given["value"], given["ci95"][0], given["ci95"][1], 0))


def describe_points(test: Mapping[str, Any]) -> str:
    """Return the difference of a paired test in words: ``"+10.2 points [+8.1, +12.4]"``."""
    low, high = test["ci95"]
    return f"{signed_points(test['difference'])} points [{signed_points(low)}, {signed_points(high)}]"


def signed_points(share: float) -> str:
    """Return a difference of two rates in percentage points: ``"+10.2"``, ``"−0.5"``, ``"0.0"``."""
    text = f"{100 * share:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def eval_line(result: Mapping[str, Any]) -> str:
    """Return one line about one measured model, for the terminal."""
    parts = []
    for mode in ("greedy", "sampled"):
        rates = result.get(mode)
        if rates:
            described = ", ".join(f"{name} {describe_rate(rates[name], result['n'])}" for name in MEASURES)
            heat = f" at temperature {rates['temperature']:g}" if mode == "sampled" else ""
            parts.append(f"{mode}{heat}: {described}")
    return "; ".join(parts) or "nothing measured"


def describe_grading(result: Mapping[str, Any]) -> str:
    """Return where the held-out reading and the rewards' differ, in words; empty if nowhere."""
    grading = result.get("grading")
    if not grading or not grading["differ"]:
        return ""
    shown = grading["examples"][0]
    return (
        f"the rewards' grader and the held-out reading differ on {grading['differ']:,} of "
        f"{grading['completions']:,} completions, {grading['paid_and_wrong']:,} of them paid and wrong, e.g. "
        f"{shown['given']!r} for {shown['gold']!r}"
    )


def describe_gain(gain: Mapping[str, Any]) -> str:
    """Return how a change splits: ``"+87.3 points strict = +89.0 format [..] − 1.7 math [..]"``."""
    parts = []
    for name in ("format", "math"):
        low, high = gain[name]["ci95"]
        parts.append(
            f"{name} {signed_points(gain[name]['difference'])} [{signed_points(low)}, {signed_points(high)}]"
        )
    return f"strict {signed_points(gain['strict']['difference'])} points = {' and '.join(parts)}"


def headline(summary: Mapping[str, Any]) -> str:
    """Return the result of a run in one sentence, with numbers, intervals and what may be chance."""
    measured = [stage for stage in EVAL_STAGES if (summary["eval"].get(stage) or {}).get("greedy")]
    if not measured:
        return _verdict(summary["verdicts"])
    n = summary["eval"][measured[0]]["n"]
    rates = [
        f"{STAGE_NAMES[stage]} {describe_rate(summary['eval'][stage]['greedy']['strict'], n)}"
        for stage in measured
    ]
    told = f"Right answers in the exact format on {n:,} held-out problems (greedy): {' → '.join(rates)}"
    return "; ".join([told, *_last_change(summary, measured)]) + "."


def _verdict(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Return what the probe says of a run without a measurement: why it ended, else what was said last."""
    if not verdicts:
        return "Nothing has been measured yet."
    said = verdicts[0] if verdicts[0]["verdict"] == "STOP" else verdicts[-1]
    first = next(iter(said["findings"]), None)
    if first is None:
        return f"{said['verdict']}."
    return f"{said['verdict']}: {first['code']}: {first['evidence']}; {first['advice']}."


def _last_change(summary: Mapping[str, Any], measured: Sequence[str]) -> list[str]:
    """Return what the last stage changed over the one before it: sampled if it was, as the finer measure."""
    if len(measured) < 2:
        return ["nothing is trained yet"]
    a, b = measured[-2:]
    tests = [
        test for test in summary["paired"] if (test["a"], test["b"], test["measure"]) == (a, b, "strict")
    ]
    if not tests:
        return []
    test = tests[-1]
    mode = "greedy"
    if test["mode"] == "sampled":
        mode = f"at temperature {summary['eval'][b]['sampled']['temperature']:g}"
    chance = ", which may be chance" if test["p"] >= estimates.ALPHA else ""
    change = f"{describe_points(test)}, {estimates.describe_p(test['p'])}{chance}"
    return [f"{_TRAINED_BY[b]} over {_TRAINED_BY[a]} {mode}: {change}"]
