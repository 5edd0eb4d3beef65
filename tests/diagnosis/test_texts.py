from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.diagnosis.texts import answer_end, is_looping, runs_on
from warmstart.diagnosis.wording import claim, count_of, whole

SOLUTION = "Ann has 3 bags of 12 apples, so 3 * 12 = 36. She gives 7 to Bob, which leaves 36 - 7 = 29."


@pytest.mark.parametrize(
    "text", ["and so on " * 12, "a" * 40, "".join(f"Step {n}: we add.\n" for n in range(90))]
)
def test_a_text_that_repeats_itself_loops(text: str) -> None:
    assert is_looping(SOLUTION + text)


@pytest.mark.parametrize("text", ["", "7", SOLUTION, "3 + 3 + 3 = 9"])
def test_a_text_that_gets_on_does_not_loop(text: str) -> None:
    assert not is_looping(text)


@pytest.mark.parametrize(
    "answer",
    ["<answer>29</answer>", "#### 29", "The answer is 29", r"\boxed{29}", "So the final answer is 29"],
)
def test_a_final_answer_ends_where_it_is_complete(answer: str) -> None:
    text = f"{SOLUTION}\n{answer}"
    assert answer_end(text + " and more of it") == len(text)


@pytest.mark.parametrize(
    "text",
    [
        SOLUTION,
        "<answer>29",
        r"<reasoning>\boxed{29} or rather",
        "<think>\nThe answer is 29\nbut wait, let me look again",
        "<reasoning><answer>29</answer> no",
    ],
)
def test_what_is_tried_out_or_cut_off_is_no_final_answer(text: str) -> None:
    assert answer_end(text) is None


def test_an_answer_after_thinking_counts_even_where_the_prompt_opened_it() -> None:
    assert answer_end("The answer is 3\n</think>\n#### 29\nmore") == len("The answer is 3\n</think>\n#### 29")


def test_a_text_runs_on_after_an_early_answer_and_into_another_turn() -> None:
    assert runs_on(f"<answer>29</answer>\n{SOLUTION}")
    assert runs_on(f"{SOLUTION}\nQuestion: Bob has 4 pears.")
    assert not runs_on(SOLUTION)
    assert not runs_on(f"{SOLUTION}\n<answer>29</answer>")
    assert not runs_on(f"Question: how many are left?\n{SOLUTION}")


@given(st.text(max_size=2000))
def test_any_text_is_read(text: str) -> None:
    end = answer_end(text)
    assert end is None or 0 < end <= len(text)
    assert runs_on(text) in (True, False)


def test_none_of_many_is_a_bound_and_never_zero_percent() -> None:
    assert count_of(0, 512) == "0 of 512 (p < 0.6 %)"
    assert claim(0, 300, "are right") == "0 of 300 are right (p < 1 %)"
    assert claim(3, 300, "are right") == "3 of 300 are right (1.0 %)"
    assert count_of(8, 8) == "8 of 8"
    assert (whole(0.004), whole(0.44), whole(0.999), whole(0.0)) == ("0.4 %", "44 %", "99.9 %", "0 %")
