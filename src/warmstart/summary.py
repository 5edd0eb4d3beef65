"""From graded completions to rates, from rates to summary.json, from summary.json to one sentence.

A result that could not be told (the verdict ``undecided``) is neither right nor wrong: it is left out of
the rate and counted under ``undecided``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart import estimates
from warmstart.estimates import Rate
from warmstart.runs import EVAL_STAGES, SCHEMA, RunDir

Row = dict[str, Any]
Array = npt.NDArray[np.float64]

MEASURES = ("strict", "lenient", "format")
"""Right answer in the exact format; right answer anywhere; exact format, whatever the answer."""
STAGE_NAMES = {"base": "base", "warmup": "after SFT", "grpo": "after GRPO"}
_TRAINED_BY = {"base": "the base", "warmup": "SFT", "grpo": "GRPO"}
_UNDECIDED = {"strict": "verdict", "lenient": "lenient_verdict"}
_SIGNAL = ("live_share", "all_fail_share", "all_pass_share")


def summarise_eval(rows: Sequence[Row], *, temperature: float) -> dict[str, Any]:
    """Return the rates of one model, as eval/STAGE.json holds them.

    Rows of the split ``eval`` make the result; those of ``unseen`` the same again under ``unseen``.

    Args:
        rows: A row per completion.
        temperature: Of the sampled ones.
    """
    result = _summarise_split([row for row in rows if row["split"] == "eval"], temperature)
    unseen = [row for row in rows if row["split"] == "unseen"]
    return result | {"unseen": _summarise_split(unseen, temperature) if unseen else None}


def _summarise_split(rows: list[Row], temperature: float) -> dict[str, Any]:
    greedy, sampled = _by_problem(rows, "greedy"), _by_problem(rows, "sampled")
    everything = [[*greedy.get(key, []), *sampled.get(key, [])] for key in greedy | sampled]
    return {
        "n": len(everything),
        "greedy": _greedy_rates(greedy.values()) if greedy else None,
        "sampled": _sampled_rates(sampled, temperature) if sampled else None,
        "truncated": _share(everything, lambda row: not row["finished"]),
        "mean_tokens": float(np.mean([row["tokens"] for row in rows])) if rows else None,
        "undecided": sum(math.isnan(_result(row, "lenient")) for row in rows),
        "by_family": _by(greedy, "family"),
        "by_steps": _by(greedy, "steps"),
    }


def _by_problem(rows: Sequence[Row], mode: str) -> dict[str, list[Row]]:
    """Return the completions of each problem in the order of their samples."""
    groups: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row["mode"] == mode), key=lambda row: int(row["sample"])):
        groups.setdefault(row["problem_id"], []).append(row)
    return groups


def _result(row: Row, measure: str) -> float:
    """Return 1 or 0, or NaN where it could not be told."""
    undecided = _UNDECIDED.get(measure)
    # What is not in the format is not strictly right, whatever the grader would have said.
    could_be_right = measure != "strict" or row["format"]
    if undecided and could_be_right and row[undecided] == "undecided":
        return math.nan
    return float(row[measure])


def _greedy_rates(groups: Any) -> dict[str, Any]:  # noqa: ANN401
    firsts = [group[0] for group in groups]
    return {measure: _greedy_rate([_result(row, measure) for row in firsts]) for measure in MEASURES}


def _greedy_rate(results: Sequence[float]) -> dict[str, Any] | None:
    known = [result for result in results if not math.isnan(result)]
    return estimates.wilson(round(sum(known)), len(known)).to_dict() if known else None


def _by(greedy: Mapping[str, list[Row]], column: str) -> dict[str, Any]:
    """Return the greedy rates of each value of a column, in order; problems without one are left out."""
    values = sorted({group[0][column] for group in greedy.values() if group[0].get(column) is not None})
    result = {}
    for value in values:
        groups = [group for group in greedy.values() if group[0][column] == value]
        result[str(value)] = {"n": len(groups), **_greedy_rates(groups)}
    return result


def _means(groups: Mapping[str, list[Row]], measure: str) -> dict[str, float]:
    """Return each problem's mean over the samples that could be told; problems without any are left out."""
    means = {}
    for key, group in groups.items():
        known = [result for row in group if not math.isnan(result := _result(row, measure))]
        if known:
            means[key] = sum(known) / len(known)
    return means


def _share(groups: Sequence[list[Row]], claim: Callable[[Row], bool]) -> dict[str, Any] | None:
    means = [sum(map(claim, group)) / len(group) for group in groups]
    return estimates.bootstrap_rate(means).to_dict() if means else None


