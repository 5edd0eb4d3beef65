"""What a cause is: a name, how much it hurts, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding means for the run."""

    BROKEN = "broken"
    """Nothing true is learnt until someone repairs it."""
    ILL = "ill"
    """Nothing, or little, is learnt; the ladder of cures may help."""
    WARNING = "warning"
    """Learning goes on, worse than it could."""
    NOTE = "note"
    """Good to know; nothing to do."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that can be wrong.

    Attributes:
        code: How findings, docs and tests name it.
        severity: What it means for the run, unless the finding says otherwise.
        title: The cause in a few words.
        symptom: What a user sees of it, in the words of TRL's log where there are some.
        cure: What to do, in a sentence.
        is_curable: A rung of the ladder can repair it. What is not curable needs the user: data, reward
            functions, weights.
    """

    code: str
    severity: Severity
    title: str
    symptom: str
    cure: str
    is_curable: bool = True
