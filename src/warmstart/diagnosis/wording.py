"""Counts in the words of a finding: a share never claims more than was seen."""

from __future__ import annotations

import math

from warmstart.estimates import percent


def count_of(k: int, n: int) -> str:
    """Return ``"0 of 512 (p < 0.6 %)"``, ``"37 of 512 (7.2 %)"`` or ``"512 of 512"``.

    None of n bounds the rate at 3/n with 95 % confidence, since (1 − 3/n)ⁿ < 0.05; it is rounded upwards.
    """
    if k == 0 and n > 0:
        return f"0 of {n:,} ({bound(n)})"
    if k == n:
        return f"{n:,} of {n:,}"
    return f"{k:,} of {n:,} ({percent(k / n)} %)"


def claim(k: int, n: int, what: str) -> str:
    """Return ``"0 of 512 completions used the format (p < 0.6 %)"``; ``what`` is the noun and its claim."""
    if k == n:
        return f"{n:,} of {n:,} {what}"
    return f"{k:,} of {n:,} {what} ({bound(n) if k == 0 else percent(k / n) + ' %'})"


def bound(n: int) -> str:
    """Return what 0 of ``n`` leaves open: ``"p < 0.6 %"``."""
    return f"p < {min(100.0, math.ceil(3000 / n - 1e-9) / 10):g} %"


def whole(share: float) -> str:
    """Return a share in per cent without decimals where that is not a false 0 or 100: ``"44 %"``."""
    rounded = round(100 * share)
    return f"{rounded} %" if 0 < rounded < 100 or share in (0.0, 1.0) else f"{percent(share)} %"
