from __future__ import annotations

import asyncio
import math
import sys
import time

import numpy as np
import torch

from warmstart.probing.reward_calls import call_rewards

ROWS = [{"prompt": "1 + 1?", "answer": "2"}, {"prompt": "2 + 2?", "answer": "4"}]
TEXTS = ["2", "five"]


def _call(*functions, **options):
    return call_rewards(functions, ROWS, TEXTS, [[1], [2]], **options)


def test_a_function_gets_what_trl_gives_it_and_its_values_come_back() -> None:
    def paid(prompts, completions, answer, completion_ids, trainer_state, **kwargs):
        assert prompts == ["1 + 1?", "2 + 2?"]
        assert completion_ids == [[1], [2]]
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    values, faults = _call(paid)
    assert values.tolist() == [[1.0], [0.0]]
    assert faults == ()


def test_an_async_function_is_awaited() -> None:
    async def paid(completions, **kwargs):
        return [1.0] * len(completions)

    assert _call(paid)[0].tolist() == [[1.0], [1.0]]


def test_a_function_that_ends_the_program_or_is_cancelled_has_raised() -> None:
    def quits(completions, **kwargs):
        sys.exit("no key")

    async def cancelled(completions, **kwargs):
        raise asyncio.CancelledError

    _, faults = _call(quits, cancelled)
    assert [(one.name, one.kind, one.rows) for one in faults] == [
        ("quits", "raises", 2),
        ("cancelled", "raises", 2),
    ]
    assert faults[0].example == "SystemExit: no key"


def test_a_row_that_raises_is_counted_and_the_others_keep_their_values() -> None:
    def number(completions, **kwargs):
        return [float(c) for c in completions]

    values, (fault,) = _call(number)
    assert values[0, 0] == 2.0
    assert math.isnan(values[1, 0])
    assert (fault.name, fault.kind, fault.rows, fault.of) == ("number", "raises", 1, 2)
    assert "could not convert" in fault.example


def test_the_wrong_length_none_and_what_is_no_number_are_told_apart() -> None:
    def short(completions, **kwargs):
        return [1.0]

    def undecided(completions, **kwargs):
        return [None, 1.0]

    def odd(completions, **kwargs):
        return ["yes", float("inf")]

    values, faults = _call(short, undecided, odd)
    assert [(f.name, f.kind, f.rows) for f in faults] == [
        ("short", "wrong-length", 2),
        ("undecided", "undecided", 1),
        ("odd", "not-a-number", 2),
    ]
    assert np.isnan(values[:, 2]).all()


def test_a_function_that_hangs_is_left_behind() -> None:
    def slow(completions, **kwargs):
        time.sleep(2)
        return [0.0, 0.0]

    values, (fault,) = _call(slow, time_limit_s=0.05)
    assert fault.kind == "times-out"
    assert np.isnan(values).all()


def test_booleans_and_scalars_of_arrays_are_numbers_as_they_are_to_trl() -> None:
    def flags(completions, **kwargs):
        return [np.bool_(True), False]

    def tensor(completions, **kwargs):
        return torch.tensor([0.5, 1.0])

    def several(completions, **kwargs):
        return [np.ones(2), "1.0"]

    values, faults = _call(flags, tensor, several)
    assert values[:, :2].tolist() == [[1.0, 0.5], [0.0, 1.0]]
    assert [(f.name, f.kind, f.rows) for f in faults] == [("several", "not-a-number", 2)]


def test_a_forgotten_return_is_none_for_every_completion_and_one_value_is_not_one_each() -> None:
    def forgot(completions, **kwargs):
        return None

    def single(completions, **kwargs):
        return 1.0

    _, faults = _call(forgot, single)
    assert [(f.name, f.kind, f.rows) for f in faults] == [
        ("forgot", "undecided", 2),
        ("single", "wrong-length", 2),
    ]
    assert faults[1].example == "it returned 1.0, not a value for each completion"
