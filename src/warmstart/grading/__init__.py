"""Verdicts: what a completion answered, and whether it is right."""

from __future__ import annotations

from warmstart.grading.verdicts import (
    Gold,
    Grade,
    LenientGrade,
    check_gold,
    grade,
    grade_lenient,
    grade_parsed,
    read_gold,
)

__all__ = [
    "Gold",
    "Grade",
    "LenientGrade",
    "check_gold",
    "grade",
    "grade_lenient",
    "grade_parsed",
    "read_gold",
]
