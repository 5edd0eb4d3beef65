from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from healthy import NAMES, changed, healthy_lines, window_of
from hypothesis import given, settings
from hypothesis import strategies as st

from warmstart.diagnosis import (
    Decision,
    Evaluation,
    RolloutStats,
    Severity,
    TrainingWindow,
    decide,
    diagnose_training,
    usual_rate,
)
from warmstart.diagnosis.window import best_before, noise, rise
from warmstart.estimates import wilson
from warmstart.tags import DEFAULT_TAGS

RECORDED = Path(__file__).with_name("healthy_tiny.jsonl")
SEEDS = range(3)
HEALTHY = RolloutStats(1, distinct=0.95, several_blocks=0.01, reasoning_words=40, paid_wrong=0.0, runs_on=0.0)


def codes(window: TrainingWindow) -> list[str]:
    return [found.code for found in diagnose_training(window) if found.severity is not Severity.NOTE]


def first(window: TrainingWindow) -> str:
    return next(iter(codes(window)), "")


def rollouts(count: int = 20, since: int = 0, **changes: float) -> tuple[RolloutStats, ...]:
    """Return healthy statistics with values changed from step ``since`` on."""
    return tuple(
        replace(HEALTHY, step=step, **(changes if step > since else {})) for step in range(1, count + 1)
    )


def dead(lines: list[dict[str, Any]], first: int = 0, **shares: float) -> list[dict[str, Any]]:
    """Return the lines with no live group and so no gradient."""
    nothing = {"live_share": 0.0, "reward_std": 0.0, "grad_norm": 0.0, "loss": 0.0}
    return changed(lines, first, **(nothing | {"all_fail_share": 0.0, "all_pass_share": 0.0} | shares))


def moving(
    lines: list[dict[str, Any]], key: str, start: float, end: float, scatter: float
) -> list[dict[str, Any]]:
    """Return the lines with a value that goes from ``start`` to ``end``; ``format`` and ``right`` are shares."""
    random = np.random.default_rng(5)
    path = np.linspace(start, end, len(lines)) + random.normal(0, scatter, len(lines))
    return [changed([line], **{key: float(value)})[0] for line, value in zip(lines, path, strict=True)]


# -- no false alarm ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("steps", [1, 3, 12, 40, 100])
def test_a_healthy_run_has_nothing_to_say_at_any_step(seed: int, steps: int) -> None:
    assert codes(window_of(healthy_lines(seed, 100)[:steps])) == []


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 80), groups=st.integers(8, 32))
def test_healthy_runs_of_any_length_and_size_raise_no_alarm(seed: int, steps: int, groups: int) -> None:
    assert codes(window_of(healthy_lines(seed, steps, groups), rollouts=rollouts(steps))) == []


def test_a_recorded_run_of_the_tiny_recipe_raises_no_alarm_at_any_step() -> None:
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    assert len(lines) == 20
    for steps in range(1, 21):
        assert codes(window_of(lines[:steps])) == []


def test_a_healthy_loss_of_zero_is_explained_in_a_note() -> None:
    (found,) = diagnose_training(window_of(changed(healthy_lines(), loss=0.0)))
    assert (found.code, found.severity) == ("healthy-zero-loss", Severity.NOTE)
    assert found.evidence.startswith("the loss is 0.000, because advantages sum to 0")
    assert decide([found], 0.6) is Decision.GO


def test_lines_without_any_known_key_say_nothing() -> None:
    assert diagnose_training(window_of([{"stage": "grpo", "step": step} for step in range(1, 80)])) == []
    assert diagnose_training(window_of([])) == []


@pytest.mark.parametrize(
    "key",
    [
        "reward",
        "reward_std",
        "grad_norm",
        "entropy",
        "truncated_share",
        "live_share",
        "all_fail_share",
        "rewards",
    ],
)
def test_a_missing_key_never_alarms_a_healthy_run(key: str) -> None:
    lines = [{name: value for name, value in line.items() if name != key} for line in healthy_lines()]
    assert codes(window_of(lines)) == []


def test_lines_of_other_stages_are_left_out() -> None:
    assert (
        len(TrainingWindow.from_metrics([{"stage": "sft", "step": 1, "loss": 1.0}, *healthy_lines(steps=4)]))
        == 4
    )


