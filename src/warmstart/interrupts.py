"""Being told to stop: at once where nothing is lost by it, at the end of the step where training is.

SIGTERM is what a scheduler sends before it takes the machine away; it ends the program with exit code 143.
Ctrl-C ends it with 130. Said a second time, either ends it at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""The exit code after SIGTERM."""
GRACE = "WARMSTART_GRACE_S"
"""The variable that says for how many seconds after SIGTERM a step may still go on. It is 25 without it: Kubernetes
and Slurm kill after 30. A longer step is given up, and the checkpoint before it counts."""


class Interrupts:
    """Whether the run was told to stop, and when it does.

    Attributes:
        asked: The signal that the run still has to obey; 0 for none.

    Args:
        say: Gets the line that says so.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = 0
        self._say = say
        self._is_deferred = False
        self._timer: threading.Timer | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C inside the block; only a program's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._timer is not None:
                self._timer.cancel()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Wait inside the block: the work in it looks at `asked` and ends by itself; then it is obeyed."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        self.obey()

    def obey(self) -> None:
        """End the program if it was asked to: after Ctrl-C as Python does, after SIGTERM with exit code 143."""
        if self.asked == signal.SIGTERM:
            # It passes through `except Exception`, tidies up on its way, and shows no traceback.
            raise SystemExit(TERMINATED)
        if self.asked:
            raise KeyboardInterrupt

    def _heard(self, number: int, frame: FrameType | None) -> None:
        is_second, self.asked = self.asked != 0, number
        if is_second or not self._is_deferred:
            self.obey()
        if number == signal.SIGTERM:
            self._say("told to stop (SIGTERM): after this step, with a checkpoint")
            # A second one ends it at once.
            grace_s = float(os.environ.get(GRACE, "25"))
            self._timer = threading.Timer(grace_s, os.kill, (os.getpid(), signal.SIGTERM))
            self._timer.daemon = True
            self._timer.start()
        else:
            self._say("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
