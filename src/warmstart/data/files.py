"""Local jsonl, json, csv and parquet files, by column mapping."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from warmstart.config.schema import ColumnMap, DataConfig
from warmstart.errors import DataError
from warmstart.grading.notation import boxes
from warmstart.records import Problem

_KINDS = (".jsonl", ".json", ".csv", ".parquet")
_HALF = re.compile("[\ud800-\udfff]")
_LONGEST_CELL = 2**30
"""Python's own limit of 128 KiB is met by worked solutions."""
_UNIT_BEHIND = re.compile(r"(-?[\d.,/ ]*\d)[ ]*\((?!mod\b)[^()]*\)")
_WHOLE_NUMBER = re.compile(r"\d{1,6}")


def splits(config: DataConfig) -> tuple[list[Problem], list[Problem] | None]:
    """Return the problems of the training file and of the held-out one; None without one."""
    held_out = None if config.eval_path is None else load(config.eval_path, config.columns)
    return load(str(config.path), config.columns), held_out


def load(path: str, columns: ColumnMap) -> list[Problem]:
    """Return the problems of one file, in its order.

    Raises:
        DataError: If the file, a row or a column cannot be read.
    """
    return to_problems(read_rows(Path(path)), columns, where=path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a jsonl, json, csv or parquet file; blank lines are passed over.

    Raises:
        DataError: If it is not there, of another kind, or broken; for jsonl with the line.
    """
    if path.suffix not in _KINDS:
        raise DataError(
            f"{path} is none of {', '.join(_KINDS)}",
            "convert it, or load it from the Hub with data.source=hub",
        )
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check data.path and data.eval_path")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            parse = {".csv": _parse_csv, ".json": _parse_json}.get(path.suffix, _parse_jsonl)
            return parse(file, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", "save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", "make it readable") from error


def _parse_csv(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(lines)
    rows = []
    for row in reader:
        # A text with a comma and no quotes would shift into the next column, unseen.
        if None in row:
            raise DataError(
                f"{path} line {reader.line_num} has more cells than the header",
                "put texts with commas in double quotes",
            )
        rows.append(row)
    return rows


def parse_object(line: str, where: str) -> dict[str, Any]:
    """Return the JSON object that a line holds.

    Raises:
        DataError: If it holds none, with ``where``.
    """
    hint = "every line must be one JSON object"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg} at column {error.colno}", hint) from error
    except (ValueError, RecursionError) as error:
        # Whole numbers over Python's limit of digits, and nesting without end.
        raise DataError(f"{where} is not usable JSON: {error}", hint) from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is a {type(row).__name__}", hint)
    return row


def _parse_jsonl(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    return [
        parse_object(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()
    ]


def _parse_json(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    hint = "a .json file must be one list of objects; one object per line is .jsonl"
    try:
        rows = json.loads("".join(lines))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not usable JSON: {error}", hint) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} is not a list of objects", hint)
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path} cannot be read as parquet: {first}", "write it again; the file may be cut off"
        ) from error


def to_problems(rows: Iterable[Mapping[str, Any]], columns: ColumnMap, *, where: str) -> list[Problem]:
    r"""Return one problem per row.

    A gold that is a worked solution ending in ``#### N``, or in ``\boxed{N}``, is cut down to N; a unit in
    brackets behind a number, as in ASDiv's ``9 (apples)``, is left out. A row without an id gets its number.

    Raises:
        DataError: If a column is missing (with those there are), empty, or an id occurs twice.
    """
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        identity = (
            str(_cell(row, columns.id, "id", number, where)) if columns.id else f"{Path(where).name}-{number}"
        )
        if identity in seen:
            raise DataError(
                f"{where} row {number}: the id {identity!r} is that of row {seen[identity]} too",
                "make the ids unique, or leave out data.columns.id to use row numbers",
            )
        seen[identity] = number
        names = [columns.question] if isinstance(columns.question, str) else columns.question
        parts = [str(_cell(row, name, "question", number, where)).strip() for name in names]
        question = " ".join(parts)
        answer = str(_cell(row, columns.answer, "answer", number, where))
        rationale = _cell(row, columns.rationale, "rationale", number, where) if columns.rationale else None
        problems.append(
            Problem(
                id=identity,
                question=question,
                gold=_final(answer),
                rationale=None
                if rationale is None
                else str(rationale).rpartition("####")[0].strip() or str(rationale).strip(),
                family=_text(row, columns.family, "family", number, where),
                steps=_whole(_text(row, columns.steps, "steps", number, where)),
            )
        )
    return problems


def _final(answer: str) -> str:
    """Return the final answer of a gold: what a worked solution marks, without a unit in brackets behind it."""
    marked = answer.rpartition("####")[2].strip()
    if "####" not in answer and (found := boxes(marked)) and found[-1][2].strip() != marked:
        marked = found[-1][2].strip()
    with_unit = _UNIT_BEHIND.fullmatch(marked)
    return with_unit[1] if with_unit else marked


def _text(row: Mapping[str, Any], column: str | None, field: str, number: int, where: str) -> str | None:
    return None if column is None else str(_cell(row, column, field, number, where)).strip()


def _whole(text: str | None) -> int | None:
    found = None if text is None else _WHOLE_NUMBER.search(text)
    return None if found is None else int(found[0])


def _cell(row: Mapping[str, Any], column: str, field: str, number: int, where: str) -> Any:  # noqa: ANN401
    if column not in row:
        raise DataError(
            f"{where} row {number} has no column {column!r}; its columns are {', '.join(map(repr, row))}",
            f"say which one it is with --set data.columns.{field}=NAME",
        )
    value = row[column]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where} row {number}: {column!r} is empty", "fill it in, or leave the row out")
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise DataError(
            f"{where} row {number}: {column!r} is a {type(value).__name__}", "it must be a text or a number"
        )
    if isinstance(value, str) and (half := _HALF.search(value)):
        raise DataError(
            f"{where} row {number}: {column!r} holds half a character, U+{ord(half[0]):04X}",
            "no tokenizer can read it; write the text again as UTF-8",
        )
    return value
