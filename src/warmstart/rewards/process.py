"""Rewards of one's own, each in a process that can be killed.

A reward function that a stranger wrote may raise, hang, return anything or end the interpreter, and one
that hangs inside a regular expression cannot be interrupted from within its process at all. So each runs
in a process of its own, asked over pipes in JSON. What it did wrong is kept beside the values: a
completion without a reward is not a completion with the reward 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from warmstart.errors import GraderError
from warmstart.rewards.files import RewardFile

START_CAP_S = 120.0
"""Wall-clock seconds that the import of a reward's file may take."""
_GRACE_S = 2.0
"""The process ends itself at the limit and says where it hung; this much later it is killed."""
_WORKER = Path(__file__).with_name("worker.py")
_FRAME = re.compile(r'  File "([^"\n]*)", line (\d+) in (\S+)')


class CallFault(NamedTuple):
    """What a reward did wrong in one call."""

    name: str
    kind: str
    """``raises``, ``times-out``, ``dies``, ``wrong-length`` or ``not-a-number``."""
    example: str
    rows: tuple[int, ...]
    """The completions it happened on, by their place in the call."""


class ProcessReward:
    """A reward function that TRL can call, run elsewhere: a list with a number, or None, per completion.

    None stands for the function's own None and for every completion on which it failed; what failed is in
    `take_faults`.

    Args:
        reward: The file and the function.
        limit_s: Wall-clock seconds that one call may take.
    """

    def __init__(self, reward: RewardFile, *, limit_s: float) -> None:
        self.__name__ = reward.name
        self.limit_s = limit_s
        self._reward = reward
        self._worker: _Worker | None = None
        self._faults: list[CallFault] = []

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        **columns: Any,  # noqa: ANN401
    ) -> list[float | None]:
        """Return the values; called again after it hung or died, it starts a new process.

        Raises:
            GraderError: If the file cannot be imported.
        """
        sent = {key: list(cells) for key, cells in columns.items() if isinstance(cells, list | tuple)}
        request = {
            "columns": {"prompts": list(prompts), "completions": list(completions), **sent},
            "state": _state(columns.get("trainer_state")),
            "limit_s": self.limit_s,
        }
        if self._worker is None:
            self._worker = _Worker(self._reward)
        answer = self._worker.ask(json.dumps(request, default=str), self.limit_s + _GRACE_S)
        if isinstance(answer, dict):
            self._keep(answer["faults"])
            return [None if value is None else float(value) for value in answer["values"]]
        late = self._worker.hung_at is not None or answer == "late"
        where = self._worker.hung_at or ""
        self.close()
        example = f"no answer within {self.limit_s:g} s{where}" if late else "its process died"
        everything = tuple(range(len(completions)))
        self._faults.append(CallFault(self.__name__, "times-out" if late else "dies", example, everything))
        return [None] * len(completions)

    def take_faults(self) -> list[CallFault]:
        """Return what went wrong since this was last asked."""
        taken, self._faults = self._faults, []
        return taken

    def close(self) -> None:
        """Kill the process, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _keep(self, faults: Sequence[Sequence[Any]]) -> None:
        kinds: dict[str, list[tuple[int, str]]] = {}
        for row, kind, example in faults:
            kinds.setdefault(kind, []).append((row, example))
        for kind, found in kinds.items():
            self._faults.append(CallFault(self.__name__, kind, found[0][1], tuple(row for row, _ in found)))


def _state(state: Any) -> Mapping[str, Any] | None:  # noqa: ANN401
    return (
        None if state is None else {key: getattr(state, key) for key in ("global_step", "max_steps", "epoch")}
    )


class _Worker:
    """One reward process and the thread that reads its answers."""

    def __init__(self, reward: RewardFile) -> None:
        self.hung_at: str | None = None
        self._file = str(reward.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), self._file, reward.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="ascii",
            errors="replace",
            start_new_session=True,  # so that what the function starts is killed with it
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._process, self._answers), daemon=True)
        self._reader.start()
        self._end = weakref.finalize(self, _end, self._process, self._reader)
        started = self._next_answer(START_CAP_S)
        if started != "ready":
            self.kill()
            why = started["import"] if isinstance(started, dict) else "its process does not start"
            raise GraderError(
                f"the reward {reward.name} of {reward.path} cannot be imported: {why}",
                f"to see why, run: {sys.executable} {reward.path}",
            )

    def ask(self, request: str, cap_s: float) -> Any:  # noqa: ANN401
        """Return the answer, ``late``, or ``dead``."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except OSError:
            return "dead"
        return self._next_answer(cap_s)

    def kill(self) -> None:
        self._end()

    def _next_answer(self, cap_s: float) -> Any:  # noqa: ANN401
        told: list[str] = []
        while True:
            try:
                line = self._answers.get(timeout=cap_s)
            except queue.Empty:
                return "late"
            if line.startswith(("{", '"')):
                return json.loads(line)
            if line:
                told.append(line)
                continue
            if told:
                self.hung_at = self._place("".join(told))
            return "dead"

    def _place(self, told: str) -> str:
        """Return where the function hung, from the stack that its process wrote."""
        mine = [found for found in _FRAME.finditer(told) if found[1] == self._file]
        return f", at {Path(self._file).name} line {mine[0][2]} in {mine[0][3]}" if mine else ""


def _read(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")  # the end: the process is gone


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    reader.join()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    # Closing flushes, and what was not sent before the process died cannot be.
    with contextlib.suppress(OSError):
        process.stdin.close()
