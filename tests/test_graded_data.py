"""The grader against real data that no part of this project wrote; docs/grading.md explains the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from warmstart.grading.symbolic import MatchOptions
from warmstart.grading.verdicts import check_gold, grade, grade_lenient, judge
from warmstart.records import Verdict
from warmstart.rewards.functions import TERMS, score
from warmstart.tags import parse, render_target

# Each is explained in docs/grading.md; by line of the file, counted from 0.
MATH_VERIFY_DISAGREEMENTS = {31, 32, 263}
HENDRYCKS_DISAGREEMENTS = {1, 8}


@pytest.fixture(scope="module")
def graded(shared_data) -> Path:
    return shared_data / "graded"


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def is_correct(verdict: Verdict) -> bool:
    return verdict is Verdict.CORRECT


def test_the_lenient_grade_agrees_with_every_label_of_openai(graded):
    data = rows(graded / "gsm8k_openai.jsonl")
    wrong = [
        row for row in data if is_correct(grade_lenient(row["output"], row["gold"]).verdict) != row["label"]
    ]

    assert len(data) == 5276
    assert wrong == []


def test_the_strict_grade_agrees_too_once_the_outputs_are_in_the_format(graded):
    for row in rows(graded / "gsm8k_openai.jsonl"):
        reasoning, _, answer = row["output"].rpartition("A:")
        if reasoning.strip():
            text = render_target(reasoning, answer)
            assert parse(text).strict
            assert is_correct(grade(text, row["gold"]).verdict) == row["label"]


def test_every_tricky_completion_is_graded_and_parsed_as_labelled(graded):
    data = rows(graded / "tricky.jsonl")
    wrong = []
    for row in data:
        found = grade(row["completion"], row["gold"])
        labels = (row["expected_correct"], row["expected_strict_format"])
        if (is_correct(found.verdict), found.parsed.strict) != labels:
            wrong.append((row["note"], found))

    assert len(data) == 145
    assert wrong == []


def test_no_tricky_completion_earns_correctness_without_being_right(graded):
    for row in rows(graded / "tricky.jsonl"):
        reward = score(row["completion"], row["gold"]).rewards["correctness_reward_func"]
        assert reward == 2.0 if row["expected_correct"] else reward in (0.0, None)


def test_judge_agrees_with_math_verifys_own_tests_but_for_three(graded):
    data = rows(graded / "math_verify_cases.jsonl")
    wrong = {
        line
        for line, row in enumerate(data)
        if is_correct(judge(row["gold"], row["prediction"], options(row)).verdict) != row["expected"]
    }

    assert len(data) == 268
    assert wrong == MATH_VERIFY_DISAGREEMENTS


def options(row: dict[str, Any]) -> MatchOptions:
    return MatchOptions(
        latex="latex" in row["match_types"],
        expr="expr" in row["match_types"],
        precision=row["precision"],
        strict=row.get("strict", True),
        allow_set_relation_comp=row.get("allow_set_relation_comp", False),
    )


def test_judge_agrees_with_the_tests_of_the_math_grader_but_for_two(graded):
    data = rows(graded / "hendrycks_math_cases.jsonl")
    wrong = {
        line
        for line, row in enumerate(data)
        if is_correct(judge(row["gold"], row["prediction"]).verdict) != row["expected"]
    }

    assert len(data) == 16
    assert wrong == HENDRYCKS_DISAGREEMENTS


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_published_solution_of_gsm8k_is_a_gold_and_a_perfect_target(shared_data, split):
    for path in sorted((shared_data / "gsm8k").glob(f"*{split}*.jsonl")):
        for row in rows(path):
            rationale, _, final = row["answer"].rpartition("####")
            assert check_gold(row["answer"]) is None
            target = render_target(rationale, final)
            found = score(target, row["answer"])
            assert list(found.rewards.values()) == [term.high for term in TERMS]
            assert is_correct(found.lenient.verdict)
