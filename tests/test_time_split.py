"""Where a step's time goes and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from warmstart.time_split import TimeSplit, Work, best_lever
from warmstart.training.callbacks import generations_per_log, live_line, metrics_line

ON_CPU = Work(cap=100, longest=90, on_gpu=False, uses_vllm=False, checkpointing=False)
GENERATING = TimeSplit(generate_s=8.0, score_s=0.5, update_s=1.5)
SCORING = TimeSplit(generate_s=1.0, score_s=8.0, update_s=1.0)
UPDATING = TimeSplit(generate_s=2.0, score_s=0.0, update_s=8.0)


def test_the_update_is_what_is_left_of_the_step() -> None:
    line = metrics_line("grpo", 1, {"step_time": 10.0, "time/generate_s": 6.0, "time/score_s": 1.0})
    assert line["update_s"] == pytest.approx(3.0)
    assert TimeSplit.from_line(line) == TimeSplit(6.0, 1.0, 3.0)


def test_two_generations_in_a_step_count_twice_and_a_step_without_one_is_all_update() -> None:
    line = metrics_line("grpo", 1, {"step_time": 10.0, "time/generate_s": 2.0}, generations=2)
    assert (line["generate_s"], line["update_s"]) == (4.0, 6.0)
    assert metrics_line("grpo", 2, {"step_time": 3.0})["update_s"] == 3.0


@pytest.mark.parametrize(
    ("accumulation", "each", "iterations", "logging", "expected"),
    [(4, 4, 1, 1, 1.0), (8, 4, 1, 1, 2.0), (4, 4, 2, 1, 1.0), (4, 4, 2, 10, 0.5), (4, 8, 1, 10, 0.5)],
)
def test_generations_for_each_logged_step(accumulation, each, iterations, logging, expected) -> None:
    args = SimpleNamespace(
        gradient_accumulation_steps=accumulation,
        steps_per_generation=each,
        num_iterations=iterations,
        logging_steps=logging,
    )
    assert generations_per_log(args) == expected


def test_a_line_that_was_not_timed_has_no_split() -> None:
    assert TimeSplit.from_line({"stage": "sft", "loss": 1.0}) is None


def test_no_lever_is_named_when_no_part_takes_most_of_the_step() -> None:
    assert best_lever(TimeSplit(5.0, 0.0, 5.0), ON_CPU) is None


@pytest.mark.parametrize(
    ("split", "work", "said"),
    [
        (
            GENERATING,
            replace(ON_CPU, on_gpu=True),
            "80% of a step is generation: let vLLM generate (grpo.vllm=colocate)",
        ),
        (
            GENERATING,
            replace(ON_CPU, on_gpu=True, uses_vllm=True, cap=2048, longest=900),
            "lower grpo.max_completion_tokens from 2048",
        ),
        (
            GENERATING,
            replace(ON_CPU, switched_off={"fast rollouts": "a rollout_func generates"}),
            "because a rollout_func generates",
        ),
        (SCORING, ON_CPU, "80% of a step is scoring: a reward is slow"),
        (
            UPDATING,
            replace(ON_CPU, switched_off={"live rows only": "beta=0.1: the KL penalty acts on dead groups"}),
            "live rows only is off, because beta=0.1",
        ),
        (UPDATING, replace(ON_CPU, checkpointing=True), "gradient_checkpointing=false"),
    ],
)
def test_the_lever_is_the_one_of_the_part_that_dominates(split, work, said) -> None:
    assert said in str(best_lever(split, work))


@pytest.mark.parametrize("split", [GENERATING, UPDATING])
def test_nothing_is_advised_where_everything_is_done_already(split) -> None:
    assert best_lever(split, ON_CPU) is None


def test_the_live_line_shows_the_split() -> None:
    line = {"reward": 1.0, "grad_norm": 0.1, "step_s": 2.0, "generate_s": 1.0, "update_s": 1.0}
    assert "generate 50% update 50%" in live_line(line)
    assert GENERATING.describe() == "a step takes 10.0 s: generate 80%, score 5%, update 15%"
