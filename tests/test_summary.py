"""From a run directory to summary.json to a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.run_directories import completion_row, finished_run, grpo_metrics, measure, rows_of, start

from warmstart.results.rates import summarise_eval
from warmstart.results.summary import build_summary, describe_points, eval_line, headline


def test_an_evaluation_in_which_nothing_could_be_told_has_no_rate() -> None:
    rows = [completion_row(0, formatted=True) | {"verdict": "undecided", "lenient_verdict": "undecided"}]
    result = summarise_eval(rows, temperature=1.0)
    assert result["greedy"]["strict"] is None
    assert "strict –" in eval_line(result)


def test_the_summary_of_a_finished_run_has_the_contract(tmp_path) -> None:
    run = finished_run(tmp_path, problems=60)
    summary = run.read_json(run.summary_path)
    assert summary["schema"] == 1
    assert list(summary["eval"]) == ["base", "warmup", "grpo"]
    assert summary["eval"]["grpo"] == run.read_json(run.eval_path("grpo"))
    assert [(test["a"], test["b"]) for test in summary["paired"]][::6] == [
        ("base", "warmup"), ("base", "grpo"), ("warmup", "grpo"),
    ]  # fmt: skip
    assert {"a", "b", "measure", "test", "difference", "ci95", "p"} <= set(summary["paired"][0])
    assert summary["signal"]["live_share"] == pytest.approx(
        np.mean([step["live_share"] for step in grpo_metrics()])
    )
    assert sum(summary["signal"].values()) == pytest.approx(1.0)
    assert summary["cost"]["wall_s"] == pytest.approx(0.4 + 9.1 + 118.0 + 3 * 21.5)
    assert summary["cost"]["trained_tokens"] == 631_000
    assert summary["cost"]["peak_rss_gb"] == 1.3
    assert summary["seed"] == 7
    assert summary["versions"]["torch"] == "2.13.0"
    assert (summary["verdicts"], summary["cures"]) == ([], [])
    json.dumps(summary, allow_nan=False)


def test_a_run_in_which_nothing_has_happened_has_a_summary(tmp_path) -> None:
    summary = build_summary(start(tmp_path))
    assert summary["eval"] == {}
    assert summary["signal"] == {"live_share": None, "all_fail_share": None, "all_pass_share": None}
    assert summary["headline"] == "Nothing has been measured yet."


def test_the_headline_of_a_run_that_its_probe_ended_is_why() -> None:
    hard = {"code": "too-hard", "evidence": "0 of 1,024 solve", "advice": "easier problems first"}
    other = {"code": "no-format", "evidence": "0 of 256", "advice": "warm start"}
    ended = [
        {"stage": "base", "verdict": "STOP", "findings": [hard]},
        {"stage": "prefill", "verdict": "FIX", "findings": [other]},
    ]
    told = "too-hard: 0 of 1,024 solve; easier problems first."
    assert headline({"eval": {}, "verdicts": ended}) == f"STOP: {told}"
    assert (
        headline({"eval": {}, "verdicts": [ended[0] | {"verdict": "FIX"}, ended[1]]})
        == "FIX: no-format: 0 of 256; warm start."
    )


def test_the_headline_has_every_stage_with_its_interval_and_the_last_change(tmp_path) -> None:
    said = build_summary(finished_run(tmp_path, problems=60))["headline"]
    assert "on 60 held-out problems (greedy): base 0 of 60 (< 6.1 %) → after SFT " in said
    assert "GRPO over SFT at temperature 1: +" in said
    assert said.endswith("p < 0.001.")
    assert " 0 %" not in said
    assert " 0.0 %" not in said


def test_the_headline_says_when_a_change_may_be_chance_or_is_a_loss(tmp_path) -> None:
    run = start(tmp_path)
    measure(run, "base", rows_of([[index < 15] for index in range(30)]))
    assert "nothing is trained yet" in build_summary(run)["headline"]
    measure(run, "grpo", rows_of([[index < 16] for index in range(30)]))
    said = build_summary(run)["headline"]
    assert "GRPO over the base greedy: +3.3 points" in said
    assert "p = 1.000, which may be chance" in said
    measure(run, "grpo", rows_of([[False] for _ in range(30)]))
    assert "GRPO over the base greedy: −50.0 points" in build_summary(run)["headline"]


def test_a_headline_needs_no_paired_tests() -> None:
    rate = {"value": 0.5, "ci95": [0.4, 0.6]}
    result = {"n": 10, "greedy": {"strict": rate}}
    assert (
        headline({"eval": {"base": result, "grpo": result}, "paired": []}).count("50.0 % [40.0, 60.0]") == 2
    )


def test_one_line_for_the_terminal_has_both_kinds_of_completions() -> None:
    line = eval_line(summarise_eval(rows_of([[True, True, False]] * 50), temperature=1.0))
    assert line.startswith("greedy: strict 50 of 50 (> 92.8 %), lenient ")
    assert "; sampled at temperature 1: strict 50.0 % [" in line
    assert eval_line({"n": 0, "greedy": None, "sampled": None}) == "nothing measured"


def test_points_have_a_sign_and_no_change_has_none() -> None:
    test = {"difference": -0.0001, "ci95": [-0.05, 0.102]}
    assert describe_points(test) == "0.0 points [−5.0, +10.2]"
