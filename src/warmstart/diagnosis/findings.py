"""Findings: a cause that was found, with its evidence; the one that explains the others first.

`EXPLAINS` says which causes are only consequences of another and are not worth saying beside it: a
reward that raises makes every group dead, so "too hard" would be noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from warmstart.diagnosis.cause import Severity
from warmstart.diagnosis.causes import CAUSES, FOUND_BY


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that was found.

    Attributes:
        code: One of `CAUSES`.
        evidence: The numbers that show it, in a sentence.
        advice: What to do about it here, in a sentence.
        severity: What it means for the run.
        numbers: The evidence for programs.
    """

    code: str
    evidence: str
    advice: str
    severity: Severity
    numbers: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def is_serious(self) -> bool:
        """Return whether training should not start, or go on, beside it."""
        return self.severity in (Severity.BROKEN, Severity.ILL)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"code", "severity", "evidence", "advice"}``, as summary.json holds it."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "evidence": self.evidence,
            "advice": self.advice,
        }


_RANK = {code: rank for rank, code in enumerate(CAUSES)}
_DATA = frozenset(
    {
        "column-missing",
        "gold-missing",
        "gold-unparsable",
        "gold-alike",
        "gold-conflicts",
        "problems-repeated",
        "overlap",
    }
)
_BY_OUTCOME = frozenset({"saturated", "too-hard", "few-live", "shaping-only", "rewards-cancel"})
_FAULTS = ("reward-raises", "reward-wrong-length", "reward-times-out", "reward-not-a-number")
_NOT_OF_A_REWARD = (
    _DATA | frozenset(FOUND_BY) | frozenset(_FAULTS) | {"adapter-frozen", "adapter-dropped", "all-masked"}
)
_WHAT_A_WINDOW_SHOWS = _BY_OUTCOME | {
    "truncated",
    "never-stops",
    "sampling-degenerate",
    "skill-lost",
    "over-warmed",
    "no-format",
    "format-inexact",
    "rate-too-small",
}

EXPLAINS: dict[str, frozenset[str]] = {
    "column-missing": frozenset(CAUSES),
    "gold-missing": _BY_OUTCOME | {"reward-raises", "reward-undecided", "reward-blind", "gold-contradicted"},
    "gold-unparsable": _BY_OUTCOME
    | {"reward-raises", "reward-undecided", "reward-blind", "gold-contradicted"},
    "gold-alike": _BY_OUTCOME | {"reward-blind", "gold-contradicted"},
    "gold-conflicts": frozenset({"gold-contradicted", "problems-repeated"}),
    **dict.fromkeys(_FAULTS, frozenset(CAUSES) - _NOT_OF_A_REWARD),
    "reward-undecided": _BY_OUTCOME | {"reward-blind", "outcome-outweighed"},
    "adapter-frozen": frozenset({"adapter-dropped", "gradient-blocked", "rate-too-small"}),
    "all-masked": frozenset({"gradient-blocked", "truncated", "rate-too-small"}),
    "not-a-number": frozenset({"gradient-blocked", "adapter-dropped", "tags-differ"}) | _WHAT_A_WINDOW_SHOWS,
    "gradient-blocked": frozenset({"rate-too-small"}),
    "sampling-degenerate": _BY_OUTCOME | {"gold-contradicted", "over-warmed", "outcome-outweighed"},
    "sampling-distorted": _BY_OUTCOME
    | {"gold-contradicted", "truncated", "never-stops", "no-format", "format-inexact", "skill-lost"},
    "truncated": _BY_OUTCOME | {"skill-lost", "format-inexact"},
    "never-stops": _BY_OUTCOME | {"skill-lost", "format-inexact"},
    "reward-unrelated": _BY_OUTCOME
    | {"reward-blind", "reward-pays-wrong", "outcome-outweighed", "format-inexact", "hacking"},
    "reward-blind": _BY_OUTCOME | {"format-inexact", "outcome-outweighed"},
    "reward-pays-wrong": frozenset({"saturated", "few-live", "outcome-outweighed", "hacking"}),
    "rewards-cancel": frozenset({"outcome-outweighed", "few-live"}),
    "gold-contradicted": _BY_OUTCOME | {"skill-lost"},
    "skill-lost": frozenset({"too-hard", "few-live", "shaping-only"}),
    "over-warmed": frozenset({"saturated", "few-live", "shaping-only"}),
    "saturated": frozenset({"few-live", "shaping-only"}),
    "too-hard": frozenset({"few-live"}),
    "tags-differ": frozenset({"few-live", "shaping-only", "format-inexact", "no-format", "reward-idle"}),
    "no-format": frozenset({"few-live", "shaping-only", "format-inexact"}),
    "rate-too-large": _WHAT_A_WINDOW_SHOWS,
    "collapse": _WHAT_A_WINDOW_SHOWS,
}
"""What each cause accounts for when it is broken or ill; a cause never accounts for itself."""
EXPLAIN_TOGETHER = {frozenset({"never-stops", "end-token-differs"}): "pad-is-end"}
"""What two findings account for, a note among them too. Nothing ends because the model ends its turns as the
template does; what the tokenizer's token pads is no matter then."""


def finding(
    code: str,
    evidence: str,
    advice: str | None = None,
    *,
    level: Severity | None = None,
    **numbers: float | int | str,
) -> Finding:
    """Return the finding of a known cause; ``advice`` and ``level`` are the cause's own unless given."""
    cause = CAUSES[code]
    return Finding(code, evidence, advice or cause.cure, level or cause.severity, numbers)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the one that explains the others first."""
    return sorted(findings, key=lambda found: _RANK[found.code])


def explaining(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings in order, without those that a serious one among them accounts for."""
    found = in_order(findings)
    explained = {
        code for one in found if one.is_serious for code in EXPLAINS.get(one.code, frozenset()) - {one.code}
    }
    codes = {one.code for one in found}
    explained |= {code for pair, code in EXPLAIN_TOGETHER.items() if pair <= codes}
    return [one for one in found if one.code not in explained]
