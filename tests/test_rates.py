"""From rows to rates, tests and gains."""

from __future__ import annotations

import numpy as np
import pytest
from tests.run_directories import completion_row, eval_rows, rows_of

from warmstart import estimates
from warmstart.results.rates import gain_rows, paired_rows, summarise_eval


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
    rows[0] |= {"finished": False, "truncated": True, "tokens": 100}
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


def test_each_mode_says_how_its_completions_ended_and_how_long_they_were() -> None:
    rows = rows_of([[True, True], [True, True]])
    for row, (finished, truncated, tokens) in zip(
        rows, [(True, False, 10), (False, True, 30), (True, False, 20), (False, False, 50)], strict=True
    ):
        row.update(finished=finished, truncated=truncated, tokens=tokens)
    result = summarise_eval(rows, temperature=1.0)
    greedy, sampled = result["greedy"], result["sampled"]
    assert (greedy["ended"]["value"], greedy["truncated"]["value"], greedy["mean_tokens"]) == (1.0, 0.0, 15.0)
    # The last one was neither ended nor cut: a server stopped it.
    assert (sampled["ended"]["value"], sampled["truncated"]["value"]) == (0.0, 0.5)
    assert sampled["mean_tokens"] == 40.0


def test_parts_have_sampled_rates_beside_the_greedy_ones() -> None:
    part = summarise_eval(rows_of([[True, True, False]] * 3), temperature=1.0)["by_steps"]["2"]
    assert (part["n"], part["strict"]["value"], part["sampled"]["strict"]["value"]) == (1, 1.0, 0.5)


def test_problems_are_told_apart_by_length_in_four_parts_of_about_as_many() -> None:
    rows = [completion_row(i, strict=i < 4, question=" ".join(["word"] * (i + 5))) for i in range(8)]
    parts = summarise_eval(rows, temperature=1.0)["by_length"]
    assert [(name, part["n"], part["strict"]["value"]) for name, part in parts.items()] == [
        ("5–6 words", 2, 1.0),
        ("7–8 words", 2, 1.0),
        ("9–10 words", 2, 0.0),
        ("11–12 words", 2, 0.0),
    ]
    for row in rows:
        row["question"] = "all alike"
    assert summarise_eval(rows, temperature=1.0)["by_length"] == {}


def test_where_the_two_readings_differ_it_is_counted_and_shown() -> None:
    rows = [completion_row(i, strict=i > 0) for i in range(4)]
    rows[0] |= {"format": True, "reward_strict": True, "checked": True, "given": "7"}
    rows[1]["checked"] = False
    grading = summarise_eval(rows, temperature=1.0)["grading"]
    assert (grading["differ"], grading["paid_and_wrong"], grading["checked"], grading["unchecked"]) == (
        1,
        1,
        3,
        1,
    )
    assert grading["examples"][0]["given"] == "7"


def fate(index: int, *, strict: bool = False, right: bool = False) -> dict:
    return completion_row(index, strict=strict, right=right)


def test_a_gain_splits_into_format_and_math_that_add_up_problem_by_problem() -> None:
    # Ten problems: 6 right before in another form, of which 5 are strict now and one is wrong now;
    # 3 wrong before, of which one is strict now; 1 strict before and wrong now.
    before = [fate(i, right=True) for i in range(6)] + [fate(i) for i in range(6, 9)] + [fate(9, strict=True)]
    after = [fate(i, strict=i not in (5, 7, 8, 9)) for i in range(10)]
    gain = gain_rows(before, after, "base", "grpo")[0]
    assert gain["strict"]["difference"] == pytest.approx((6 - 1) / 10)
    assert gain["math"]["difference"] == pytest.approx((6 - 7) / 10)
    assert gain["format"]["difference"] == pytest.approx(6 / 10)
    assert {name: part["count"] for name, part in gain["problems"].items()} == {
        "known": 5,
        "new": 1,
        "lost": 1,
    }
    for part in ("strict", "math", "format"):
        low, high = gain[part]["ci95"]
        assert low <= gain[part]["difference"] <= high


def test_a_sampled_gain_of_format_alone_has_no_math_in_it() -> None:
    # Half of the samples right before, in no format; the very same half right and in the format now.
    before = [completion_row(i, right=s == 0, mode="sampled", sample=s) for i in range(10) for s in range(2)]
    after = [completion_row(i, strict=s == 1, mode="sampled", sample=s) for i in range(10) for s in range(2)]
    (gain,) = gain_rows(before, after, "base", "grpo")
    assert (gain["math"]["difference"], gain["format"]["difference"]) == (0.0, 0.5)
    assert "problems" not in gain


def test_greedy_rows_of_an_older_log_know_truncation_by_what_did_not_end() -> None:
    rows = [completion_row(0, finished=False)]
    del rows[0]["truncated"]
    assert summarise_eval(rows, temperature=1.0)["greedy"]["truncated"]["value"] == 1.0
