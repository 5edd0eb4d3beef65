"""The claims of fuzz/claims.py, on the kept corpus, on hypothesis' texts, and shortly under atheris."""

from __future__ import annotations

import base64
import importlib.util
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
GROWN = {
    target: [base64.b64decode(line) for line in (FUZZ / "grown" / target).read_bytes().splitlines()]
    for target in claims.CLAIMS
}
PIECES = st.sampled_from(
    ["<reasoning>", "</reasoning>", "<answer>", "</answer>", "<think>", "</think>", "\n", "\r", " ", "12", "1/2", "-", "$", "%", ",",
     r"\boxed{", "}", "####", "e9", "\u200b", "\u202e", "\x1b[2J", "\ud800", "٣", "Monday", "twelve"]
)  # fmt: skip
WRITTEN = st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join)


@pytest.mark.parametrize(("target", "path"), CORPUS, ids=lambda part: getattr(part, "name", part))
def test_every_text_of_the_corpus_keeps_the_claims(target, path) -> None:
    claims.CLAIMS[target](path.read_bytes())


@pytest.mark.parametrize("target", list(claims.CLAIMS))
def test_every_text_that_earlier_searches_kept_keeps_the_claims(target) -> None:
    assert len(GROWN[target]) > 100
    for content in GROWN[target]:
        claims.CLAIMS[target](content)


@given(WRITTEN)
def test_any_completion_keeps_the_claims_of_the_parser(text) -> None:
    claims.of_parse(text.encode("utf-8", "surrogatepass"))


@given(WRITTEN, WRITTEN)
def test_any_completion_and_gold_keep_the_claims_of_the_grader(gold, text) -> None:
    claims.of_grade(gold.encode("utf-8", "surrogatepass") + b"\0" + text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@pytest.mark.parametrize("target", list(claims.CLAIMS))
def test_ten_seconds_of_atheris_find_nothing(target) -> None:
    pytest.importorskip(
        "atheris", reason="atheris is not installed (pip install --group fuzz; no wheel for some systems)"
    )
    done = subprocess.run(
        [sys.executable, str(FUZZ / "run.py"), target, "10"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1]) > 100