def test_a_sampler_that_turns_to_harder_problems_is_no_collapse() -> None:
    lines = moving(healthy_lines(), "right", 0.9, 0.4, 0.05)
    assert codes(window_of(changed(lines, all_fail_share=0.05, live_share=0.9))) == []


def test_a_reward_plan_that_drops_shaping_is_no_collapse() -> None:
    assert codes(window_of(changed(healthy_lines(), 30, reward=0.6))) == []


def test_a_run_that_has_levelled_off_has_no_rate_too_small() -> None:
    lines = changed(healthy_lines(steps=100), right=0.7, format=0.97, reward=1.9, entropy=0.2)
    assert codes(window_of(lines)) == []


# -- plumbing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
@pytest.mark.parametrize("key", ["loss", "grad_norm"])
def test_a_number_that_is_none_is_named_first(key: str, value: float | None) -> None:
    found = diagnose_training(window_of(changed(healthy_lines(steps=20), 17, **{key: value})))
    assert [one.code for one in found] == ["not-a-number"]
    assert "in 3 of the last 10 steps, first at step 18" in found[0].evidence


def test_an_engine_far_from_the_trainer_is_named_and_a_near_one_is_not() -> None:
    said = diagnose_training(window_of(changed(healthy_lines(steps=20), engine_gap=0.3)))
    (found,) = [one for one in said if one.severity is Severity.WARNING]
    assert found.code == "engine-gap"
    assert "0.30 nats per token apart" in found.evidence
    assert codes(window_of(changed(healthy_lines(steps=20), engine_gap=0.02))) == []


def test_rewards_that_differ_without_a_gradient_are_blocked() -> None:
    assert codes(window_of(changed(healthy_lines(steps=2), grad_norm=0.0))) == ["gradient-blocked"]
    assert codes(window_of(changed(healthy_lines(steps=60), grad_norm=0.0))) == ["gradient-blocked"]


def test_no_gradient_without_signal_is_no_blocked_gradient() -> None:
    assert "gradient-blocked" not in codes(window_of(dead(healthy_lines(steps=3), all_fail_share=1.0)))


def test_a_gate_that_takes_the_shaping_from_dead_outcomes_blocks_no_gradient() -> None:
    lines = changed(healthy_lines(steps=4), grad_norm=0.0, reward_std=0.0, live_share=0.5)
    assert codes(window_of(lines)) == []


def test_masked_truncated_completions_leave_everything_masked() -> None:
    lines = changed(healthy_lines(steps=6), grad_norm=0.0, truncated_share=1.0)
    assert first(window_of(lines, masks_truncated=True)) == "all-masked"


def test_outcomes_that_cannot_be_told_are_said() -> None:
    (found,) = diagnose_training(window_of(changed(healthy_lines(steps=10), loss=1.0, undecided_share=0.4)))
    assert (found.code, found.severity) == ("reward-undecided", Severity.BROKEN)
    assert codes(window_of(changed(healthy_lines(steps=10), undecided_share=0.02))) == []


# -- dead groups ---------------------------------------------------------------------------------


def test_a_cold_start_in_training_is_no_format() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=1.0, right=0.0, format=0.0)
    assert codes(window_of(lines)) == ["no-format"]


def test_groups_that_all_fail_in_the_format_are_too_hard() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=0.95, right=0.01, format=0.97)
    assert codes(window_of(lines)) == ["too-hard"]


def test_groups_that_all_pass_are_saturated_or_over_warmed() -> None:
    lines = dead(healthy_lines(steps=10), all_pass_share=0.97, right=0.99, format=1.0)
    assert codes(window_of(lines)) == ["saturated"]
    assert codes(window_of(changed(lines, entropy=0.003))) == ["over-warmed"]


def test_mixed_outcomes_with_equal_totals_cancel() -> None:
    assert codes(window_of(dead(healthy_lines(steps=10), right=0.6))) == ["rewards-cancel"]


def test_dead_groups_of_both_kinds_are_few_live() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=0.5, all_pass_share=0.5, right=0.5)
    (found,) = [one for one in diagnose_training(window_of(lines)) if one.is_serious]
    assert found.code == "few-live"
    assert "in 50 % all fail, in 50 % all pass" in found.evidence


def test_groups_of_one_text_are_degenerate_sampling() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=0.4, all_pass_share=0.6, right=0.6)
    assert first(window_of(lines, rollouts=rollouts(10, distinct=1 / 8))) == "sampling-degenerate"


