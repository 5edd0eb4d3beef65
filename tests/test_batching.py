from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.batching import plan_batches
from warmstart.errors import ConfigError


def test_sixteen_problems_of_eight_in_micro_batches_of_thirty_two_accumulate_four_times() -> None:
    plan = plan_batches(16, 8, micro_batch=32)
    assert (plan.per_device, plan.accumulation, plan.completions_per_step) == (32, 4, 128)


def test_without_a_micro_batch_a_process_takes_its_whole_share_at_once() -> None:
    plan = plan_batches(16, 8, processes=2)
    assert (plan.per_device, plan.accumulation, plan.completions_per_step) == (64, 1, 128)


def test_an_impossible_micro_batch_is_answered_with_the_three_nearest() -> None:
    with pytest.raises(ConfigError, match=r"grpo\.micro_batch 12 does not divide the 128") as caught:
        plan_batches(16, 8, micro_batch=12)
    assert caught.value.hint == "grpo.micro_batch can be 4 or 8 or 16"


def test_completions_that_do_not_divide_among_processes_are_answered_with_problems_per_step() -> None:
    with pytest.raises(
        ConfigError, match=r"5 × grpo\.group_size 4 = 20 completions do not divide among 8"
    ) as caught:
        plan_batches(5, 4, processes=8)
    assert caught.value.hint == "grpo.problems_per_step can be 2 or 4 or 6"


@given(st.integers(1, 64), st.integers(2, 64), st.integers(1, 256), st.integers(1, 16))
def test_every_plan_is_what_trl_accepts_and_every_hint_is_a_plan(problems, group, micro, processes) -> None:
    try:
        plan = plan_batches(problems, group, micro_batch=micro, processes=processes)
    except ConfigError as error:
        for value in map(int, error.hint.split(" can be ")[1].split(" or ")):
            if "micro_batch" in error.hint:
                plan_batches(problems, group, micro_batch=value, processes=processes)
            else:
                plan_batches(value, group, processes=processes)
    else:
        assert (
            plan.per_device * plan.accumulation * processes == problems * group == plan.completions_per_step
        )
        assert plan.completions_per_step % group == 0
