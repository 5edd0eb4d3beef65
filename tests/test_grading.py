from __future__ import annotations

import runpy
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.grading.numbers import Number
from warmstart.grading.verdicts import (
    MAX_ANSWERS,
    check_gold,
    grade,
    grade_lenient,
    grade_parsed,
    judge,
    read_gold,
)
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, MAX_CHARS, Tags, parse

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # As for a script: its neighbours are found beside it.
HOSTILE = runpy.run_path(str(BENCHMARKS / "grading.py"))["hostile_texts"]()
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=120)
TAGGED = st.lists(
    st.sampled_from(
        [*DEFAULT_TAGS.exact, "<think>", "</think>", "\n", "18", "18.0", "2", "A: 18", "####", "x = "]
    ),
    max_size=16,
).map("".join)
NUMERIC_GOLDS = st.sampled_from(
    ["18", "-3", "1/3", "50%", "1,234.5", "work\n#### 18", "", "nan", "1/0", "3:30", "yes"]
)


def wrap(answer: str) -> str:
    return DEFAULT_TAGS.wrap("I work it out.", answer)


# --- grade


def test_a_grade_says_the_verdict_what_was_given_why_and_how():
    text = wrap("$1,234.50")

    assert grade(text, "1234.5") == (Verdict.CORRECT, "$1,234.50", "the same value", "number", parse(text))
    assert grade(text, "12345")[:4] == (Verdict.WRONG, "$1,234.50", "another value", "number")
    assert grade(wrap("18, 20"), "18")[:4] == (Verdict.WRONG, "18, 20", "several numbers", "number")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no complete answer outside the reasoning"),
        ("18", "there is no complete answer outside the reasoning"),
        ("<answer>18", "there is no complete answer outside the reasoning"),
        (
            "<reasoning>so <answer>18</answer></reasoning>",
            "there is no complete answer outside the reasoning",
        ),
        ("<answer> \n </answer>", "the answer is blank"),
        (wrap("18") + "x" * MAX_CHARS, "the text is too long"),
    ],
)
def test_without_an_answer_the_verdict_is_no_answer(text, reason):
    assert grade(text, "18")[:4] == (Verdict.NO_ANSWER, None, reason, "none")


@pytest.mark.parametrize("gold", ["", "  ", "nan", "inf", "-∞", "1/0", "9^99999", "####", "?", "x" * 2000])
def test_a_gold_that_cannot_be_graded_is_undecided_whatever_is_given(gold):
    for answer in ("18", gold):
        assert grade(wrap(answer or "18"), gold).verdict is Verdict.UNDECIDED
    assert check_gold(gold) is not None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<answer>18</answer><answer>18.0</answer>", Verdict.CORRECT),
        ("<answer>18</answer><answer>2</answer>", Verdict.WRONG),
        ("<answer>2</answer><answer>18</answer>", Verdict.WRONG),
        ("<answer>\n<answer>\n18\n</answer>\n</answer>", Verdict.CORRECT),
        ("".join(f"<answer>{'0' * i}18</answer>" for i in range(MAX_ANSWERS)), Verdict.CORRECT),
        ("".join(f"<answer>{'0' * i}18</answer>" for i in range(MAX_ANSWERS + 1)), Verdict.WRONG),
    ],
)
def test_several_answers_must_all_be_right(text, verdict):
    assert grade(text, "18").verdict is verdict


