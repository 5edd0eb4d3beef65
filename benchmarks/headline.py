"""A line of the table that `make bench` prints."""

from __future__ import annotations

from typing import NamedTuple


class Headline(NamedTuple):
    """What was measured, what was seen, and the target it stands against."""

    bench: str
    seen: str
    target: str
