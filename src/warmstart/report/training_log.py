"""The rollout log seen from afar: a line per group, whatever the number of completions.

Only the columns of numbers are read, a file at a time: a million completions take a few seconds.
Array suffix: ``_N`` groups, in the order of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart.runs.rollout_log import Files, columns_of

_COLUMNS = ("step", "stage", "group", "problem_id", "verdict", "format", "live")


@dataclass(frozen=True, slots=True)
class GroupLog:
    """The groups of a run.

    Attributes:
        step_N: The training step.
        group_N: Place in the step.
        size_N: Completions.
        told_N: Completions of which it could be told whether they are right.
        right_N: Right ones.
        strict_wrong_N: Wrong ones in the exact format.
        live_N: Whether the rewards differ.
        problem_N: The problem's id.
        stage_N: Stage of the reward plan, None without one.
    """

    step_N: npt.NDArray[np.int64]
    group_N: npt.NDArray[np.int64]
    size_N: npt.NDArray[np.int64]
    told_N: npt.NDArray[np.int64]
    right_N: npt.NDArray[np.int64]
    strict_wrong_N: npt.NDArray[np.int64]
    live_N: npt.NDArray[np.bool_]
    problem_N: npt.NDArray[np.object_]
    stage_N: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return self.step_N.size

    @property
    def solve_rate_N(self) -> npt.NDArray[np.float64]:
        """Return the share of right completions; NaN where none could be told."""
        return np.where(self.told_N > 0, self.right_N / np.maximum(self.told_N, 1), np.nan)

    def kind(self, index: int) -> str:
        """Return ``live``, or which kind of dead: ``all pass``, ``all fail``."""
        if self.live_N[index]:
            return "live"
        rate = self.solve_rate_N[index]
        return "all pass" if rate == 1 else "all fail" if rate == 0 else "dead"

    def stage_changes(self) -> list[tuple[int, str]]:
        """Return the step at which each stage of the reward plan began."""
        changes: list[tuple[int, str]] = []
        for step, stage in zip(self.step_N.tolist(), self.stage_N.tolist(), strict=True):
            if stage is not None and (not changes or changes[-1][1] != stage):
                changes.append((step, stage))
        return changes


def read_groups(files: Files) -> GroupLog | None:
    """Return the groups of the log; None if there are none.

    Raises:
        RunDirError: If a file of the log cannot be read.
    """
    import pyarrow as pa

    tables = [_grouped(table) for table in columns_of(files, _COLUMNS) if len(table)]
    if not tables:
        return None
    table = pa.concat_tables(tables).sort_by([("step", "ascending"), ("group", "ascending")])

    def numbers(name: str) -> Any:  # noqa: ANN401
        return table[name].to_numpy(zero_copy_only=False)

    return GroupLog(
        step_N=numbers("step"),
        group_N=numbers("group"),
        size_N=numbers("verdict_count"),
        told_N=numbers("told_sum").astype(np.int64),
        right_N=numbers("right_sum").astype(np.int64),
        strict_wrong_N=numbers("strict_wrong_sum").astype(np.int64),
        live_N=numbers("live_min").astype(bool),
        problem_N=np.array(table["problem_id_min"].to_pylist(), dtype=object),
        stage_N=np.array(table["stage_min"].to_pylist(), dtype=object),
    )


def _grouped(table: Any) -> Any:  # noqa: ANN401
    import pyarrow as pa
    import pyarrow.compute as pc

    verdict = pc.fill_null(table["verdict"], "undecided")
    wrong = pc.and_(table["format"], pc.is_in(verdict, pa.array(["wrong"])))
    counted = {
        "told": pc.cast(pc.not_equal(verdict, "undecided"), pa.int64()),
        "right": pc.cast(pc.equal(verdict, "correct"), pa.int64()),
        "strict_wrong": pc.cast(wrong, pa.int64()),
    }
    for name, column in counted.items():
        table = table.append_column(name, column)
    found = table.group_by(["step", "group"], use_threads=False).aggregate(
        [
            *((name, "sum") for name in counted),
            *((name, "min") for name in ("live", "problem_id", "stage")),
            ("verdict", "count", pc.CountOptions(mode="all")),
        ]
    )
    return found.cast(_schema(found.schema))


def _schema(found: Any) -> Any:  # noqa: ANN401
    """Return one schema for all files: a column that is all null has another type in one of them."""
    import pyarrow as pa

    texts = {"problem_id_min", "stage_min"}
    return pa.schema([(field.name, pa.string() if field.name in texts else field.type) for field in found])
