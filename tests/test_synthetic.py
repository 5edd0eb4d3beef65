from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from warmstart.data.synthetic import TRAINED, UNSEEN, draw, generate, line_values, write
from warmstart.data.synthetic.work import Work


def test_there_are_at_least_twelve_families_and_the_unseen_ones_are_others() -> None:
    assert len(TRAINED) >= 12
    assert len(UNSEEN) >= 3
    assert not set(TRAINED) & set(UNSEEN)


@pytest.mark.parametrize("family", [*TRAINED.values(), *UNSEEN.values()], ids=[*TRAINED, *UNSEEN])
def test_every_family_draws_two_to_six_steps_and_numbers_in_range(family) -> None:
    for seed in range(2_000):
        work = Work()
        question = family(Random(seed), work)
        assert 2 <= len(work.steps) <= 6
        assert 0 <= work.answer <= 9_999
        assert question.endswith("?")


@pytest.mark.parametrize("split", ["train", "eval", "unseen"])
def test_the_same_arguments_give_the_same_problems_and_fewer_are_a_prefix(split) -> None:
    many = generate(60, seed=3, split=split)
    assert generate(60, seed=3, split=split) == many
    assert generate(20, seed=3, split=split) == many[:20]
    assert generate(20, seed=4, split=split) != many[:20]


def test_training_and_evaluation_share_no_question_whatever_the_seeds() -> None:
    train = {p.question for seed in range(3) for p in generate(2_000, seed=seed, split="train")}
    held_out = {p.question for seed in range(3) for p in generate(500, seed=seed, split="eval")}
    assert len(held_out) > 1_000
    assert not train & held_out


def test_no_two_problems_of_a_draw_are_the_same_and_families_take_turns() -> None:
    problems = generate(320, seed=0, split="train")
    assert len({p.question for p in problems}) == 320
    counts = {family: sum(p.family == family for p in problems) for family in TRAINED}
    assert max(counts.values()) - min(counts.values()) <= 2


def test_the_last_line_of_a_rationale_gives_the_gold_answer() -> None:
    for problem in generate(300, seed=1, split="train"):
        last = problem.rationale.split("\n")[-1]
        assert f"={problem.gold}" in last
        assert problem.steps == len(problem.rationale.split("\n"))


def test_every_equation_of_a_rationale_is_true() -> None:
    for _, work, _ in islice(draw(seed=2, split="train"), 500):
        for step, (_, value) in zip(work.steps, line_values(work), strict=True):
            exact = {"+": step.left + step.right, "-": step.left - step.right, "*": step.left * step.right}
            assert value == exact.get(step.operation, step.left / step.right if step.right else None)


def test_a_slip_is_carried_on_to_the_lines_that_use_it() -> None:
    work = Work()
    first = work.step("There are {} pens.", 3, "*", 4)
    work.step("{} are left.", first, "-", 5)
    assert write(work) == "There are 3*4=12 pens.\n12-5=7 are left."
    slips = iter([1, 0])
    assert write(work, lambda value: value + next(slips)) == "There are 3*4=13 pens.\n13-5=8 are left."


def test_a_division_with_a_remainder_is_refused() -> None:
    with pytest.raises(ValueError, match="remainder"):
        Work().step("{}", 7, "/", 2)


def test_a_negative_value_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        Work().step("{}", 3, "-", 4)
