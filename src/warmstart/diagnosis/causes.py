"""The catalogue: every cause warmstart can name, in the order in which they explain each other.

A cause that stands earlier is named first.
"""

from __future__ import annotations

from warmstart.diagnosis.cause import Cause
from warmstart.diagnosis.causes_learning import LEARNING
from warmstart.diagnosis.causes_setup import SETUP

CAUSES: dict[str, Cause] = {cause.code: cause for cause in (*SETUP, *LEARNING)}
"""Every cause by its code, explaining ones first."""

FOUND_BY: dict[str, str] = dict.fromkeys(
    (
        "template-missing",
        "template-foreign",
        "template-opens-thinking",
        "template-begins-turn",
        "template-opens-no-turn",
        "template-drops-reasoning",
        "template-rewrites-text",
        "template-ignores-system",
        "double-bos",
        "bos-missing",
        "pad-is-end",
        "text-not-kept",
        "tags-skipped",
        "end-missing",
        "end-token-differs",
    ),
    "warmstart.templates.plumbing",
)
"""The causes that no rule of this package looks for, with the module whose facts show them."""
