"""Calling reward functions as TRL's trainer does, and keeping what they do wrong instead of falling over."""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart.diagnosis import RewardFault
from warmstart.rewards.process import ProcessReward

RewardFunction = Callable[..., Any]
Fault = tuple[str, str]
"""Kind and example."""

TIME_LIMIT_S = 60.0
"""A reward that takes longer for one probe would take longer than the model, step after step."""


def call_rewards(
    functions: Sequence[RewardFunction],
    rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    *,
    time_limit_s: float = TIME_LIMIT_S,
) -> tuple[npt.NDArray[np.float64], tuple[RewardFault, ...]]:
    """Return each function's value for each completion and what the functions did wrong.

    NaN stands for None and for every value that is no finite number. A function that fails on the whole
    batch is called again row by row, so that one bad row does not hide the others.

    Args:
        functions: With TRL's signature, async ones too.
        rows: The data set's row of each completion, ``prompt`` among its columns.
        completions: Texts or conversations, as the data set's prompts are.
        completion_ids: Their tokens.
        time_limit_s: For one call; a function that hangs is left behind in its thread.

    Returns:
        Values of shape (completions, functions), and the faults.
    """
    values = np.full((len(rows), len(functions)), np.nan)
    faults: list[RewardFault] = []
    for column, function in enumerate(functions):
        if isinstance(function, ProcessReward):
            values[:, column], found_there = _call_process(function, rows, completions, completion_ids)
            faults += found_there
            continue
        name = getattr(function, "__name__", type(function).__name__)
        got, found = _call(function, rows, completions, completion_ids, time_limit_s)
        if found and found[0] in ("raises", "wrong-length") and len(rows) > 1:
            singles = [
                _call(
                    function, rows[i : i + 1], completions[i : i + 1], completion_ids[i : i + 1], time_limit_s
                )
                for i in range(len(rows))
            ]
            got = [one[0] if found is None else math.nan for one, found in singles]
            bad = [found for _, found in singles if found is not None]
            # A function that only fails on batches fails on every batch.
            faults.append(_fault(name, bad[0] if bad else found, len(bad) or len(rows), len(rows)))
        elif found:
            faults.append(_fault(name, found, len(rows), len(rows)))
        numbers, odd, undecided = _as_numbers(got, len(rows))
        values[:, column] = numbers
        if odd:
            faults.append(_fault(name, ("not-a-number", repr(odd[0])), len(odd), len(rows)))
        if undecided:
            faults.append(_fault(name, ("undecided", "None"), undecided, len(rows)))
    return values, tuple(faults)


def _fault(name: str, fault: Fault, rows: int, of: int) -> RewardFault:
    kind, example = fault
    return RewardFault(name, kind, rows, of, example)  # type: ignore[arg-type]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0] if key not in ("prompt", "completion")}


def _call_process(
    function: ProcessReward,
    rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
) -> tuple[list[float], list[RewardFault]]:
    """Return what a reward in a process of its own says; it keeps its own time and counts its own faults."""
    got = function(
        [row["prompt"] for row in rows],
        list(completions),
        completion_ids=[list(ids) for ids in completion_ids],
        **_columns(rows),
    )
    failed = function.take_faults()
    faults = [
        _fault(
            fault.name,
            ("raises" if fault.kind == "dies" else fault.kind, fault.example),
            len(fault.rows),
            len(rows),
        )
        for fault in failed
    ]
    undecided = got.count(None) - len({row for fault in failed for row in fault.rows})
    if undecided:
        faults.append(_fault(function.__name__, ("undecided", "None"), undecided, len(rows)))
    return [math.nan if value is None else value for value in got], faults


def _call(
    function: RewardFunction,
    rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    time_limit_s: float,
) -> tuple[list[Any], Fault | None]:
    keywords = {
        **_columns(rows),
        "prompts": [row["prompt"] for row in rows],
        "completions": list(completions),
        "completion_ids": [list(ids) for ids in completion_ids],
        "trainer_state": None,
        "log_extra": lambda *args: None,
        "log_metric": lambda *args: None,
    }
    got: list[Any] = []
    errors: list[BaseException] = []
    single: list[bool] = []

    def work() -> None:
        try:
            result: Any = function(**keywords)
            result = asyncio.run(result) if inspect.iscoroutine(result) else result
            # A function that forgot its return says None of every completion.
            single.append(result is not None and not isinstance(result, Iterable))
            got.extend([None] * len(rows) if result is None else [result] if single[0] else result)
        except BaseException as error:  # noqa: BLE001 - a stranger's function may raise anything, SystemExit too; it is reported.
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(time_limit_s)
    nothing = [math.nan] * len(rows)
    if thread.is_alive():
        return nothing, ("times-out", f"no answer within {time_limit_s:g} s")
    if errors:
        return nothing, ("raises", f"{type(errors[0]).__name__}: {errors[0]}")
    if single[0]:
        return nothing, ("wrong-length", f"it returned {got[0]!r}, not a value for each completion")
    if len(got) != len(rows):
        return nothing, ("wrong-length", f"{len(got)} values for {len(rows)} completions")
    return got, None


def _as_numbers(got: Sequence[Any], rows: int) -> tuple[list[float], list[Any], int]:
    """Return the values with NaN for what is no number, those that are none, and how many are None."""
    numbers, odd, undecided = [], [], 0
    for value in got:
        if value is None:
            undecided += 1
            numbers.append(math.nan)
        elif (number := _number(value)) is not None:
            numbers.append(number)
        else:
            # NaN that stands for a call that failed is a fault already.
            if not (isinstance(value, float) and math.isnan(value) and value is math.nan):
                odd.append(value)
            numbers.append(math.nan)
    return numbers, odd, undecided


def _number(value: object) -> float | None:
    """Return a value as the finite float TRL would make of it: booleans and scalars of arrays are numbers."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        # An array of several values has a `__float__` too.
        return None
    return number if math.isfinite(number) else None
