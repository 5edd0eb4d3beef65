from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.grading.verdicts import grade
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, render_target
from warmstart.traces import worked_part

STEPS = "Kim is 8+6=14.\nBoth are 8+14=22."


@pytest.mark.parametrize(
    "text",
    [
        f"{STEPS}\nThe answer is 22.",
        f"{STEPS}\n#### 22",
        f"{STEPS}\nA: 22",
        f"{STEPS}\nSo the answer is 22.",
        f"{STEPS}\n\\boxed{{22}}",
        f"{STEPS} The answer is 22.",
        f"<work>\n{STEPS}\n</work>\nFinal answer: 22",
        f"<reasoning>\n{STEPS}\n</reasoning>\n<answer>22</answer>",
        f"<reasoning>{STEPS}</reasoning><answer>\n22\n</answer> Done.",
    ],
)
def test_the_steps_are_kept_and_the_statement_of_the_answer_is_not(text) -> None:
    assert worked_part(text, "22") == STEPS


def test_a_text_that_states_no_answer_is_kept_whole() -> None:
    assert worked_part(STEPS, "22") == STEPS


@pytest.mark.parametrize("text", ["", "The answer is 21.", "\\boxed{}", "<answer>22</answer>"])
def test_wrong_empty_and_unworked_texts_give_nothing(text) -> None:
    assert worked_part(text, "22") is None


def test_a_bare_answer_is_its_own_work() -> None:
    assert worked_part("The answer is 22.", "22") == "The answer is 22."


@given(st.text(alphabet="<>/reasoningaw #2:.\n\\box{}A", max_size=200))
def test_whatever_is_kept_makes_a_target_with_full_marks(text) -> None:
    kept = worked_part(text, "22")
    if kept is not None:
        target = render_target(kept, "22", DEFAULT_TAGS)
        assert grade(target, "22").verdict is Verdict.CORRECT