def test_other_tag_names_are_graded_by_those_names():
    tags = Tags("think", "final")
    text = tags.wrap("x", "18")

    assert grade(text, "18", tags=tags).verdict is Verdict.CORRECT
    assert grade(text, "18").verdict is Verdict.NO_ANSWER
    assert grade_lenient(text, "18", tags=tags).path == "tags"


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("3:30", "03:30", Verdict.CORRECT),
        ("3:30 PM", "3:30 AM", Verdict.WRONG),
        (r"\text{Evelyn}", "evelyn", Verdict.CORRECT),
        ("Evelyn", "Carla", Verdict.WRONG),
        (r"\sqrt{2}", r"$\sqrt{2}$", Verdict.CORRECT),
        ("5 feet 3 inches", "5 feet  3 inches.", Verdict.CORRECT),
        ("Evelyn", "Evelyn " * 400, Verdict.WRONG),
    ],
)
def test_a_gold_that_is_no_number_is_first_compared_as_text(gold, answer, verdict):
    graded = grade(wrap(answer), gold)

    assert (graded.verdict, graded.path) == (verdict, "text")


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        (r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", Verdict.CORRECT),
        (r"\sqrt{2}", "1.41421356", Verdict.CORRECT),
        (r"\sqrt{2}", "1.41", Verdict.WRONG),
        (r"\sqrt{2}", r"$\sqrt{2}$ or $\sqrt{3}$", Verdict.WRONG),
        (r"\sqrt{2}", r"$\sqrt{3}$ no, $\sqrt{2}$", Verdict.WRONG),
        (r"1 - \frac{1}{\mathrm{e}}", r"1 + \frac{1}{\mathrm{e}}", Verdict.WRONG),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", Verdict.WRONG),
        ("(1, 2)", "(2, 1)", Verdict.WRONG),
        ("(0, 1)", "[0, 1]", Verdict.WRONG),
        ("(0, 1)", "(0, 1.5)", Verdict.WRONG),
        ("2x + 1", "1 + 2x", Verdict.CORRECT),
    ],
)
def test_a_formula_is_compared_by_math_verify(gold, answer, verdict):
    graded = grade(wrap(answer), gold)

    assert (graded.verdict, graded.path) == (verdict, "symbolic")


# --- golds


@pytest.mark.parametrize(
    ("gold", "text", "value"),
    [
        ("72", "72", 72),
        ("14,000", "14,000", 14000),
        ("Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72", "72", 72),
        ("It drops by 5.\n#### -3\n", "-3", -3),
        ("first #### 1\nthen\n#### $2\nlater", "$2", 2),
    ],
)
def test_a_gold_is_the_number_after_the_last_marks(gold, text, value):
    assert read_gold(gold)[:2] == (text, Number(value))
    assert check_gold(gold) is None


@pytest.mark.parametrize(
    "gold", [r"\sqrt{2}", "[0, 1)", "(1, 2)", r"x \in \{1, 2\}", "Evelyn", "3:30 PM", "x", "7:32"]
)
def test_formulas_and_short_texts_are_golds(gold):
    assert check_gold(gold) is None


@pytest.mark.parametrize(
    ("gold", "problem"),
    [
        ("", "empty"),
        ("work ####  ", "empty"),
        ("nan", "not finite"),
        (r"$\infty$", "not finite"),
        ("...", "without a letter or digit"),
        ("1/0", "not a value: division by zero"),
        ("1e9999", "not a value: exponent too large"),
        ("word " * 30, "a long text without a final '#### N' line"),
        ("x" * 1001, "longer than 1,000 characters"),
    ],
)
def test_a_gold_that_is_no_answer_has_a_problem(gold, problem):
    assert check_gold(gold) == problem


# --- lenient


@pytest.mark.parametrize(
    ("text", "path", "given"),
    [
        (wrap("18"), "tags", "18"),
        (wrap("3 dozen eggs, 18"), "tags", "18"),
        ("<answer>2</answer> no: <answer>18</answer>", "tags", "18"),
        ("so 2 + 16\n#### 18", "####", "18"),
        ("#### 18 apples and 2 pears", "####", "18"),
        ("2 + 16 = 18\nA: 18\n", "A:", "18"),
        ("A: 2\nno\nA: 18 of 20", "A:", "18"),
        ("So the answer is 18 because 2 + 16 = 20 - 2.", "phrase", "18"),
        ("**Final Answer:** $18$ dollars", "phrase", "$18$ dollars"),
        ("the answer was unclear", "none", None),
        (r"Thus \boxed{\frac{36}{2}}. I checked 99 times", "boxed", r"\frac{36}{2}"),
        (r"\boxed{2}, then \boxed{18} in 5 steps", "boxed", "18"),
        ("She has 2 + 16 = 18 eggs.", "last_number", "18"),
        ("she is left with $18.00.", "last_number", "$18.00"),
        ("<answer>\n18", "last_number", "18"),
        ("20-18", "last_number", "18"),
        ("no digits", "none", None),
        ("", "none", None),
        ("18" + " " * MAX_CHARS, "none", None),
    ],
)
def test_each_path_of_the_lenient_grade_has_its_name(text, path, given):
    graded = grade_lenient(text, "18")

    assert (graded.path, graded.given) == (path, given)
    assert graded.verdict is (Verdict.NO_ANSWER if path == "none" else Verdict.CORRECT)


