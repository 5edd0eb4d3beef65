from __future__ import annotations

import json
import math

import pytest

from warmstart.diagnosis import (
    CAUSES,
    Decision,
    Diagnosis,
    Severity,
    decide,
    diagnosis_of,
    explaining,
    finding,
)


def test_nothing_serious_and_a_fifth_of_the_groups_live_is_go() -> None:
    assert decide([finding("overlap", "5 of 200")], 0.2) is Decision.GO


def test_too_few_live_groups_or_none_measured_is_no_go() -> None:
    assert decide([], 0.19) is Decision.FIX
    assert decide([], math.nan) is Decision.FIX


def test_something_ill_is_fix_however_live_the_groups_are() -> None:
    assert decide([finding("never-stops", "99 %")], 0.62) is Decision.FIX


def test_hopeless_is_said_only_after_the_rungs_were_tried() -> None:
    cold = [finding("too-hard", "0 of 512")]
    assert decide(cold, 0.0, 0.01) is Decision.FIX
    assert decide(cold, 0.0, 0.01, is_last_rung=True) is Decision.STOP
    assert decide(cold, 0.0, 0.05, is_last_rung=True) is Decision.FIX
    assert decide(cold, 0.0, None, is_last_rung=True) is Decision.FIX


@pytest.mark.parametrize("code", ["gold-contradicted", "reward-raises", "reward-blind", "gold-missing"])
def test_what_only_the_user_can_repair_stops_at_once(code: str) -> None:
    assert decide([finding(code, "…")], 0.6) is Decision.STOP
    assert decide([finding(code, "…", level=Severity.WARNING)], 0.6) is Decision.GO


@pytest.mark.parametrize("code", ["template-opens-thinking", "adapter-frozen", "sampling-degenerate"])
def test_broken_plumbing_is_fixed_and_stops_where_it_remains(code: str) -> None:
    assert decide([finding(code, "…")], 0.0) is Decision.FIX
    assert decide([finding(code, "…")], 0.0, is_last_rung=True) is Decision.STOP


def test_a_diagnosis_is_what_summary_json_holds() -> None:
    found = finding("no-format", "0 of 512 completions used the format (p < 0.6 %)")
    diagnosis = diagnosis_of("probe", [found], {"live_share": 0.0})
    assert json.loads(json.dumps(diagnosis.to_dict())) == {
        "stage": "probe",
        "verdict": "FIX",
        "findings": [
            {
                "code": "no-format",
                "severity": "ill",
                "evidence": "0 of 512 completions used the format (p < 0.6 %)",
                "advice": "warm start",
            }
        ],
    }
    assert diagnosis.headline() == (
        "FIX: the format is never sampled: the cold start itself: "
        "0 of 512 completions used the format (p < 0.6 %); warm start."
    )


def test_a_go_is_one_sentence_too() -> None:
    assert (
        Diagnosis("probe", Decision.GO, (), {"live_share": 0.62}).headline()
        == "GO: 62 % of the groups are live."
    )
    assert Diagnosis("probe", Decision.FIX).headline() == "FIX: too few groups are live."


def test_findings_come_in_the_order_of_the_causes() -> None:
    codes = ["overlap", "no-format", "double-bos", "truncated"]
    assert [found.code for found in explaining(finding(code, "…") for code in codes)] == [
        "double-bos",
        "truncated",
        "no-format",
        "overlap",
    ]


def test_what_pads_is_no_matter_where_turns_end_in_another_token() -> None:
    codes = ["pad-is-end", "end-token-differs", "never-stops"]
    kept = [found.code for found in explaining(finding(code, "…") for code in codes)]
    assert kept == ["end-token-differs", "never-stops"]
    assert "pad-is-end" in [found.code for found in explaining(finding(code, "…") for code in codes[:2])]
    assert explaining(finding(code, "…") for code in ("pad-is-end", "never-stops"))[0].code == "pad-is-end"


def test_a_warning_explains_nothing_away() -> None:
    mild = finding("truncated", "31 %", level=Severity.WARNING)
    assert [found.code for found in explaining([finding("few-live", "…"), mild])] == ["truncated", "few-live"]


@pytest.mark.parametrize("code", CAUSES)
def test_every_cause_is_said_in_words(code: str) -> None:
    cause = CAUSES[code]
    assert cause.title
    assert cause.cure
    assert not cause.title.endswith(".")
