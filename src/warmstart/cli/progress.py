"""Progress on the terminal: bars with rate and time left, and single lines; all of it on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from warmstart import ranks
from warmstart.cli.console import Log
from warmstart.progress import Quiet, Task


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            "" if speed is None else f"{speed:,.1f} {task.fields['unit']}/s", style="progress.data.speed"
        )


class _Bar:
    def __init__(self, bars: Progress, task: RichTask) -> None:
        self._bars = bars
        self._task = task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._bars.update(self._task.id, advance=amount, note=note or self._task.fields["note"])


class Terminal:
    """Draws bars where stderr is a terminal; elsewhere it only says the lines."""

    def __init__(self) -> None:
        self._console = Log()

    @contextmanager
    def task(self, label: str, total: int, unit: str) -> Iterator[Task]:
        """Yield the bar of one piece of work; it disappears when the work is done."""
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        with bars:
            identity = bars.add_task(label, total=total, unit=unit, note="")
            yield _Bar(bars, bars.tasks[bars.task_ids.index(identity)])

    def say(self, line: str) -> None:
        """Show one line for good; model output in it cannot steer the terminal."""
        # A log is searched: its lines are not cut where a terminal would end.
        self._console.print(Text(plain(line)), soft_wrap=not self._console.is_terminal)


def terminal() -> Terminal | Quiet:
    """Return the terminal of the process that speaks; the others of a run show nothing."""
    return Terminal() if ranks.is_main() else Quiet()


def plain(text: str) -> str:
    """Return the text without the control characters that could steer a terminal."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable())


def quiet_libraries() -> None:
    """Keep the libraries' bars, hints and deprecations off the terminal; errors still come through."""
    import logging
    import os
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import datasets
    import transformers

    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