def test_the_first_path_with_a_value_decides():
    text = wrap("I cannot say") + "\nThe answer is 7, or 18."

    assert grade_lenient(text, "18") == (Verdict.WRONG, "7", "phrase")


def test_a_second_answer_block_is_not_hidden_from_the_lenient_grade():
    assert grade_lenient(wrap("18") + "\n<answer>2</answer>", "18") == (Verdict.WRONG, "2", "tags")


def test_negative_numbers_are_found_with_their_sign():
    assert grade_lenient("it falls to -3", "-3").verdict is Verdict.CORRECT
    assert grade_lenient("it falls to -3", "3").verdict is Verdict.WRONG


def test_the_lenient_grade_of_a_formula_never_takes_the_last_number():
    assert grade_lenient(r"so it is \boxed{\sqrt{2}}", r"\sqrt{2}").verdict is Verdict.CORRECT
    assert grade_lenient("so it is about 1.4142135", r"\sqrt{2}").verdict is Verdict.NO_ANSWER


def test_a_bad_gold_is_undecided_for_the_lenient_grade_too():
    assert grade_lenient("18", "") == (Verdict.UNDECIDED, None, "none")


# --- judge


@pytest.mark.parametrize(
    ("gold", "prediction", "verdict", "path"),
    [
        ("18", "$18.00", Verdict.CORRECT, "number"),
        ("18", "20", Verdict.WRONG, "number"),
        ("Evelyn", "evelyn", Verdict.CORRECT, "text"),
        ("$9$", r"Of 4 and 9 only \(9\) fits.", Verdict.CORRECT, "symbolic"),
        ("$x > 5$", "Therefore $x < 5$.", Verdict.WRONG, "symbolic"),
        ("18", " ", Verdict.NO_ANSWER, "none"),
    ],
)
def test_a_bare_prediction_is_judged(gold, prediction, verdict, path):
    judged = judge(gold, prediction)

    assert (judged.verdict, judged.path) == (verdict, path)


# --- whatever is thrown at it


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_gets_a_verdict_at_once_from_any_thread(name):
    verdicts: list[Verdict] = []

    def run() -> None:
        verdicts.extend((grade(HOSTILE[name], "5").verdict, grade_lenient(HOSTILE[name], "5").verdict))

    start = time.monotonic()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=10)

    assert time.monotonic() - start < 2  # milliseconds in fact; see benchmarks/grading.py
    assert len(verdicts) == 2
    assert verdicts[0] in (Verdict.WRONG, Verdict.NO_ANSWER)


@given(ANY_TEXT | TAGGED | ANY_TEXT.map(wrap), NUMERIC_GOLDS)
def test_any_text_at_all_gets_a_verdict(text, gold):
    graded = grade(text, gold)

    assert isinstance(graded.verdict, Verdict)
    assert graded == grade_parsed(parse(text), gold)
    assert isinstance(grade_lenient(text, gold).verdict, Verdict)


@given(ANY_TEXT)
def test_any_text_at_all_is_a_gold_or_has_a_problem(text):
    problem = check_gold(text)

    assert problem is None or problem
    if read_gold(text).number is not None or problem is not None:
        assert grade(wrap("18"), text).verdict in (Verdict.CORRECT, Verdict.WRONG, Verdict.UNDECIDED)
