"""The rollout log: every completion of every GRPO step in parquet, and what is asked of it.

A step is a file; every hundred files are packed into one, because opening a file takes as long as reading
thousands of its rows. A question is answered in two passes. The first reads only the columns that the
filters and the order need, of only the steps asked for, and keeps four numbers of each completion found;
the second reads the texts of those that are shown, one row group in memory at a time.
"""

from __future__ import annotations

import functools
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from warmstart.errors import ConfigError, RunDirError
from warmstart.records import Verdict
from warmstart.runs import durable

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

PACK = 100
"""Steps that are packed into one file."""
_ROW_GROUP, _ROW_GROUP_BYTES = 8_192, 32_000_000
"""Rows and bytes that are written together: enough to be read fast, few enough to be held."""

Files = Mapping[int, Path]
"""The file in which each step is, in order."""


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
        """Return the files in which the steps asked for are."""
        first, last = self.steps
        return {
            step: path
            for step, path in files.items()
            if (first is None or step >= first) and (last is None or step <= last)
        }

    def expression(self) -> Any:  # noqa: ANN401
        """Return the filters as Arrow's expression; None if there is none."""
        import pyarrow.compute as pc

        values = {
            "problem_id": self.problem,
            "live": self.live,
            "verdict": None if self.verdict is None else str(self.verdict),
            "format": self.is_format,
            "stage": self.stage,
        }
        wanted = [pc.field(column) == value for column, value in values.items() if value is not None]
        first, last = self.steps
        wanted += [] if first is None else [pc.field("step") >= first]
        wanted += [] if last is None else [pc.field("step") <= last]
        return functools.reduce(operator.and_, wanted) if wanted else None


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
        """Yield the completions with all their columns as Arrow tables; as one table if they are sorted."""
        tables = _matching(self.files, self.keys_N)
        if not self.is_sorted:
            yield from tables
        elif len(self):
            yield self._in_order(tables)

    def group_tables(self, limit: int | None = None) -> Iterator[Any]:
        """Yield the first ``limit`` groups that hold one of the completions, all their completions in each."""
        groups = self.groups()[:limit]
        tables = (
            ((step, group), table)
            for whole in _matching(self.files, groups)
            for step, group, table in _cut(whole)
        )
        if not self.is_sorted:
            yield from (table for _, table in tables)
            return
        held = dict(tables)
        yield from (held[step, group] for step, group in groups.tolist())

    def _in_order(self, tables: Iterable[Any]) -> Any:  # noqa: ANN401
        import pyarrow as pa

        table = pa.concat_tables(tables)
        at = {key: index for index, key in enumerate(_keys(table, 3))}
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


def columns_of(files: Files, names: Iterable[str]) -> Iterator[Any]:
    """Yield some columns of the whole log, a table per file.

    Raises:
        RunDirError: If a file is no rollout file.
    """
    import pyarrow.parquet as pq

    wanted = list(names)
    for path in dict.fromkeys(files.values()):
        with _readable(path):
            _schema(path)
            table = pq.read_table(path, columns=wanted, use_threads=False)
        yield table


def rows_of(tables: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Yield the completions of Arrow tables, one after the other."""
    for table in tables:
        yield from table.to_pylist()


def pack(paths: Iterable[Path], packed: Path) -> None:
    """Write the completions of several files into one."""
    import pyarrow.parquet as pq

    # Threads cost more than they save on files this small.
    write_parquet(packed, (pq.ParquetFile(path).read(use_threads=False) for path in paths))


def head(path: Path, kept: Path, last: int) -> None:
    """Write the completions of a file's steps up to ``last`` into another."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = (file.read_row_group(index) for index in range(file.num_row_groups))
        write_parquet(kept, (table.filter(pc.less_equal(table["step"], last)) for table in groups))


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
    import pyarrow.parquet as pq

    count, writer = 0, None
    with durable.replacing(path) as file, ExitStack() as stack:
        for table in _gathered(tables):
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(file, table.schema, compression="zstd"))
            writer.write_table(table)
            count += len(table)
        if writer is None:
            pq.write_table(_columns().empty_table(), file)
    return count


def _gathered(tables: Iterable[Any]) -> Iterator[Any]:
    """Yield the same rows in tables of a size that suits parquet."""
    import pyarrow as pa

    held: list[Any] = []
    rows = size = 0
    for table in tables:
        held.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= _ROW_GROUP or size >= _ROW_GROUP_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_tables(held)


def _matching(files: Files, keys_N: npt.NDArray[np.int64]) -> Iterator[Any]:
    """Yield the completions, or the groups, that the keys name, in the order of the log: a table a row group."""
    import pyarrow.parquet as pq

    wanted: dict[Path, set[tuple[int, ...]]] = {}
    for key in keys_N[np.argsort(keys_N[:, 0], kind="stable")].tolist():
        wanted.setdefault(files[key[0]], set()).add(tuple(key))
    for path, keys in wanted.items():
        steps = {key[0] for key in keys}
        with _readable(path), pq.ParquetFile(path) as file:
            for index in range(file.num_row_groups):
                seen = file.metadata.row_group(index).column(0).statistics
                if any(seen.min <= step <= seen.max for step in steps):
                    table = file.read_row_group(index)
                    found = table.filter([key in keys for key in _keys(table, keys_N.shape[1])])
                    if len(found):
                        yield found


def _keys(table: Any, width: int) -> list[tuple[int, ...]]:  # noqa: ANN401
    return list(zip(*(table[name].to_pylist() for name in _KEY[:width]), strict=True))


def _cut(table: Any) -> Iterator[tuple[int, int, Any]]:  # noqa: ANN401
    """Yield step, group and completions of each group: they stand together."""
    start = 0
    for (step, group), keys in itertools.groupby(_keys(table, 2)):
        size = len(list(keys))
        yield step, group, table.slice(start, size)
        start += size


def _schema(path: Path) -> Any:  # noqa: ANN401
    """Return the columns that are filtered and sorted by.

    Raises:
        RunDirError: If the file lacks one.
    """
    import pyarrow.parquet as pq

    there = pq.read_schema(path).names
    missing = [name for name in COLUMNS if name not in there]
    if missing:
        raise RunDirError(
            f"{path} has no column {missing[0]!r}",
            "another version of warmstart wrote it; read it with pandas.read_parquet, or run again",
        )
    return _columns()


def _columns() -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a broken file into our words."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise RunDirError(
            f"{path} has changed while it was read", "the run goes on and has packed its log; ask again"
        ) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise RunDirError(
            f"{path} cannot be read: {str(error).splitlines()[0]}",
            "a file of the log is damaged; move it away to read the others",
        ) from error