def test_a_cold_sampler_is_blamed_although_its_entropy_is_gone() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=0.4, all_pass_share=0.6, right=0.6, entropy=0.001)
    looks = {"rollouts": rollouts(10, distinct=0.3)}
    assert first(window_of(lines, **looks, temperature=0.02)) == "sampling-degenerate"
    assert first(window_of(lines, **looks, temperature=1.0)) == "few-live"


def test_groups_live_on_format_with_few_right_answers_are_shaping_only() -> None:
    lines = changed(
        healthy_lines(steps=10), right=0.01, live_share=0.6, all_fail_share=0.4, all_pass_share=0.0
    )
    assert "shaping-only" in codes(window_of(lines))
    lines = changed(healthy_lines(steps=10), live_share=0.8, outcome_live_share=0.1, right=0.5)
    assert first(window_of(lines)) == "shaping-only"


# -- the cap -------------------------------------------------------------------------------------


def test_the_small_warm_start_that_looked_alive_never_stops() -> None:
    # Seen: truncated 99 %, format 0, 62 % of the groups live, outcome reward rising.
    lines = moving(healthy_lines(steps=40), "right", 0.2, 0.5, 0.05)
    lines = changed(lines, truncated_share=0.99, format=0.0, live_share=0.62, completion_tokens=160.0)
    found = diagnose_training(window_of(lines))
    assert [one.code for one in found] == ["never-stops"]
    assert "62 % live groups are no health here" in found[0].evidence
    assert decide(found, 0.62) is Decision.FIX


def test_completions_at_the_cap_without_answers_are_truncated() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=1.0, right=0.0, format=0.0, truncated_share=0.97)
    assert first(window_of(lines)) == "truncated"


def test_completions_at_the_cap_that_repeat_themselves_never_stop() -> None:
    lines = dead(healthy_lines(steps=10), all_fail_share=1.0, right=0.0, format=0.0, truncated_share=0.97)
    assert first(window_of(lines, rollouts=rollouts(10, runs_on=0.8))) == "never-stops"


def test_a_third_at_the_cap_is_a_warning() -> None:
    (found,) = [
        one
        for one in diagnose_training(window_of(changed(healthy_lines(steps=10), truncated_share=0.35)))
        if one.severity is not Severity.NOTE
    ]
    assert (found.code, found.severity) == ("truncated", Severity.WARNING)


# -- the course ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "jump", [{"grad_norm": 40.0}, {"entropy": 3.0}, {"entropy": 0.01}, {"kl": 4.0}], ids=str
)
def test_a_format_that_falls_with_a_jump_is_a_rate_too_large(seed: int, jump: dict[str, float]) -> None:
    lines = changed(
        healthy_lines(seed), 40, format=0.1, right=0.05, all_fail_share=0.9, live_share=0.1, **jump
    )
    assert codes(window_of(lines)) == ["rate-too-large", "collapse"]


def test_what_the_first_update_undoes_is_a_rate_too_large_and_no_cap_too_low() -> None:
    # Seen at thirty times the recipe's rate: from the second step on every completion runs into the cap.
    lines = changed(healthy_lines(steps=2), 1, format=0.0, right=0.0, truncated_share=1.0, live_share=0.0)
    found = diagnose_training(window_of(lines))
    assert first(window_of(lines)) == "rate-too-large"
    assert found[0].evidence.endswith("% to 0.0 % of the completions in one update")
    # A cap too low is there from the first step on.
    cut = changed(healthy_lines(steps=2), 0, format=0.0, right=0.0, truncated_share=1.0, live_share=0.0)
    assert first(window_of(cut)) == "truncated"


def test_a_run_ruined_within_a_dozen_steps_has_too_large_a_rate() -> None:
    lines = changed(healthy_lines(steps=12), 5, format=0.0, right=0.0, all_fail_share=1.0, live_share=0.0)
    assert first(window_of(lines)) == "rate-too-large"


def test_a_late_fall_without_a_jump_is_a_collapse_that_explains_the_cap() -> None:
    lines = changed(healthy_lines(), 45, format=0.2, right=0.1, all_fail_share=0.8, truncated_share=0.95)
    found = diagnose_training(window_of(lines))
    assert [one.code for one in found] == ["collapse"]
    assert found[0].evidence.startswith("the format fell from 9")


