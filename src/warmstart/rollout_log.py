"""The rollout log: every completion of every GRPO step, a parquet file per step, and what is asked of it.

A question is answered in two passes. The first reads only the columns that the filters and the order
need, of only the steps asked for, and keeps four numbers of each completion found; the second reads the
texts of those that are shown, one step in memory at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart import durable
from warmstart.errors import ConfigError, RunDirError
from warmstart.records import Verdict

COLUMNS = {
    "step": "int64",
    "stage": "string",
    "group": "int64",
    "sample": "int64",
    "problem_id": "string",
    "question": "string",
    "gold": "string",
    "text": "string",
    "verdict": "string",
    "given": "string",
    "format": "bool",
    "why_not_strict": "string",
    "reward": "double",
    "advantage": "double",
    "live": "bool",
    "tokens": "int64",
    "log_prob": "double",
    "entropy": "double",
}
"""The columns of a file with Arrow's names of their types; ``rewards``, named numbers, comes after them."""

_KEY = ("step", "group", "sample")
_SPAN = re.compile(r"([0-9]{0,12})(?:(:)([0-9]{0,12}))?")

SORT_KEYS = ("advantage", "reward", "tokens")
"""The columns that completions can be sorted by."""

_ROW_GROUP, _ROW_GROUP_BYTES = 8_192, 32_000_000
"""Rows and bytes that are written together: enough to be read fast, few enough to be held."""

Files = Mapping[int, Path]
"""The file of each step, in order."""


def parse_steps(text: str) -> tuple[int | None, int | None]:
    """Return the first and the last step that ``N`` or ``A:B`` names; None where ``A:`` or ``:B`` is open.

    Raises:
        ConfigError: If it names none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None or not (found[1] or found[3]):
        raise ConfigError(
            f"--step {text!r} is not a step", "write 500, 100:200, 100: or :200; both ends count"
        )
    first, last = (int(found[place]) if found[place] else None for place in (1, 3))
    if not found[2]:
        return first, first
    if first is not None and last is not None and first > last:
        raise ConfigError(f"--step {text!r} ends before it begins", f"write {last}:{first}")
    return first, last


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for: a completion must meet all that are set.

    Attributes:
        steps: First and last step, None for an open end.
        problem: The problem's id.
        live: In a group whose rewards differ, or in one whose rewards are all equal.
        verdict: What the grader said of the answer.
        is_format: In the exact format or not.
        stage: The stage of the reward plan.
    """

    steps: tuple[int | None, int | None] = (None, None)
    problem: str | None = None
    live: bool | None = None
    verdict: Verdict | None = None
    is_format: bool | None = None
    stage: str | None = None

    def of_steps(self, files: Files) -> Files:
        """Return the files of the steps asked for."""
        first, last = self.steps
        return {
            step: path
            for step, path in files.items()
            if (first is None or step >= first) and (last is None or step <= last)
        }

    def expression(self) -> Any:  # noqa: ANN401
        """Return the filters on columns as Arrow's expression; None if there is none."""
        import pyarrow.compute as pc

        wanted = {
            "problem_id": self.problem,
            "live": self.live,
            "verdict": None if self.verdict is None else str(self.verdict),
            "format": self.is_format,
            "stage": self.stage,
        }
        found = None
        for column, value in wanted.items():
            if value is not None:
                equal = pc.field(column) == value
                found = equal if found is None else found & equal
        return found


@dataclass(frozen=True, slots=True)
class Selection:
    """The completions found, in the order asked for.

    Attributes:
        files: The log.
        keys_N: Step, group and sample of each, shape (completions, 3).
        is_sorted: Whether the order is another than the log's.
    """

    files: Files
    keys_N: npt.NDArray[np.int64]
    is_sorted: bool = False

    def __len__(self) -> int:
        return len(self.keys_N)

    def first(self, limit: int | None) -> Selection:
        """Return the first ``limit`` completions; all of them without one."""
        return Selection(self.files, self.keys_N[:limit], self.is_sorted)

    def groups(self) -> npt.NDArray[np.int64]:
        """Return step and group of every group with a completion among them, in order; shape (groups, 2)."""
        # One number per group: np.unique over rows of two sorts ten times as long.
        places = self.keys_N[:, 0] * (self.keys_N[:, 1].max(initial=0) + 1) + self.keys_N[:, 1]
        _, first = np.unique(places, return_index=True)
        return self.keys_N[np.sort(first), :2]

    def samples(self, step: int, group: int) -> set[int]:
        """Return which completions of a group are among them."""
        return set(self.keys_N[(self.keys_N[:, :2] == (step, group)).all(axis=1), 2].tolist())

    def tables(self) -> Iterator[Any]:
        """Yield the completions with all their columns as Arrow tables: a step each, or all if sorted."""
        if self.is_sorted and len(self):
            yield self._sorted_table()
        elif not self.is_sorted:
            yield from self._step_tables()

    def group_tables(self, limit: int | None = None) -> Iterator[Any]:
        """Yield the first ``limit`` groups that hold one of the completions, all their completions in each."""
        import pyarrow.compute as pc

        read, table = None, None
        for step, group in self.groups()[:limit].tolist():
            if step != read:
                read, table = step, read_step(self.files[step])
            assert table is not None
            yield table.filter(pc.field("group") == group)

    def _step_tables(self) -> Iterator[Any]:
        keys = self.keys_N[np.argsort(self.keys_N[:, 0], kind="stable")]
        for part in np.split(keys, np.flatnonzero(np.diff(keys[:, 0])) + 1):
            if len(part):
                table = read_step(self.files[int(part[0, 0])])
                wanted = set(map(tuple, part[:, 1:].tolist()))
                yield table.filter([place in wanted for place in _places(table)])

    def _sorted_table(self) -> Any:  # noqa: ANN401
        import pyarrow as pa

        table = pa.concat_tables(self._step_tables())
        keys = zip(table["step"].to_pylist(), _places(table), strict=True)
        at = {(step, *place): index for index, (step, place) in enumerate(keys)}
        return table.take([at[tuple(key)] for key in self.keys_N.tolist()])


