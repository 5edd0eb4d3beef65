"""From findings to a decision: GO, FIX or STOP, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.causes import CAUSES
from warmstart.diagnosis.findings import Finding
from warmstart.diagnosis.rules_probe import LIVE

HOPELESS = 0.05
"""Below this upper bound of the live share, at the largest group size there is memory and time for, 19 of
20 groups are sampled for nothing."""


class Decision(StrEnum):
    """What to do now. Not a `warmstart.records.Verdict`, which is about one completion."""

    GO = "GO"
    """Train."""
    FIX = "FIX"
    """Climb the next rung of the ladder of cures, or repair what is named."""
    STOP = "STOP"
    """No cure of ours can help."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at one stage of a run.

    Attributes:
        stage: Where: ``"probe"``, ``"smoke"``, ``"grpo"``, …
        decision: What to do now.
        findings: Why, the explaining cause first.
        signal: The numbers beside them: rates and shares, 0 … 1.
    """

    stage: str
    decision: Decision
    findings: tuple[Finding, ...] = ()
    signal: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"stage", "verdict", "findings"}``, as summary.json holds it."""
        return {
            "stage": self.stage,
            "verdict": str(self.decision),
            "findings": [found.to_dict() for found in self.findings],
        }

    def headline(self) -> str:
        """Return the decision and its first reason in one sentence."""
        first = next(iter(self.findings), None)
        live = self.signal.get("live_share", math.nan)
        if self.decision is Decision.GO and (first is None or not first.is_serious):
            share = "" if math.isnan(live) else f": {round(100 * live)} % of the groups are live"
            return f"GO{share}."
        if first is None:
            return f"{self.decision}: too few groups are live."
        return f"{self.decision}: {CAUSES[first.code].title}: {first.evidence}; {first.advice}."


def decide(
    findings: Iterable[Finding],
    live_share: float,
    live_bound: float | None = None,
    is_last_rung: bool = False,
) -> Decision:
    """Return what to do on these findings.

    GO when nothing is broken or ill and the live share is at least `LIVE`. STOP when a cause is broken that
    no rung of the ladder repairs (data, reward functions, weights, golds), or, once the rungs have been
    tried, when something is still broken or the live share cannot reach `HOPELESS`. Else FIX.

    Args:
        findings: From `diagnose_probe` and the like.
        live_share: Share of groups that are live by outcome, 0 … 1; NaN (nothing measured) is no GO.
        live_bound: Upper end of its interval at the largest affordable group size; None if not measured.
        is_last_rung: The rungs of plumbing and prompt, at least, have been tried, and no other is left.
    """
    serious = [found for found in findings if found.is_serious]
    if not serious and live_share >= LIVE:
        return Decision.GO
    broken = [found for found in serious if found.severity is Severity.BROKEN]
    if any(not CAUSES[found.code].is_curable for found in broken):
        return Decision.STOP
    if is_last_rung and (broken or (live_bound is not None and live_bound < HOPELESS)):
        return Decision.STOP
    return Decision.FIX


def diagnosis_of(
    stage: str,
    findings: Sequence[Finding],
    signal: Mapping[str, float],
    *,
    live_bound: float | None = None,
    is_last_rung: bool = False,
) -> Diagnosis:
    """Return the diagnosis of a stage whose ``signal`` holds ``live_share``; see `decide`."""
    decision = decide(findings, signal.get("live_share", math.nan), live_bound, is_last_rung)
    return Diagnosis(stage, decision, tuple(findings), dict(signal))
