"""The files of the rollout log: a step each, and every hundred packed into one; what a resumed run takes back.

Killed at any moment, the folder still holds every step, and where two files hold one the packed one counts.
"""

from __future__ import annotations

from pathlib import Path

from warmstart.runs import rollout_log


def single(folder: Path, step: int) -> Path:
    """Return the file of one step while it is not packed."""
    return folder / f"step-{step:06d}.parquet"


def find(folder: Path) -> dict[int, Path]:
    """Return the file in which each step is, in order.

    A packed file stands for all steps from its first to its last, whether the trainer drew completions in
    each of them or not.
    """
    files = _singles(folder)
    for (first, last), path in _packed(folder).items():
        files |= dict.fromkeys(range(first, last + 1), path)
    return dict(sorted(files.items()))


def pack(folder: Path) -> None:
    """Put the steps that have files of their own into one, if there are a hundred."""
    packed, steps = _packed(folder), sorted(_singles(folder))
    steps = [step for step in steps if not any(first <= step <= last for first, last in packed)]
    if len(steps) < rollout_log.PACK:
        return
    target = _pack_path(folder, steps[0], steps[-1])
    rollout_log.pack([single(folder, step) for step in steps], target)
    for step, path in _singles(folder).items():
        if step <= steps[-1]:
            path.unlink()


def drop(folder: Path, after: int) -> None:
    """Delete the completions of every step later than ``after``."""
    for step, path in _singles(folder).items():
        if step > after:
            path.unlink()
    for (first, last), path in _packed(folder).items():
        if first <= after < last:
            # The rest first: killed in between, it leaves both, and the next time cuts the longer one again.
            rollout_log.head(path, _pack_path(folder, first, after), after)
        if last > after:
            path.unlink()


def _singles(folder: Path) -> dict[int, Path]:
    return {int(path.stem[5:]): path for path in folder.glob("step-*.parquet")}


def _packed(folder: Path) -> dict[tuple[int, int], Path]:
    spans = {path: path.stem.split("-") for path in folder.glob("steps-*-*.parquet")}
    return {(int(first), int(last)): path for path, (_, first, last) in spans.items()}


def _pack_path(folder: Path, first: int, last: int) -> Path:
    return folder / f"steps-{first:06d}-{last:06d}.parquet"
