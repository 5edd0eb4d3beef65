"""Posteriors by hand, draws by property."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.problem_sampling import FORGET, REST, Posterior


def test_of_an_unknown_problem_half_the_groups_of_two_and_more_of_larger_ones_are_live() -> None:
    # ρ = 0.5 before anything is seen: κ = 1, Beta(1/2, 1/2); E[p²] = (1/2 · 3/2)/(1 · 2) = 3/8 on either side.
    posterior = Posterior.fresh(["a", "b"])
    assert posterior.live(2) == pytest.approx([1 / 4, 1 / 4])
    assert (posterior.live(8) > posterior.live(2)).all()


def test_what_is_learnt_of_a_problem_moves_it_most_its_stratum_less_and_others_least() -> None:
    posterior = Posterior.fresh(["easy", "easy", "hard", "hard"]).learn([0, 2], [8, 0], [8, 8])
    a, b = posterior.beta()
    mean = a / (a + b)
    assert mean[0] > mean[1] > 0.5 > mean[3] > mean[2]


def test_the_prior_of_a_stratum_is_its_share_of_right_answers_drawn_towards_all() -> None:
    # Two problems of one stratum, 4 of 8 and 0 of 8 right: everywhere (4+1)/(16+2) = 5/18,
    # the stratum (4 + 8·5/18)/(16 + 8) = 0.2593.
    posterior = Posterior.fresh(["one"] * 3).learn([0, 1], [4, 0], [8, 8])
    a, b = posterior.beta()
    assert a[2] / (a[2] + b[2]) == pytest.approx((4 + 8 * 5 / 18) / 24)


def test_answers_are_forgotten() -> None:
    posterior = Posterior.fresh(["one"] * 2).learn([0], [8], [8]).learn([1], [0], [8])
    assert posterior.right_N[0] == pytest.approx(8 * FORGET)
    assert posterior.of_N.tolist() == pytest.approx([8 * FORGET, 8])


def test_the_first_answers_of_all_are_no_drift() -> None:
    assert Posterior.fresh(["one"] * 2).learn([0], [8], [8]).drift == (0.0, 0.0)


def test_better_answers_than_expected_shift_what_is_expected_of_problems_never_answered() -> None:
    # 4 of 8 right: half is expected of the other problem. 8 of 8 are 4 more; what they tell is 8 · 1/2 · 1/2 = 2.
    posterior = Posterior.fresh(["one"] * 3).learn([0], [4], [8]).learn([1], [8], [8])
    assert posterior.drift == (pytest.approx(4 / (64 + 2)), 0.0)


def test_worse_answers_than_before_shift_what_is_expected_of_problems_answered_before() -> None:
    posterior = Posterior.fresh(["one"] * 3).learn([0], [4], [8]).learn([0], [0], [8])
    assert posterior.drift == (0.0, pytest.approx(-4 / (64 + 2)))


def test_the_drift_moves_the_odds_and_leaves_the_weight_of_the_answers() -> None:
    still = Posterior.fresh(["one"] * 2).learn([0], [2], [8])
    moved = replace(still, drift=(np.log(3), np.log(2)))
    (a, b), (c, d) = still.beta(), moved.beta()
    assert c / d == pytest.approx(a / b * np.array([2, 3]))
    assert c + d == pytest.approx(a + b)


def test_mixed_problems_are_drawn_and_solved_and_hopeless_ones_rest() -> None:
    posterior = Posterior.fresh(["one"] * 30)
    for _ in range(3):
        posterior = posterior.learn(range(30), [8] * 10 + [0] * 10 + [4] * 10, [8] * 30)
    drawn = [row for seed in range(200) for row in posterior.draw(3, 8, seed=seed)[1]]
    shares = [sum(low <= row < low + 10 for row in drawn) / len(drawn) for low in (0, 10, 20)]
    assert shares[2] > 0.95


def test_a_solved_problem_comes_back_when_its_answers_have_faded() -> None:
    posterior = Posterior.fresh(["one"] * 20).learn(range(20), [8] * 10 + [4] * 10, [8] * 20)
    fresh = posterior.live(8)
    for _ in range(150):
        posterior = posterior.learn(range(10, 20), [4] * 10, [8] * 10)
    assert fresh[0] < 0.5 < 0.8 < posterior.live(8)[0]


@pytest.mark.parametrize("rest", [0, REST, 12])
def test_a_problem_rests_after_it_was_asked(rest: int) -> None:
    posterior = Posterior.fresh(["one"] * 200)
    last: dict[int, int] = {}
    for step in range(30):
        posterior, drawn = posterior.draw(8, 8, seed=0, rest=rest)
        posterior = posterior.learn(drawn, [4] * 8, [8] * 8)
        assert all(step - last.get(row, -rest - 1) > rest for row in drawn)
        last |= dict.fromkeys(drawn, step)


def test_even_hopeless_problems_come_before_those_that_rest() -> None:
    posterior = Posterior.fresh(["one"] * 20)
    for _ in range(20):
        posterior = posterior.learn(range(20), [0] * 20, [8] * 20)
    posterior, first = posterior.draw(5, 8, seed=0)
    for seed in range(50):
        assert not set(first) & set(posterior.draw(4, 8, seed=seed)[1])


@pytest.mark.parametrize("group", [2, 4, 8])
def test_four_fifths_of_the_draw_go_to_problems_known_to_be_live(group: int) -> None:
    posterior = Posterior.fresh([row < 40 for row in range(400)])
    for _ in range(4):
        posterior = posterior.learn(range(40), [4] * 40, [8] * 40)
    drawn = [row for seed in range(100) for row in posterior.draw(10, group, seed=seed)[1]]
    assert sum(row < 40 for row in drawn) / len(drawn) == pytest.approx(0.8, abs=0.06)


def test_an_answer_of_long_ago_is_no_knowledge() -> None:
    posterior = Posterior.fresh(["one"] * 100).learn([0], [4], [8])
    for _ in range(100):
        posterior = posterior.learn([1], [4], [8])
    assert 0 < posterior.of_N[0] < 1
    drawn = [row for seed in range(200) for row in posterior.draw(2, 8, seed=seed)[1]]
    assert drawn.count(0) < 40, "a problem known to be live would be in most of the 200 draws"


def test_how_different_problems_are_is_judged_within_a_stratum() -> None:
    # Half of all is right. Of the other easy problem 8 of 8 are: (8 + 8 · 1/2)/(8 + 8) = 3/4 is expected of each,
    # so the squared distance is 1/16 and m (1 − m) = 3/16; the hard ones mirror it.
    # ρ = (1/3 − 1/8)/(7/8) = 5/21, and an unseen problem's a + b is 1/ρ − 1 = 3.2.
    posterior = Posterior.fresh(["easy"] * 3 + ["hard"] * 3).learn([0, 1, 3, 4], [8, 8, 0, 0], [8] * 4)
    a, b = posterior.beta()
    assert a[2] + b[2] == pytest.approx(3.2)
    assert a[5] + b[5] == pytest.approx(3.2)


def test_groups_asked_again_say_nothing_of_how_different_problems_are() -> None:
    once = Posterior.fresh(["one"] * 4).learn([0, 1], [0, 8], [8, 8])
    again = once.learn([0, 1], [4, 4], [8, 8])
    assert again.moments == once.moments
    assert once.learn([2], [4], [8]).moments[0] == pytest.approx(FORGET * 2 + 1)


def test_when_too_few_are_rested_resting_problems_fill_the_step() -> None:
    posterior = Posterior.fresh(["one"] * 10)
    for _ in range(4):
        posterior, drawn = posterior.draw(8, 8, seed=0)
        assert len(set(drawn)) == 8


def test_every_problem_is_reached_even_one_that_looks_hopeless() -> None:
    posterior = Posterior.fresh(["one"] * 40)
    for _ in range(5):
        posterior = posterior.learn([7], [0], [8])
    seen: set[int] = set()
    for _ in range(150):
        posterior, drawn = posterior.draw(3, 8, seed=1)
        posterior = posterior.learn(drawn, [4] * 3, [8] * 3)
        seen |= set(drawn)
    assert seen == set(range(40))


def test_it_finds_more_mixed_groups_than_chance() -> None:
    random = np.random.default_rng(0)
    rates = random.beta(0.3, 0.3, 400)
    posterior, live, of = Posterior.fresh([0] * 400), 0, 0
    for _ in range(80):
        posterior, drawn = posterior.draw(16, 8, seed=0)
        right = random.binomial(8, rates[drawn])
        live, of = live + int(((right > 0) & (right < 8)).sum()), of + 16
        posterior = posterior.learn(drawn, right.tolist(), [8] * 16)
    by_chance = float((1 - rates**8 - (1 - rates) ** 8).mean())
    assert live / of > by_chance + 0.05


@given(
    problems=st.integers(1, 60),
    share=st.floats(0, 1),
    group=st.integers(2, 64),
    seed=st.integers(0, 9),
    right=st.lists(st.integers(0, 8), min_size=1, max_size=60),
)
def test_any_history_gives_chances_and_different_problems(
    problems: int, share: float, group: int, seed: int, right: list[int]
) -> None:
    known = [row % problems for row in range(len(right))]
    posterior = Posterior.fresh([row % 3 for row in range(problems)]).learn(known, right, [8] * len(right))
    posterior = posterior.learn([], [], []).learn(known[::2], right[::2], [8] * len(right[::2]))
    live = posterior.live(group)
    assert ((live >= 0) & (live <= 1)).all()
    count = max(1, round(share * problems))
    after, drawn = posterior.draw(count, group, seed=seed)
    assert len(set(drawn)) == len(drawn) == count
    assert posterior.draw(count, group, seed=seed)[1] == drawn
    restored = Posterior.fresh([row % 3 for row in range(problems)]).restored(
        json.loads(json.dumps(after.to_dict()))
    )
    assert restored.draw(count, group, seed=seed)[1] == after.draw(count, group, seed=seed)[1]


def test_more_problems_than_there_are_and_a_checkpoint_of_others_are_refused() -> None:
    with pytest.raises(ValueError, match="5 different problems are wanted and there are 4"):
        Posterior.fresh([0] * 4).draw(5, 8, seed=0)
    written = Posterior.fresh([0] * 9).learn([8], [1], [8]).to_dict()
    with pytest.raises(ValueError, match="knows problem 8 and there are 4"):
        Posterior.fresh([0] * 4).restored(written)
