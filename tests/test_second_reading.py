"""The second reading against the first: two paths that must agree where both can tell."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.grading.second_reading import formatted_answer, read_again, same_answer
from warmstart.grading.verdicts import grade
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, Tags, parse

PIECES = st.sampled_from(
    ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "<Answer>", "</answer >", "<answer a=1>", "<answer/>",
     "< answer>", "<think>", "</think>", "<answers>", "<reasoning", "\n", "\n", "\n", " ", "\t", "\r", "7", "2 + 2", "x", "\u200b", ".", "é"]
)  # fmt: skip
WITHIN = st.lists(PIECES, max_size=5).map("".join)


@given(st.one_of(
    st.lists(PIECES, max_size=14).map("".join),
    st.tuples(WITHIN, WITHIN).map(lambda bodies: DEFAULT_TAGS.wrap(*bodies)),
))  # fmt: skip
def test_both_readings_see_the_same_format_in_any_text(text) -> None:
    assert (formatted_answer(text) is not None) == parse(text).strict


def wrapped(answer: str) -> str:
    return DEFAULT_TAGS.wrap("a sum", answer)


@given(
    st.integers(-10_000, 10_000), st.integers(-10_000, 10_000), st.sampled_from(["{}", "{}.0", "{}.", "${}"])
)
def test_both_readings_say_the_same_of_plain_numbers(gold, answer, dress) -> None:
    given_text = dress.format(answer)
    second = read_again(wrapped(given_text), str(gold)).right
    if second is not None:
        assert second == (grade(wrapped(given_text), str(gold)).verdict is Verdict.CORRECT)


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("72", "72", True), ("72", "73", False), ("1250", "$1,250.00", True), ("-5", "-$5", True), ("0.5", ".5", None),
        ("18", "18 apples", None), ("5", "2 + 3", None), ("1234", "12,34", None), ("1/2", "1/2", True), ("1/2", "0.5", None),
        ("5", "٥", None), ("nan", "1", None), ("", "", None), ("7", "9" * 50, None),
    ],
)  # fmt: skip
def test_plain_numbers_are_told_and_any_other_dress_is_not(gold, answer, right) -> None:
    assert same_answer(gold, answer) is right


def test_a_worked_gold_is_read_after_its_mark_and_other_tags_work() -> None:
    tags = Tags("think", "result")
    assert read_again(tags.wrap("a", "72"), "6*12=72\n#### 72", tags) == (True, True)
    assert read_again(tags.wrap("a", "72"), "72") == (False, None)


def test_outside_the_format_nothing_is_said_of_the_answer() -> None:
    assert read_again("72", "72") == (False, None)
    assert read_again("x" * 200_001, "72") == (False, None)


def test_both_readings_agree_on_every_graded_output_that_both_can_tell(shared_data) -> None:
    told = 0
    for line in (shared_data / "graded" / "gsm8k_openai.jsonl").read_text().split("\n")[:-1]:
        row = json.loads(line)
        text = wrapped(row["output"].rpartition("A:")[2].strip() or "none")
        second = read_again(text, row["gold"])
        if second.right is not None:
            told += 1
            assert second.right == (grade(text, row["gold"]).verdict is Verdict.CORRECT)
    assert told == 5262
    for line in (shared_data / "graded" / "tricky.jsonl").read_text().split("\n")[:-1]:
        row = json.loads(line)
        second = read_again(row["completion"], row["gold"])
        assert second.format == row["expected_strict_format"], row["note"]
