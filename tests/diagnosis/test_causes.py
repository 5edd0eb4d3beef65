"""Every cause is found by a rule here, or named with the module that finds it."""

from __future__ import annotations

import re
from pathlib import Path

import warmstart.diagnosis
from warmstart.diagnosis import CAUSES, FOUND_BY
from warmstart.diagnosis.findings import EXPLAINS

RULES = Path(warmstart.diagnosis.__file__).parent.glob("rules_*.py")
WRITTEN = {code for path in RULES for code in re.findall(r'"([a-z]+(?:-[a-z]+)+|[a-z]+)"', path.read_text())}


def test_every_cause_has_a_rule_or_a_finder() -> None:
    assert set(CAUSES) - WRITTEN - set(FOUND_BY) == set()
    assert set(FOUND_BY) <= set(CAUSES)
    assert WRITTEN & set(FOUND_BY) == set()


def test_only_known_causes_explain_known_causes() -> None:
    assert set(EXPLAINS) <= set(CAUSES)
    assert {code for codes in EXPLAINS.values() for code in codes} <= set(CAUSES)


def test_no_two_causes_explain_each_other_away() -> None:
    pairs = {(a, b) for a, codes in EXPLAINS.items() for b in codes if a != b}
    assert {pair for pair in pairs if pair[::-1] in pairs} == set()