def test_held_out_accuracy_below_half_of_its_best_is_a_collapse() -> None:
    evaluations = (Evaluation(10, wilson(160, 200)), Evaluation(50, wilson(60, 200)))
    found = diagnose_training(window_of(changed(healthy_lines(), right=0.6), evaluations=evaluations))
    assert [one.code for one in found] == ["collapse"]
    assert found[0].evidence == "held-out strict accuracy fell from 80.0 % at step 10 to 30.0 % at step 50"


def test_a_grad_spike_alone_is_nothing() -> None:
    lines = healthy_lines()
    lines[30]["grad_norm"] = 60.0
    assert codes(window_of(lines)) == []


def test_a_rising_reward_with_falling_held_out_accuracy_is_hacking() -> None:
    lines = moving(healthy_lines(), "right", 0.4, 0.9, 0.04)
    evaluations = (
        Evaluation(1, wilson(120, 200)),
        Evaluation(30, wilson(110, 200)),
        Evaluation(60, wilson(70, 200)),
    )
    found = diagnose_training(window_of(lines, evaluations=evaluations))
    assert [one.code for one in found] == ["hacking"]
    assert "fell from 60.0 % at step 1 to 35.0 % at step 60" in found[0].evidence
    steady = (*evaluations[:2], Evaluation(60, wilson(115, 200)))
    assert codes(window_of(lines, evaluations=steady)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"paid_wrong": 0.2},
        {"several_blocks": 0.5},
        {"reasoning_words": 3.0},
        {"several_numbers": 0.3},
        {"repeated_tags": 0.4},
        {"copied": 0.5},
        {"no_reasoning": 0.25},
    ],
    ids=str,
)
def test_rollouts_that_show_the_hole_are_hacking(change: dict[str, float]) -> None:
    lines = moving(healthy_lines(steps=20), "reward", 1.6, 2.2, 0.05)
    assert codes(window_of(lines, rollouts=rollouts(20, since=10, **change))) == ["hacking"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"copied": 0.6}, "60 % of the completions reason word for word as one of another problem does"),
        ({"reasoning_words": 0.4}, "have no reasoning before the answer"),
    ],
    ids=str,
)
def test_a_trick_that_was_there_from_the_start_is_hacking_too(change: dict[str, float], words: str) -> None:
    lines = moving(healthy_lines(steps=20), "reward", 1.6, 1.6, 0.05)
    found = diagnose_training(window_of(lines, rollouts=rollouts(20, **change)))
    assert words in next(one.evidence for one in found if one.code == "hacking")


def test_a_trick_that_is_rare_or_no_commoner_than_at_first_is_none() -> None:
    lines = moving(healthy_lines(steps=20), "reward", 1.6, 2.2, 0.05)
    assert codes(window_of(lines, rollouts=rollouts(20, repeated_tags=0.3))) == []
    assert codes(window_of(lines, rollouts=rollouts(20, since=10, copied=0.1))) == []


def test_what_most_completions_do_is_named_at_the_sixth_step_and_the_fifth_is_too_soon() -> None:
    lines = moving(healthy_lines(steps=6), "reward", 1.6, 2.2, 0.05)
    seen = rollouts(6, since=1, repeated_tags=0.9)
    found = diagnose_training(window_of(lines, rollouts=seen))
    assert "90 % of the completions write a tag more than once, 0 % had at the start" in [
        one.evidence for one in found if one.code == "hacking"
    ]
    assert codes(window_of(lines[:5], rollouts=seen[:5])) == []


def test_a_rough_start_that_training_mends_is_no_trick_although_most_completions_still_have_it() -> None:
    lines = moving(healthy_lines(steps=20), "reward", 1.6, 2.2, 0.05)
    mending = rollouts(10, repeated_tags=0.8) + rollouts(20, repeated_tags=0.6)[10:]
    assert codes(window_of(lines, rollouts=mending)) == []


@pytest.mark.parametrize(
    ("answer", "gold", "is_spray"),
    [
        ("12", "12", False),
        ("1,234.50 dollars", "1234.5", False),
        ("3/4", "3/4", False),
        ("1 2 3 4 5", "4", True),
        ("12 or 13", "12", True),
        ("(1, 2)", "(1, 2)", False),
        ("(1, 2), (3, 4)", "(1, 2)", True),
        ("twelve", "12", False),
    ],
)
def test_an_answer_with_more_numbers_than_the_gold_is_a_spray(answer: str, gold: str, is_spray: bool) -> None:
    row = {"step": 1, "problem_id": "a", "gold": gold, "rewards": {}}
    stats = RolloutStats.from_rows([row | {"text": DEFAULT_TAGS.wrap("it is so", answer)}], None)
    assert stats.several_numbers == float(is_spray)


