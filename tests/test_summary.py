"""From rows to rates to summary.json to a sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.run_directories import completion_row, eval_rows, finished_run, grpo_metrics, measure, start

from warmstart import estimates
from warmstart.summary import build_summary, describe_points, eval_line, headline, paired_rows, summarise_eval


def rows_of(results: list[list[bool]]) -> list[dict]:
    """Greedy rows from the first result of each problem, sampled rows from the others."""
    return [
        completion_row(index, strict=right, mode="sampled" if at else "greedy", sample=max(at - 1, 0))
        for index, row in enumerate(results)
        for at, right in enumerate(row)
    ]


def test_greedy_and_sampled_rates_are_those_of_their_rows() -> None:
    result = summarise_eval(
        rows_of([[True, True, False], [False, False, False], [True, True, True]]), temperature=0.7
    )
    assert result["n"] == 3
    assert result["greedy"]["strict"] == estimates.wilson(2, 3).to_dict()
    sampled = result["sampled"]
    assert (sampled["temperature"], sampled["samples"]) == (0.7, 2)
    assert sampled["strict"]["value"] == pytest.approx(0.5)
    assert sampled["pass_at_k"]["1"]["value"] == pytest.approx(0.5)
    assert sampled["pass_at_k"]["2"]["value"] == pytest.approx(2 / 3)
    assert set(sampled["maj_at_k"]) == {"2"}
    assert result["unseen"] is None


def test_right_outside_the_format_is_lenient_only() -> None:
    rows = [completion_row(0, right=True), completion_row(1, formatted=True), completion_row(2, strict=True)]
    greedy = summarise_eval(rows, temperature=1.0)["greedy"]
    assert [greedy[measure]["value"] for measure in ("strict", "lenient", "format")] == pytest.approx(
        [1 / 3, 2 / 3, 2 / 3]
    )


def test_unseen_families_are_kept_apart() -> None:
    rows = [completion_row(0), completion_row(0, strict=True, split="unseen")]
    result = summarise_eval(rows, temperature=1.0)
    assert (result["n"], result["greedy"]["strict"]["value"]) == (1, 0.0)
    assert (result["unseen"]["n"], result["unseen"]["greedy"]["strict"]["value"]) == (1, 1.0)


def test_what_could_not_be_told_is_left_out_of_the_rate_and_counted() -> None:
    unknown = {"verdict": "undecided", "lenient_verdict": "undecided"}
    rows = [
        completion_row(0, strict=True),
        completion_row(1, formatted=True) | unknown,
        completion_row(2) | unknown,
    ]
    result = summarise_eval(rows, temperature=1.0)
    # Row 2 is not in the format: whatever its answer, it is not strictly right.
    assert result["greedy"]["strict"] == estimates.wilson(1, 2).to_dict()
    assert result["greedy"]["lenient"] == estimates.wilson(1, 1).to_dict()
    assert result["undecided"] == 2


def test_a_problem_with_a_sample_that_could_not_be_told_has_no_pass_at_k() -> None:
    rows = rows_of([[True, True, False], [True, True, True]])
    rows[-1] |= {"verdict": "undecided", "strict": False}
    sampled = summarise_eval(rows, temperature=1.0)["sampled"]
    assert sampled["pass_at_k"]["2"]["value"] == 1.0
    assert sampled["strict"]["value"] == pytest.approx((0.5 + 1.0) / 2)


def test_an_evaluation_in_which_nothing_could_be_told_has_no_rate() -> None:
    rows = [completion_row(0, formatted=True) | {"verdict": "undecided", "lenient_verdict": "undecided"}]
    result = summarise_eval(rows, temperature=1.0)
    assert result["greedy"]["strict"] is None
    assert "strict –" in eval_line(result)


def test_the_same_right_answer_spelt_in_two_ways_is_one_vote() -> None:
    spelt = [("42", True), ("42.0", True), ("41", False), ("41", False)]
    rows = [
        completion_row(0, strict=right, formatted=True, mode="sampled", sample=at, given=given)
        for at, (given, right) in enumerate(spelt)
    ]
    # Two votes each: the tie goes to the one seen first.
    assert summarise_eval(rows, temperature=1.0)["sampled"]["maj_at_k"]["4"]["value"] == 1.0


def test_families_and_steps_have_their_own_greedy_rates() -> None:
    rows = [completion_row(index, strict=index % 3 == 0) for index in range(9)]
    result = summarise_eval(rows, temperature=1.0)
    assert {name: (part["n"], part["strict"]["value"]) for name, part in result["by_family"].items()} == {
        "ages": (3, 0.0),
        "distances": (3, 0.0),
        "shopping": (3, 1.0),
    }
    assert list(result["by_steps"]) == ["2", "3", "4"]
    assert summarise_eval([completion_row(0, family=None, steps=None)], temperature=1.0)["by_family"] == {}


def test_truncation_and_length_count_every_completion() -> None:
    rows = rows_of([[True, True], [True, True]])
    rows[0] |= {"finished": False, "tokens": 100}
    for row in rows[1:]:
        row["tokens"] = 20
    result = summarise_eval(rows, temperature=1.0)
    assert result["truncated"]["value"] == 0.25
    assert result["mean_tokens"] == 40.0


def test_greedy_pairs_are_tested_by_mcnemar_and_sampled_ones_by_permutation() -> None:
    before, after = eval_rows("warmup", problems=60), eval_rows("grpo", problems=60)
    tests = {(test["mode"], test["measure"]): test for test in paired_rows(before, after, "warmup", "grpo")}
    assert len(tests) == 6
    greedy = tests["greedy", "strict"]
    right = [
        [row["strict"] for row in rows if row["mode"] == "greedy" and row["split"] == "eval"]
        for rows in (before, after)
    ]
    expected = estimates.mcnemar_exact(*(np.array(side, dtype=int) for side in right)).to_dict()
    assert {key: greedy[key] for key in expected} == expected
    assert (greedy["a"], greedy["b"], greedy["n"]) == ("warmup", "grpo", 60)
    assert tests["sampled", "strict"]["test"] == "paired-permutation"


def test_only_problems_that_both_models_answered_are_paired() -> None:
    before = [completion_row(index) for index in (0, 1, 2)]
    after = [completion_row(index, strict=True) for index in (1, 2, 3)]
    test = paired_rows(before, after, "base", "grpo")[0]
    assert (test["n"], test["difference"]) == (2, 1.0)
    assert paired_rows(before, [], "base", "grpo") == []


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
