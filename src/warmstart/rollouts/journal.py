"""What a sampling has drawn so far, on disk: a run that was killed inside it draws only the rest.

A completion's random draws belong to it alone, so it does not matter which process drew a batch, or when.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from warmstart.runs import durable

Row = dict[str, Any]


class Journal:
    """The batches of one sampling, a line each; the first line says of which.

    Args:
        path: The file; it is made when the first batch is written.
        model: What names the model, weights included: another one's batches are not taken.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self._path = path
        self._model = model

    def open(self, *sampling: object) -> list[list[Row]]:
        """Return the batches that were drawn already of this very sampling, in order.

        A file of another sampling is begun anew, and so is what follows a torn line.

        Args:
            sampling: All that decides what is drawn, beside the model: prompts, numbers, seed.
        """
        name = hashlib.sha256(repr((self._model, *sampling)).encode()).hexdigest()
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        if not lines or _parsed(lines[0]) != {"sampling": name}:
            durable.replace(self._path, (json.dumps({"sampling": name}) + "\n").encode("ascii"))
            return []
        batches: list[list[Row]] = []
        for line in lines[1:]:
            batch = _parsed(line)
            if not isinstance(batch, dict) or "completions" not in batch:
                break
            batches.append(batch["completions"])
        durable.cut(self._path, sum(len(line) + 1 for line in lines[: 1 + len(batches)]))
        return batches

    def append(self, batch: list[Row]) -> None:
        """Keep a batch for good."""
        durable.append_line(self._path, {"completions": batch}, to_disk=True)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None
