from __future__ import annotations

from warmstart.evaluation import grade_row
from warmstart.records import Problem
from warmstart.rollouts import Completion
from warmstart.tags import DEFAULT_TAGS

PENS = Problem("p1", "How many pens?", "12", None, "shopping", 2)


def _row(text: str):
    return grade_row(
        PENS,
        Completion(text, (1,) * 9, 9, True, -0.1, 0.1),
        DEFAULT_TAGS,
        split="eval",
        mode="greedy",
        sample=0,
    )


def test_a_right_answer_in_the_format_is_strict_lenient_and_formatted() -> None:
    row = _row("<reasoning>\n3*4=12\n</reasoning>\n<answer>\n12\n</answer>")
    assert (row["strict"], row["lenient"], row["format"], row["verdict"]) == (True, True, True, "correct")
    assert row["why_not_strict"] == ""


def test_a_right_answer_on_one_line_is_lenient_but_not_strict_and_says_why() -> None:
    row = _row("<reasoning>3*4=12</reasoning><answer>12</answer>")
    assert (row["strict"], row["lenient"], row["format"]) == (False, True, False)
    assert "newline_missing" in row["why_not_strict"]


def test_a_wrong_answer_in_the_format_is_formatted_only() -> None:
    row = _row("<reasoning>\n3*4=13\n</reasoning>\n<answer>\n13\n</answer>")
    assert (row["strict"], row["lenient"], row["format"]) == (False, False, True)


def test_a_right_answer_without_tags_is_lenient_and_has_no_answer_in_the_tags() -> None:
    row = _row("3*4=12. The answer is 12.")
    assert (row["strict"], row["lenient"], row["verdict"], row["lenient_given"]) == (
        False,
        True,
        "no_answer",
        "12.",
    )
