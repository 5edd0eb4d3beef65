"""Files that survive a kill and a power cut: replaced whole, grown by whole lines, or folders under a seal.

JSON is ASCII, so that a lone surrogate comes back as it was, and strict: a number that is not finite is
written as null. Parquet is for rows of completions.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from warmstart.errors import RunDirError

TEMPORARY = ".tmp"
"""How the name of a file that is still being written ends."""
SEAL = "manifest.json"
"""The last file of a sealed folder: what every other one must be."""

Row = dict[str, Any]


def replace(path: Path, content: bytes) -> None:
    """Write the whole file or nothing: into a neighbour, to the disk, then into place."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write into; it takes the place of ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Hand a file, or the names in a folder, to the disk; Windows keeps folders itself."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, line: Mapping[str, Any], *, to_disk: bool = False) -> None:
    """Add one JSON line and hand it to the operating system at once, or to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write((to_json(line) + "\n").encode("ascii"))
        file.flush()
        if to_disk:
            os.fsync(file.fileno())


def cut(path: Path, size: int) -> None:
    """Cut a file back to its first ``size`` bytes; a shorter one, and one that is not there, stay."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
        sync(path)


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Declare the folder complete: its files go to the disk, then the manifest with their hashes and ``facts``."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL):
        sync(path)
        files[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": digest(path)}
    replace(folder / SEAL, to_json({**facts, "files": files}, indent=2).encode("ascii"))
    sync(folder.parent)


def sealed(folder: Path) -> tuple[Row | None, str]:
    """Return the manifest of a sealed folder; or None, and what is torn or changed."""
    try:
        manifest: Row = json.loads((folder / SEAL).read_bytes())
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        return None, "it was not finished"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, f"{SEAL} is torn"
    for name, (size, wanted) in files.items():
        path = folder / name
        if not path.is_file():
            return None, f"{name} is missing"
        if path.stat().st_size != size:
            return None, f"{name} has {path.stat().st_size:,} of {size:,} bytes"
        if digest(path) != wanted:
            return None, f"{name} is not what was written"
    return manifest, ""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path) -> list[Row]:
    """Return the JSON lines of a file; none if it is missing. A torn last line is left out.

    Raises:
        RunDirError: If any other line is not JSON.
    """
    if not path.exists():
        return []
    complete, _, _torn = path.read_bytes().rpartition(b"\n")
    rows: list[Row] = []
    for number, line in enumerate(complete.split(b"\n") if complete else [], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise RunDirError(
                f"{path} line {number} is not JSON: {error}", "it was changed by hand; remove that line"
            ) from error
    return rows


def drop_torn_line(path: Path) -> None:
    """Cut off what follows the last newline, or the next line would be glued to it."""
    if not path.exists():
        return
    content = path.read_bytes()
    complete, newline, torn = content.rpartition(b"\n")
    if torn:
        replace(path, complete + newline)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return strict JSON of plain values, numpy's, paths and containers of them."""
    # ASCII only: a lone surrogate is written as its escape and comes back as it was.
    return json.dumps(_finite(value), ensure_ascii=True, allow_nan=False, indent=indent)


def _finite(value: object) -> object:
    """Return plain JSON values: containers and numpy scalars unpacked, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _finite(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_rows(path: Path, rows: Sequence[Row], types: Mapping[str, str] | None = None) -> None:
    """Write rows as parquet. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD.

    Args:
        path: The file.
        rows: Columns that a row lacks are null in it.
        types: Columns that are always there, with Arrow's name of their type: a column whose values are all
            null would else have no type, and files of the same kind would differ.
    """
    # Imported here: pyarrow takes longer to import than `warmstart --help` may.
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = types or {}
    columns = dict.fromkeys((*types, *(key for row in rows for key in row)))
    table = pa.table({name: _column([row.get(name) for row in rows], types.get(name)) for name in columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    replace(path, sink.getvalue().to_pybytes())


def _column(values: list[Any], type_name: str | None) -> Any:  # noqa: ANN401
    import pyarrow as pa

    if any(isinstance(value, dict) for value in values):
        # Named numbers, for instance a completion's rewards; an absent or undecided one is null.
        names = dict.fromkeys(name for value in values if value for name in value)
        return pa.array(values, type=pa.struct([(name, pa.float64()) for name in names]))
    arrow_type = None if type_name is None else pa.type_for_alias(type_name)
    return pa.array([_encodable(value) for value in values], type=arrow_type)


def _encodable(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Pairing surrogates first keeps a character that came as two halves.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_rows(path: Path, *, without: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a parquet file, some columns left out; none if it is missing."""
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    columns = [name for name in pq.read_schema(path).names if name not in without]
    rows: list[Row] = pq.read_table(path, columns=columns).to_pylist()
    return rows