def test_a_first_answer_full_of_working_is_a_spray_although_the_last_one_is_a_number() -> None:
    # Seen: a reward that searched the first block taught the tiny model to work there.
    text = "<answer>\n4*2=8.\nSo far that is 4+8=12.\n</answer>\n<answer>\n12\n</answer>"
    row = {"step": 1, "problem_id": "a", "gold": "12", "rewards": {}, "text": text}
    assert RolloutStats.from_rows([row], None).several_numbers == 1.0


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("<reasoning>\n...\n</reasoning>\n<answer>\n12\n</answer>", 1.0),
        ("<answer>12</answer>", 1.0),
        ("</answer>", 1.0),
        ("<reasoning>\n8 + 4\n</reasoning>\n<answer>\n12\n</answer>", 0.0),
        ("12", 0.0),
        ("", 0.0),
    ],
)
def test_nothing_but_tags_and_marks_before_the_answer_is_no_reasoning(text: str, share: float) -> None:
    row = {"step": 1, "problem_id": "a", "gold": "12", "rewards": {}, "text": text}
    assert RolloutStats.from_rows([row], None).no_reasoning == share


def test_repeated_tags_that_come_with_a_falling_reward_are_no_trick() -> None:
    # Seen: honest rewards, a rate at its full height from the first step; over by step 20.
    lines = moving(healthy_lines(steps=20), "reward", 1.9, 1.2, 0.05)
    assert "hacking" not in codes(window_of(lines, rollouts=rollouts(20, since=10, repeated_tags=0.24)))


def test_of_several_tricks_the_commonest_is_named() -> None:
    lines = moving(healthy_lines(steps=20), "reward", 1.6, 2.2, 0.05)
    seen = rollouts(20, since=10, repeated_tags=0.4, no_reasoning=0.6)
    (found,) = [one for one in diagnose_training(window_of(lines, rollouts=seen)) if one.code == "hacking"]
    assert (
        found.evidence == "60 % of the completions have no reasoning before the answer, 0 % had at the start"
    )


def test_reasoning_is_copied_if_two_problems_have_the_same_and_it_is_no_mere_line() -> None:
    long, short = "Mia packs 4 boxes of 12 pears.", "4 * 12 = 48."
    rows = [
        {"step": 1, "problem_id": name, "gold": "48", "text": DEFAULT_TAGS.wrap(words, "48"), "rewards": {}}
        for name, words in (
            ("a", long),
            ("a", long),
            ("b", long),
            ("c", short),
            ("d", short),
            ("d", f"{long} So."),
        )
    ]
    assert RolloutStats.from_rows(rows, None).copied == 0.5
    assert RolloutStats.from_rows(rows[:2], None).copied == 0.0


def test_format_up_and_answers_down_is_hacking_in_the_small() -> None:
    # Seen: strict format 0.81 → 0.98, correctness 0.07 → 0.03.
    lines = moving(healthy_lines(), "format", 0.81, 0.98, 0.02)
    lines = changed(
        moving(lines, "right", 0.07, 0.03, 0.005), live_share=0.55, all_fail_share=0.4, all_pass_share=0.0
    )
    assert "hacking" in codes(window_of(lines))


