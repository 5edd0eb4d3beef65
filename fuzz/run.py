"""Search for texts that break a promise: ``python fuzz/run.py parse|grade [SECONDS]``.

Needs atheris (``pip install --group fuzz``). It starts from fuzz/corpus, written by hand, and from fuzz/grown,
what earlier searches found new ways through the code with, a line of base64 each; with ``--keep`` that list is
written anew from what both have found. A text that breaks a promise is written into fuzz/corpus as crash-…: mend the code, give
the file a name that says what it was, and every test run tries it again.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["warmstart"]):
    from claims import CLAIMS

HERE = Path(__file__).parent


def grown(target: str) -> list[bytes]:
    """Return what earlier searches kept."""
    return [base64.b64decode(line) for line in (HERE / "grown" / target).read_bytes().splitlines()]


def keep_grown(target: str, folder: Path) -> None:
    """Write what the folder holds, the shortest first."""
    found = sorted(
        {path.read_bytes() for path in folder.iterdir()}, key=lambda content: (len(content), content)
    )
    (HERE / "grown" / target).write_bytes(b"".join(base64.b64encode(content) + b"\n" for content in found))


def main() -> None:
    """Fuzz one target for so many seconds."""
    keep = "--keep" in sys.argv
    target, *rest = [one for one in sys.argv[1:] if one != "--keep"]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{target}-"))
    for number, content in enumerate(grown(target)):
        (folder / f"{number:04d}").write_bytes(content)
    options = [
        f"-max_total_time={rest[0] if rest else 60}",
        "-timeout=30",  # by the clock, and a busy machine is slow: a text takes milliseconds
        "-max_len=4096",
        "-rss_limit_mb=2048",
        f"-dict={HERE / 'format.dict'}",
        f"-artifact_prefix={HERE / 'corpus' / target}/",
        "-print_final_stats=1",
    ]
    if keep and (child := os.fork()):
        # The search ends its process itself, so that what comes after it needs another one.
        _, ended = os.waitpid(child, 0)
        keep_grown(target, folder)
        sys.exit(os.waitstatus_to_exitcode(ended))
    atheris.Setup([sys.argv[0], *options, str(folder), str(HERE / "corpus" / target)], CLAIMS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
