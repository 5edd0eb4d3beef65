"""The claims of fuzz/claims.py, on the kept corpus, on hypothesis' texts, and shortly under atheris."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[1] / "fuzz"
_spec = importlib.util.spec_from_file_location("claims", FUZZ / "claims.py")
assert _spec is not None
assert _spec.loader is not None
claims = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(claims)

CORPUS = [(target, path) for target in claims.CLAIMS for path in sorted((FUZZ / "corpus" / target).iterdir())]
PIECES = st.sampled_from(
    ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "<think>", "</think>", "\n", "\r", " ", "12", "1/2", "-", "$", "%", ",",
     r"\boxed{", "}", "####", "e9", "\u200b", "\u202e", "\x1b[2J", "\ud800", "٣", "Monday", "twelve"]
)  # fmt: skip
WRITTEN = st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join)


@pytest.mark.parametrize(("target", "path"), CORPUS, ids=lambda part: getattr(part, "name", part))
def test_every_text_of_the_corpus_keeps_the_claims(target, path) -> None:
    claims.CLAIMS[target](path.read_bytes())


@given(WRITTEN)
def test_any_completion_keeps_the_claims_of_the_parser(text) -> None:
    claims.of_parse(text.encode("utf-8", "surrogatepass"))


@given(WRITTEN, WRITTEN)
def test_any_completion_and_gold_keep_the_claims_of_the_grader(gold, text) -> None:
    claims.of_grade(gold.encode("utf-8", "surrogatepass") + b"\0" + text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@pytest.mark.parametrize("target", list(claims.CLAIMS))
def test_ten_seconds_of_atheris_find_nothing(target, tmp_path) -> None:
    pytest.importorskip(
        "atheris", reason="atheris is not installed (pip install --group fuzz; no wheel for some systems)"
    )
    done = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), target, "10"],
        env={**os.environ, "FUZZ_NEW": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]) > 100
