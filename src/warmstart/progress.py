"""What long work reports while it runs; the command line draws it, everything else stays quiet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """A piece of work with a known length."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Say that ``amount`` more units are done; ``note`` is the live line beside the bar."""


class Progress(Protocol):
    """Shows tasks and says single lines."""

    def task(self, label: str, total: int, unit: str) -> AbstractContextManager[Task]:
        """Return a context in which the task is shown."""

    def say(self, line: str) -> None:
        """Show one line for good."""


class _QuietTask:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


class Quiet:
    """Shows nothing."""

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Yield a task that shows nothing."""
        yield _QuietTask()

    def say(self, line: str) -> None:
        """Drop the line."""
