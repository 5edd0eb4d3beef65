"""Equality of formulas by Math-Verify, in processes that can be killed.

Math-Verify guards itself with ``signal.alarm``, which fails outside the main thread, and sympy can
compute for ever where no signal reaches it. So it runs in processes of its own, started fresh (no
fork of a process that holds CUDA or threads), asked over pipes in JSON, and killed when an answer
takes longer than the cap. A killed or crashed process makes the comparison undecided and is
replaced; the counters say how often. The first process starts with the first comparison.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from warmstart.errors import GraderError

CAP_S = 5.0
"""Wall-clock seconds that one comparison may take."""

START_CAP_S = 120.0
"""Wall-clock seconds that a process may take to import sympy."""

MAX_CHARS = 20_000
"""Longest text that is sent to Math-Verify, in characters."""

_WORKER = Path(__file__).with_name("symbolic_worker.py")


class Outcome(StrEnum):
    """What came of one comparison."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    """The given text is not mathematics, or is too long."""
    GOLD_UNREADABLE = "gold_unreadable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """The process died."""
    FAILED = "failed"
    """The comparison raised an exception, or ran out of memory."""


class MatchOptions(NamedTuple):
    """The options of Math-Verify, by its own names where they have one."""

    latex: bool = True
    """Look for LaTeX."""
    expr: bool = True
    """Look for plain expressions."""
    precision: int = 6
    """Decimal places to which floats are compared."""
    strict: bool = True
    allow_set_relation_comp: bool = False


DEFAULT_OPTIONS = MatchOptions()


@dataclass(frozen=True)
class SymbolicCounts:
    """How often each thing has happened since the pool began."""

    asked: int = 0
    timeouts: int = 0
    crashes: int = 0
    failures: int = 0


class SymbolicPool:
    """A few grader processes, started when first needed. Every method may be called from any thread.

    Args:
        workers: Most processes at a time; a comparison waits for a free one, outside its cap.
        cap_s: Wall-clock seconds that one comparison may take.
    """

    def __init__(self, workers: int = 2, *, cap_s: float = CAP_S) -> None:
        self.counts = SymbolicCounts()
        self._cap_s = cap_s
        self._slots = threading.Semaphore(workers)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []

    def compare(self, gold: str, given: str, options: MatchOptions = DEFAULT_OPTIONS) -> Outcome:
        """Return what Math-Verify says of the two texts.

        Raises:
            GraderError: If no grader process can be started.
        """
        if len(gold) > MAX_CHARS:
            return Outcome.GOLD_UNREADABLE
        if len(given) > MAX_CHARS:
            return Outcome.UNREADABLE
        request = {"gold": gold, "given": given, "options": options._asdict()}
        with self._slots:
            outcome = self._ask(json.dumps(request))
        self._count(outcome)
        return outcome

    def close(self) -> None:
        """Kill the idle processes. The pool can be used again: it starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _ask(self, request: str) -> Outcome:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        worker = worker or _Worker()
        outcome = None
        try:
            outcome = worker.ask(request, self._cap_s)
        finally:
            # Interrupted, late or dead: its next line would answer the wrong question.
            if outcome is None or not worker.usable:
                worker.kill()
            else:
                with self._lock:
                    self._idle.append(worker)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        with self._lock:
            self.counts = replace(
                self.counts,
                asked=self.counts.asked + 1,
                timeouts=self.counts.timeouts + (outcome is Outcome.TIMEOUT),
                crashes=self.counts.crashes + (outcome is Outcome.CRASHED),
                failures=self.counts.failures + (outcome is Outcome.FAILED),
            )


class _Worker:
    """One grader process and the thread that reads its answers."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(_WORKER)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the pool
        )
        self.usable = True
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if self._next_answer(START_CAP_S) != "ready":
            self.kill()
            raise GraderError("Math-Verify did not start", f"To see why, run: {' '.join(command)}")

    def ask(self, request: str, cap_s: float) -> Outcome:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except OSError:
            self.usable = False
            return Outcome.CRASHED
        return Outcome(self._next_answer(cap_s))

    def kill(self) -> None:
        self.usable = False
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        # Closing flushes, and what was not sent before the process died cannot be.
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _next_answer(self, cap_s: float) -> str:
        try:
            answer = self._answers.get(timeout=cap_s)
        except queue.Empty:
            answer = Outcome.TIMEOUT
            self.usable = False
        if not answer:
            self.usable = False
        return answer or Outcome.CRASHED

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put("")  # the end: the process is gone


_pool: SymbolicPool | None = None
_pool_lock = threading.Lock()


def default_pool() -> SymbolicPool:
    """Return the pool that grading uses: one per process, its processes killed at exit."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = SymbolicPool()
            atexit.register(_pool.close)
        return _pool


@contextmanager
def counting(say: Callable[[str], None]) -> Iterator[None]:
    """Say at the end of the ``with`` block how many formulas could not be told in it, if there were any."""
    before = SymbolicCounts() if _pool is None else _pool.counts
    yield
    now = SymbolicCounts() if _pool is None else _pool.counts
    asked, late, dead, failed = (
        after - first for after, first in zip(astuple(now), astuple(before), strict=True)
    )
    if late or dead or failed:
        say(
            f"grading: {late + dead + failed:,} of {asked:,} formulas could not be told: {late:,} ran out of time, "
            f"{dead:,} took their process with them, {failed:,} failed"
        )


def _forget_pool() -> None:
    """Leave the grader processes to the parent: a forked child must not read its answers."""
    global _pool, _pool_lock
    if _pool is not None:
        atexit.unregister(_pool.close)
    _pool, _pool_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
