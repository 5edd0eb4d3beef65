"""The completions of one measured model, written chunk by chunk: a killed evaluation goes on where it was.

    STAGE.parts/of.json       what is being measured: model, prompt, sampling, problems
    STAGE.parts/CHUNK.parquet the rows of one chunk, a row per completion
    STAGE.parquet             all of them, once the last chunk is there; the parts are then deleted

A chunk is one batch of generation, decided before anything is generated, so that what a second attempt adds
is what the first would have written.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmstart.runs import durable
from warmstart.runs.durable import Row

COLUMNS: dict[str, str] = {
    "problem_id": "string",
    "family": "string",
    "steps": "int64",
    "question": "string",
    "gold": "string",
    "split": "string",
    "mode": "string",
    "sample": "int64",
    "text": "string",
    "verdict": "string",
    "lenient_verdict": "string",
    "given": "string",
    "lenient_given": "string",
    "strict": "bool",
    "lenient": "bool",
    "format": "bool",
    "why_not_strict": "string",
    "reward_verdict": "string",
    "reward_strict": "bool",
    "checked": "bool",
    "tokens": "int64",
    "finished": "bool",
    "truncated": "bool",
}
"""What is kept of a completion, with Arrow's name of its type.

``verdict``, ``strict`` and ``format`` are the held-out reading's, ``reward_verdict`` and ``reward_strict``
those of the path that training pays by; ``checked`` says whether the held-out one could tell by itself.
``finished``: the model ended its turn; ``truncated``: it ran into the cap.
"""


@dataclass(frozen=True, slots=True)
class CompletionLog:
    """Where the rows of one evaluation go; ``path`` is the file they end up in."""

    path: Path

    @property
    def parts(self) -> Path:
        """The folder of the chunks so far."""
        return self.path.with_suffix(".parts")

    def begin(self, of: Mapping[str, Any]) -> int:
        """Return how many chunks of this very evaluation are there already; those of another are dropped.

        Args:
            of: Everything that decides what is generated.
        """
        described = durable.to_json(of, indent=2).encode("ascii")
        known = self.parts / "of.json"
        if not known.exists() or known.read_bytes() != described:
            shutil.rmtree(self.parts, ignore_errors=True)
            durable.replace(known, described)
        return len(self._files())

    def read(self, chunk: str) -> list[Row] | None:
        """Return the rows of a chunk, or None while it is not written."""
        path = self._part(chunk)
        return durable.read_rows(path) if path.exists() else None

    def write(self, chunk: str, rows: Sequence[Row]) -> None:
        """Keep the rows of a chunk."""
        durable.write_rows(self._part(chunk), rows, COLUMNS)

    def finish(self) -> None:
        """Put the chunks into one file, one at a time in memory, and delete them."""
        import pyarrow.parquet as pq

        files = self._files()
        schema = pq.read_schema(files[0])
        with (
            durable.replacing(self.path) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd") as whole,
        ):
            for file in files:
                whole.write_table(pq.read_table(file))
        shutil.rmtree(self.parts)

    def _part(self, chunk: str) -> Path:
        return self.parts / f"{chunk}.parquet"

    def _files(self) -> list[Path]:
        return sorted(self.parts.glob("*.parquet"))


@dataclass(frozen=True, slots=True)
class EvalDir:
    """What `warmstart eval --out` leaves: ``eval.json`` and ``completions.parquet``."""

    path: Path

    @property
    def result_path(self) -> Path:
        """The rates, and under ``of`` what was measured."""
        return self.path / "eval.json"

    @property
    def log(self) -> CompletionLog:
        """The completions."""
        return CompletionLog(self.path / "completions.parquet")