def select(
    files: Files, filters: Filters, *, sort: str | None = None, lowest_first: bool = False
) -> Selection:
    """Return the completions that meet the filters, in the order of the log or by a column.

    Args:
        files: The log, as `RunDir.rollout_files` gives it.
        filters: What is asked for.
        sort: One of `SORT_KEYS`; its highest value comes first, what has no value last.
        lowest_first: The lowest value first.

    Raises:
        RunDirError: If a file is no rollout file.
    """
    import pyarrow.dataset as ds

    chosen = filters.of_steps(files)
    if not chosen:
        return Selection(files, np.empty((0, 3), dtype=np.int64))
    paths = list(dict.fromkeys(chosen.values()))
    with _readable(paths[0].parent):
        data = ds.dataset([str(path) for path in paths], schema=_schema(paths[0]), format="parquet")
        columns = [*_KEY, *([] if sort is None else [sort])]
        found = data.to_table(columns=columns, filter=filters.expression())
    order = [(key, "ascending") for key in _KEY]
    if sort is not None:
        order.insert(0, (sort, "ascending" if lowest_first else "descending"))
    found = found.sort_by(order)
    keys = np.column_stack([found[key].to_numpy() for key in _KEY])
    return Selection(files, keys, is_sorted=sort is not None)


def rows_of(tables: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the completions of Arrow tables, one after the other."""
    for table in tables:
        yield from table.to_pylist()


def write_jsonl(path: Path, tables: Iterable[Any]) -> int:
    """Write completions as lines of JSON, the whole file or none, and return how many they were."""
    count = 0
    with durable.replacing(path) as file:
        for row in rows_of(tables):
            file.write((durable.to_json(row) + "\n").encode("ascii"))
            count += 1
    return count


def write_parquet(path: Path, tables: Iterable[Any]) -> int:
    """Write completions as parquet, the whole file or none, and return how many they were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count, writer = 0, None
    with durable.replacing(path) as file, ExitStack() as stack:
        for table in _gathered(tables):
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(file, table.schema, compression="zstd"))
            writer.write_table(table)
            count += len(table)
        if writer is None:
            pq.write_table(pa.table({name: [] for name in COLUMNS}), file)
    return count


def _gathered(tables: Iterable[Any]) -> Iterator[Any]:
    """Yield the same rows in tables of a size that suits parquet."""
    import pyarrow as pa

    held: list[Any] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= _ROW_GROUP or sum(one.nbytes for one in held) >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def read_step(path: Path) -> Any:  # noqa: ANN401
    """Return the completions of one step as an Arrow table.

    Raises:
        RunDirError: If the file is no rollout file.
    """
    import pyarrow.parquet as pq

    with _readable(path):
        return pq.read_table(path)


def _schema(path: Path) -> Any:  # noqa: ANN401
    """Return the columns that are filtered and sorted by, each file's own others left aside."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    there = pq.read_schema(path).names
    missing = [name for name in COLUMNS if name not in there]
    if missing:
        raise RunDirError(
            f"{path} has no column {missing[0]!r}",
            "another version of warmstart wrote it; read it with pandas.read_parquet, or run again",
        )
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def _places(table: Any) -> list[tuple[int, int]]:  # noqa: ANN401
    return list(zip(table["group"].to_pylist(), table["sample"].to_pylist(), strict=True))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a broken file into our words."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise RunDirError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            "a file of the log is damaged; move it away to read the others",
        ) from error