@pytest.mark.parametrize(
    "known",
    [{"usual_rate": 1e-3}, {"usual_rate": None}],
    ids=["a tenth of the usual", "a sum that moves nothing"],
)
def test_live_groups_and_nothing_that_moves_is_a_rate_too_small(known: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    lines = [
        changed(
            [line],
            right=float(random.normal(0.6, 0.05)),
            format=0.9,
            reward=float(random.normal(1.7, 0.1)),
            entropy=float(random.normal(0.3, 0.02)),
            learning_rate=1e-6,
        )[0]
        for line in healthy_lines(steps=80)
    ]
    (found,) = [
        one for one in diagnose_training(window_of(lines, **known)) if one.severity is not Severity.NOTE
    ]
    assert (found.code, found.severity) == ("rate-too-small", Severity.WARNING)
    assert codes(window_of(lines[:40], **known)) == []
    assert codes(window_of(changed(lines, learning_rate=1e-3), **known)) == []


# -- the numbers ---------------------------------------------------------------------------------


def test_a_null_gradient_is_broken_and_a_missing_one_is_not() -> None:
    window = TrainingWindow.from_metrics([{"grad_norm": None}, {"reward": 1.0}, {"loss": "NaN"}])
    assert window.broken_T.tolist() == [True, False, True]


def test_live_outcomes_are_bounded_by_the_right_answers() -> None:
    # 1 % right: at most 8 % of the groups of 8 have a right answer.
    window = window_of(changed(healthy_lines(steps=10), right=0.01, live_share=0.6))
    assert window.outcome_live == pytest.approx(0.08)


def test_the_best_window_ends_before_now() -> None:
    assert best_before(np.array([1.0, 2, 3, 9, 9, 9]), 3) == (2.0, 3)
    assert math.isnan(best_before(np.ones(5), 3)[0])


def test_a_rise_is_told_in_standard_errors() -> None:
    # Thirds 0 1 0 1 and 2 3 2 3: variances 1/3 each, so the error is √(2/3 / 4) = 0.408.
    gained, clear = rise(np.array([0.0, 1, 0, 1, 1, 1, 1, 1, 2, 3, 2, 3]))
    assert (gained, clear) == (2.0, pytest.approx(4.899, abs=1e-3))
    assert math.isnan(rise(np.arange(11.0))[0])
    assert rise(np.ones(12)) == (0.0, 0.0)


def test_noise_leaves_a_slow_course_and_a_jump_out() -> None:
    random = np.random.default_rng(0)
    values = np.linspace(0, 1, 400) + random.normal(0, 0.1, 400)
    values[200:] += 5
    assert noise(values) == pytest.approx(0.1, rel=0.15)


def test_rollout_rows_become_their_statistics() -> None:
    good = DEFAULT_TAGS.wrap("two and two are four", "4")
    rows = [
        {"step": 3, "problem_id": "a", "gold": "4", "text": good, "rewards": {NAMES[1]: 2.0}},
        {"step": 3, "problem_id": "a", "gold": "4", "text": good, "rewards": {NAMES[1]: 2.0}},
        {
            "step": 3,
            "problem_id": "b",
            "gold": "5",
            "text": good + "\n<answer>9</answer>",
            "rewards": {NAMES[1]: 2.0},
        },
        {"step": 3, "problem_id": "b", "gold": "5", "text": "and so on " * 9, "rewards": {NAMES[1]: None}},
    ]
    stats = RolloutStats.from_rows(rows, NAMES[1])
    assert stats == RolloutStats(
        3, 0.75, 0.25, reasoning_words=(5 * 3 + 27) / 4, paid_wrong=0.25, runs_on=0.5, repeated_tags=0.25
    )


def test_no_rollouts_are_refused() -> None:
    with pytest.raises(ValueError, match="no rollouts"):
        RolloutStats.from_rows([], None)


# -- the rate before it has done anything ---------------------------------------------------------


def test_the_usual_rate_falls_with_the_size_of_the_model_between_what_is_known() -> None:
    assert [usual_rate(size) for size in (10**5, 10**6)] == pytest.approx([1.5e-3, 1.5e-3])
    assert [usual_rate(size) for size in (1_500_000_000, 7 * 10**9)] == pytest.approx([1e-5, 1e-5])
    assert 1e-5 < usual_rate(494_000_000) < 3e-5


@pytest.mark.parametrize(("given", "code"), [(1.5e-4, "rate-too-small"), (1.5e-2, "rate-too-large")])
def test_a_tenth_or_ten_times_of_the_usual_rate_is_a_warning_from_the_first_steps_on(
    given: float, code: str
) -> None:
    window = window_of(healthy_lines(steps=6), usual_rate=1.5e-3, peak_rate=given)
    assert [
        (one.code, one.severity) for one in diagnose_training(window) if one.code != "healthy-zero-loss"
    ] == [(code, Severity.WARNING)]


@pytest.mark.parametrize("given", [3e-4, 1.5e-3, 7e-3])
def test_a_fifth_or_five_times_of_the_usual_rate_is_nobodys_business(given: float) -> None:
    assert codes(window_of(healthy_lines(steps=6), usual_rate=1.5e-3, peak_rate=given)) == []
