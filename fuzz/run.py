"""Search for texts that break a promise: ``python fuzz/run.py parse|grade [SECONDS]``.

Needs atheris (``pip install --group fuzz``). What it finds is written beside the corpus, as crash-…; a finding
becomes a file of the corpus with a name that says what it was, and every test run tries them all again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["warmstart"]):
    from claims import CLAIMS

HERE = Path(__file__).parent


def main() -> None:
    """Fuzz one target for so many seconds; the new inputs are kept in the folder FUZZ_NEW, if it is set."""
    target, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    folders = [new] if (new := os.environ.get("FUZZ_NEW")) else []
    options = [
        f"-max_total_time={seconds}",
        "-timeout=30",  # by the clock, and a busy machine is slow: a text takes milliseconds
        "-max_len=4096",
        "-rss_limit_mb=2048",
        f"-dict={HERE / 'format.dict'}",
        f"-artifact_prefix={HERE / 'corpus' / target}/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, *folders, str(HERE / "corpus" / target)], CLAIMS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
