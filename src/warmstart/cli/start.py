"""What ``warmstart`` alone says: where to begin, or what the runs in this folder are waiting for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_BEGIN = (
    ("warmstart run", "see it: a model that ships learns to reason, offline, in minutes"),
    ("warmstart recipes", "the models and data that are prepared"),
    ("warmstart estimate RECIPE", "does it fit on this GPU, and how long does it take?"),
    ("warmstart probe RECIPE", "can GRPO learn from here? before any training"),
    ("warmstart run RECIPE", "probe, cure, train, measure, report; the same again goes on where it stopped"),
    ("warmstart recipes copy NAME", "a recipe of your own to change"),
    ("warmstart doctor", "what this machine lacks, and the command that fixes it"),
    ("warmstart --help", "every command"),
)
_MOST_RUNS = 5


def next_steps(here: Path) -> Iterator[str]:
    """Yield the lines that say what to do next; runs in ``here``/runs come first, the newest on top."""
    runs = [run for run in (_run(folder) for folder in _run_folders(here)) if run is not None]
    if runs:
        yield "Runs in this folder:"
        yield from _table(runs[:_MOST_RUNS])
        yield ""
    yield "Begin with:"
    yield from _table(list(_BEGIN))


def _run_folders(here: Path) -> list[Path]:
    found = [resolved.parent for resolved in here.glob("runs/*/resolved.json")]
    return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)


def _run(folder: Path) -> tuple[str, str] | None:
    """Return the command that goes on with a run and where the run stands; None if it cannot be read."""
    from warmstart.errors import RunDirError
    from warmstart.runs.directory import RunDir

    run = RunDir.open(folder)
    try:
        stages = list(run.finished_stages())
    except RunDirError:
        return None
    shown = folder.relative_to(folder.parents[1])
    if run.summary_path.exists():
        return f"warmstart report {shown}", f"has its results: {shown / run.report_path.name}"
    where = f"finished {stages[-1]}" if stages else "has just begun"
    # Not recipe.yaml: that is the recipe without what --set changed.
    return f"warmstart run {shown / run.resolved_path.name} --out {shown}", f"{where}; this goes on"


def _table(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max(len(command) for command, _ in rows)
    for command, about in rows:
        yield f"  {command:{width}}  {about}"
