"""What a process says of itself."""

from __future__ import annotations

import subprocess
import sys

from warmstart.environment import peak_rss_gb

CHILD = "from warmstart.environment import peak_rss_gb; print(peak_rss_gb())"


def test_the_peak_is_at_least_what_was_held_and_given_back() -> None:
    held = bytearray(b"x" * 300_000_000)
    del held
    assert peak_rss_gb() > 0.3


def test_the_peak_does_not_count_what_the_program_held_that_started_this_one() -> None:
    parent = (
        "import subprocess, sys\n"
        "held = bytearray(b'x' * 400_000_000)\n"
        f"print(subprocess.run([sys.executable, '-c', {CHILD!r}], capture_output=True, text=True).stdout)"
    )
    told = subprocess.run([sys.executable, "-c", parent], check=True, capture_output=True, text=True)
    assert 0 < float(told.stdout) < 0.3
