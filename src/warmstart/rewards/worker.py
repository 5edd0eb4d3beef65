"""The program of one reward process: runs a reward function from a file that a recipe names.

`warmstart.rewards.process` starts this file as a script. One line of JSON in, one out: nothing is ever
unpickled, and a function that hangs, leaks or brings the interpreter down takes only this process with it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib.util
import inspect
import itertools
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, TextIO

Fault = tuple[str, str]
"""Kind and example."""
RAISED = (Exception, SystemExit, asyncio.CancelledError)
"""What a stranger's code may raise: anything, and nobody presses Ctrl-C in this process."""


def answer_to(function: Callable[..., Any], columns: Mapping[str, list[Any]], state: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the values of the completions, null where there is none, and the faults with their rows.

    A function that fails on the whole batch is called again row by row, so that one bad row does not
    take the others with it.
    """
    count = len(columns["completions"])
    values, fault = _call(function, columns, state)
    if fault is not None and count > 1:
        singles = [
            _call(function, {key: cells[row : row + 1] for key, cells in columns.items()}, state)
            for row in range(count)
        ]
        bad = [(row, *found) for row, (_, found) in enumerate(singles) if found is not None]
        # A function that fails on batches alone fails on every batch.
        faults = bad or [(row, *fault) for row in range(count)]
        values = [None if bad_row else one[0] for one, bad_row in singles] if bad else [None] * count
    else:
        faults = [] if fault is None else [(row, *fault) for row in range(count)]
    numbers = []
    for row, value in enumerate(values):
        number, odd = _number(value)
        numbers.append(number)
        if odd:
            faults.append((row, "not-a-number", odd))
    return {"values": numbers, "faults": faults}


def _call(
    function: Callable[..., Any],
    columns: Mapping[str, list[Any]],
    state: Any,  # noqa: ANN401
) -> tuple[list[Any], Fault | None]:
    count = len(columns["completions"])
    nothing: list[Any] = [None] * count
    try:
        got = function(**_accepted(function, columns, state))
        if inspect.iscoroutine(got):
            got = asyncio.run(got)
        if isinstance(got, str | bytes | Mapping) or not isinstance(got, Iterable):
            return nothing, ("wrong-length", f"it returned {_short(got)}, not a list of {count} numbers")
        # One more than wanted is enough to see that there are too many, of an endless generator too.
        values = list(itertools.islice(got, count + 1))
    except RAISED as error:
        return nothing, ("raises", f"{type(error).__name__}: {_short(error)}{_where(error, function)}")
    if len(values) != count:
        found = f"more than {count}" if len(values) > count else str(len(values))
        return nothing, ("wrong-length", f"it returned {found} values for {count} completions")
    return values, None


def _accepted(function: Callable[..., Any], columns: Mapping[str, list[Any]], state: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what TRL gives a reward, or of it what the function names if it takes no ``**kwargs``."""
    given = {
        **columns,
        "trainer_state": state,
        "log_extra": lambda *args: None,
        "log_metric": lambda *args: None,
    }
    taken = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values()):
        return given
    return {key: value for key, value in given.items() if key in taken}


def _number(value: Any) -> tuple[float | None, str]:  # noqa: ANN401
    """Return the value as a number, None if there is none, and what it is if it is neither."""
    if value is None:
        return None, ""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    return (number, "") if math.isfinite(number) else (None, _short(value))


def _short(value: object) -> str:
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except Exception as error:  # noqa: BLE001 - a stranger's __repr__ may raise anything.
        text = f"{type(value).__name__} ({type(error).__name__} when shown)"
    return text if len(text) <= 200 else text[:199] + "…"


def _where(error: BaseException, function: Callable[..., Any]) -> str:
    file = inspect.getfile(function)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]})" if lines else ""


def load(path: str, name: str) -> Callable[..., Any]:
    """Return the function of the file, whose neighbours it can import."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("warmstart_reward_file", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[..., Any] = getattr(module, name)
    return function


def main(path: str, name: str) -> None:
    """Answer one request per line until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever the function prints must not look like an answer
    try:
        function = load(path, name)
    except RAISED as error:
        _say(answers, {"import": f"{type(error).__name__}: {_short(error)}"})
        return
    _say(answers, "ready")
    for line in sys.stdin:
        request = json.loads(line)
        state = None if request["state"] is None else SimpleNamespace(**request["state"])
        # Written by a thread that needs no lock of the interpreter; it says where the function hangs and
        # ends this process, even when the parent is gone.
        faulthandler.dump_traceback_later(request["limit_s"], exit=True, file=answers)
        answer = answer_to(function, request["columns"], state)
        faulthandler.cancel_dump_traceback_later()
        _say(answers, answer)


def _say(answers: TextIO, answer: object) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
