"""What `warmstart.ranks` promises, tried by real processes. Usage: agree.py FOLDER, which gets ``processN.json``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from warmstart import ranks
from warmstart.errors import DataError, TrainingError


def refuse() -> None:
    """Raise as a stage does."""
    raise DataError("row 3 has no gold", "fill it")


def main(folder: Path) -> None:
    """Write down what this process sees, then lose one of them."""
    ranks.join()
    seen: dict[str, Any] = {
        "count": ranks.count(),
        "share": ranks.share(["a", "b", "c", "d", "e"]),
        "gathered": ranks.gather([ranks.index()]),
        "told": ranks.from_main(lambda: f"by {ranks.index()}, who asks {ranks.from_main(ranks.index)}"),
    }
    try:
        ranks.from_main(refuse)
    except DataError as error:
        seen["refused"] = [error.message, error.hint, error.is_said]
    ranks.wait()
    if ranks.index() == 1:
        _write(folder, seen)
        # Not an error for the launcher, which would end the other one too.
        os._exit(0)
    try:
        with ranks.together():
            ranks.wait()
    except TrainingError as error:
        seen["lost"] = error.message
    _write(folder, seen)
    os._exit(0)


def _write(folder: Path, seen: dict[str, Any]) -> None:
    (folder / f"process{ranks.index()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
