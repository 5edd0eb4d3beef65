"""What is printed with rich: results on stdout, the log on stderr; either reader may leave early."""

from __future__ import annotations

import os

from rich.console import Console
from rich.text import Text

from warmstart.visible import visible

_PIPED = 160
"""Columns of what is piped or kept in a file: no terminal gives a width, and 80 cut tables in two."""


class Results(Console):
    """Stdout. That its reader has gone, as in ``warmstart rollouts RUN | head``, ends the program and is no failure."""

    def __init__(self) -> None:
        super().__init__(highlight=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = _PIPED

    def say(self, text: str, style: str = "") -> None:
        """Print one line, in a pipe however long it is; model output in it cannot steer the terminal."""
        self.print(Text(visible(text), style), soft_wrap=not self.is_terminal)

    def on_broken_pipe(self) -> None:
        """Leave it to the program, which ends with 0; rich ends with 1.

        Raises:
            BrokenPipeError: Always.
        """
        raise BrokenPipeError


class Log(Console):
    """Stderr. A training does not end because nobody reads its log any more."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False)

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True
