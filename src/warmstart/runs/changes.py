"""What is not as it was when a run was begun: settings, packages, data, rewards of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

Changes = dict[str, tuple[str, str]]
"""By its name: as it was, and as it is now."""
CHANGES_NOTHING = ("description", "trackers", "sft.checkpoint_every", "grpo.checkpoint_every")
"""Settings that no result depends on."""


def changes_of(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Changes:
    """Return the settings of ``wanted`` that are others than in ``found``, as text."""
    before, after = dict(flat_settings(found)), dict(flat_settings(wanted))
    return {
        key: (_shown(before, key), _shown(after, key))
        for key in sorted(before | after)
        if before.get(key, _ABSENT) != after.get(key, _ABSENT) and key not in CHANGES_NOTHING
    }


def changes_of_texts(found: Mapping[str, str], wanted: Mapping[str, str]) -> Changes:
    """Return the texts in both that are others now, each as its first line that is: ``judge line 3``."""
    changes: Changes = {}
    for name in sorted(found.keys() & wanted.keys()):
        lines = zip_longest(found[name].splitlines(), wanted[name].splitlines())
        for number, (before, now) in enumerate(lines, start=1):
            if before != now:
                changes[f"{name} line {number}"] = (_line(before), _line(now))
                break
    return changes


def shown_changes(changes: Changes) -> str:
    """Return the changes in one line: ``"grpo.steps: 80 there, 7 now"``."""
    parts = [f"{key}: {before} there, {now} now" for key, (before, now) in changes.items()]
    return "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")


def _line(text: str | None) -> str:
    return "nothing" if text is None else _as_json(text)


_ABSENT = object()


def _shown(flat: Mapping[str, Any], key: str) -> str:
    return _as_json(flat[key]) if key in flat else "unset"


def _as_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def flat_settings(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting with its dotted key."""
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from flat_settings(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