def _sampled_rates(groups: Mapping[str, list[Row]], temperature: float) -> dict[str, Any]:
    samples = min(len(group) for group in groups.values())
    rates: dict[str, Any] = {"temperature": temperature, "samples": samples}
    for measure in MEASURES:
        means = list(_means(groups, measure).values())
        rates[measure] = estimates.bootstrap_rate(means).to_dict() if means else None
    # Counting the best or the most frequent of k needs every one of them to be told.
    whole = [group[:samples] for group in groups.values()]
    whole = [group for group in whole if not any(math.isnan(_result(row, "strict")) for row in group)]
    votes = [2**power for power in range(samples.bit_length())]
    strict = np.array([[_result(row, "strict") for row in group] for group in whole])
    answers = [[_vote(row) for row in group] for group in whole]
    rates["pass_at_k"] = {str(k): estimates.pass_at_k(strict, k).to_dict() for k in votes} if whole else {}
    rates["maj_at_k"] = (
        {str(k): estimates.majority_at_k(answers, strict, k).to_dict() for k in votes[1:]} if whole else {}
    )
    return rates


def _vote(row: Row) -> str | None:
    """Return the answer a completion votes for; right ones are one answer however they are spelt."""
    if not row["format"]:
        return None
    return str(row["gold"]) if row["strict"] else row["given"]


def paired_rows(rows_a: Sequence[Row], rows_b: Sequence[Row], a: str, b: str) -> list[dict[str, Any]]:
    """Return the tests of model ``b`` against model ``a`` on the held-out problems both answered.

    Greedy completions: exact McNemar; sampled ones: permutation of per-problem means.
    """
    tests = []
    for mode in ("greedy", "sampled"):
        before = _by_problem([row for row in rows_a if row["split"] == "eval"], mode)
        after = _by_problem([row for row in rows_b if row["split"] == "eval"], mode)
        compare = estimates.mcnemar_exact if mode == "greedy" else estimates.paired_permutation
        for measure in MEASURES:
            means_a, means_b = _means(before, measure), _means(after, measure)
            shared = sorted(means_a.keys() & means_b.keys())
            if shared:
                test = compare([means_a[key] for key in shared], [means_b[key] for key in shared])
                names = {"a": a, "b": b, "mode": mode, "measure": measure, "n": len(shared)}
                tests.append(names | test.to_dict())
    return tests


def build_summary(run: RunDir) -> dict[str, Any]:
    """Return summary.json (schema 1) from what the run directory holds; a run may still be going on."""
    resolved = run.read_json(run.resolved_path)
    environment = run.read_json_if_there(run.environment_path) or {}
    measured = {stage: run.read_json_if_there(run.eval_path(stage)) for stage in EVAL_STAGES}
    measured = {stage: result for stage, result in measured.items() if result is not None}
    rows = {stage: run.read_completions(stage) for stage in measured}
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
        "events": run.read_json_if_there(run.events_path) or [],
        "eval": measured,
        "paired": [
            test for a, b in combinations(measured, 2) for test in paired_rows(rows[a], rows[b], a, b)
        ],
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
    wanted = ("wall_s", "generated_tokens", "trained_tokens", "peak_rss_gb")
    lines = [
        {"stage": name} | {key: facts[key] for key in wanted if key in facts}
        for name, facts in stages.items()
    ]
    return {
        "wall_s": sum(line.get("wall_s", 0.0) for line in lines),
        "generated_tokens": sum(line.get("generated_tokens", 0) for line in lines),
        "trained_tokens": sum(line.get("trained_tokens", 0) for line in lines),
        "peak_rss_gb": max((line.get("peak_rss_gb", 0.0) for line in lines), default=0.0),
        "by_stage": lines,
    }


def rate_of(given: Mapping[str, Any] | None, n: int) -> Rate | None:
    """Return a rate as summary.json holds it."""
    return None if given is None else Rate(given["value"], given["ci95"][0], given["ci95"][1], n)


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


def headline(summary: Mapping[str, Any]) -> str:
    """Return the result of a run in one sentence, with numbers, intervals and what may be chance."""
    measured = [stage for stage in EVAL_STAGES if (summary["eval"].get(stage) or {}).get("greedy")]
    if not measured:
        return "Nothing has been measured yet."
    n = summary["eval"][measured[0]]["n"]
    rates = [
        f"{STAGE_NAMES[stage]} {describe_rate(summary['eval'][stage]['greedy']['strict'], n)}"
        for stage in measured
    ]
    told = f"Right answers in the exact format on {n:,} held-out problems (greedy): {' → '.join(rates)}"
    return "; ".join([told, *_last_change(summary, measured)]) + "."


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
