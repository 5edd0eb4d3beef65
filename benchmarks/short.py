"""A short form of every benchmark, and one table: what `make bench` runs, in about five minutes.

    python benchmarks/short.py

One round each, so the figures scatter; docs/results.md has those of the long forms, with their commands.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import grading
import live_share
import scaling
import step
import time_to_target
from arms import warm_adapter
from headline import Headline
from warmstart.cli.progress import quiet_libraries


def start_up() -> list[Headline]:
    """Return how long `warmstart --help` takes, the best of three."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "warmstart", "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return [Headline("warmstart --help", f"{min(times):.2f} s", "≤ 0.3 s")]


def headlines() -> Iterator[Headline]:
    """Yield the lines of the table, each benchmark in turn."""
    light: list[Callable[[], list[Headline]]] = [start_up, grading.short, scaling.short]
    for bench in light:
        yield from bench()
    adapter = warm_adapter(None)
    for trained in (step.short, live_share.short, time_to_target.short):
        yield from trained(adapter)


def main() -> int:
    """Print the table as it is measured."""
    quiet_libraries()
    print("| bench | seen | target |\n|---|---|---|")
    for line in headlines():
        print(f"| {line.bench} | {line.seen} | {line.target} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
