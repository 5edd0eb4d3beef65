"""The words of the report's page."""

from __future__ import annotations

import re

LANES = {
    "probes": "probe",
    "cures": "cure",
    "findings": "finding",
    "measured": "measured",
    "reward plan": "reward plan",
}
"""What a moment of the run is called in the table."""
_BREAKS = re.compile(r" (?=%|[<>=] |of \d|points)|(?<=[<>=]) |(?<=\d of) |(?<=\d,) (?=[+−\d])")


def unbroken(sentence: str) -> str:
    """Return a sentence in which no line ends between a number and what belongs to it."""
    return _BREAKS.sub("\u00a0", sentence)


def duration(seconds: float) -> str:
    """Return a time as people say it: ``"0.4 s"``, ``"12 s"``, ``"3 min 05 s"``, ``"2 h 10 min"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
