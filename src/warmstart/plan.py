"""The ladder of cures, and the plan a run settles on: how the prompt is put, how the model is warmed up.

Rungs, cheapest first. Plumbing is no rung to choose: what a template or tokenizer does against the
format is repaired before anything is measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from warmstart.diagnosis import Finding

if TYPE_CHECKING:
    from warmstart.config.schema import Recipe

PromptCure = Literal["plain", "exemplar", "prefill"]
WarmStart = Literal["none", "self-warm-start", "gold-warm-start"]
Cure = Literal[
    "exemplar", "prefill", "self-warm-start", "gold-warm-start", "easier-problems", "larger-groups"
]

CURES: tuple[str, ...] = get_args(Cure)
"""Every rung by name, cheapest first."""

HELPED_BY_THE_LADDER = frozenset(
    {"no-format", "format-inexact", "never-stops", "truncated", "few-live", "too-hard", "shaping-only"}
)
"""Causes that a prompt, a warm start, easier problems or larger groups can do something about. The rest is
in the data, the rewards or the sampling, and no training repairs that."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the run does before and in GRPO.

    Attributes:
        prompt: The cure of the prompt.
        warm_start: The cure by SFT.
        group_size: Completions per problem, if not the recipe's.
        most_steps: Problems with more calculation steps are left out of GRPO.
        exemplar: Question and answer that the prompt shows, where that is its cure: what whoever asks the model
            later has to show too.
    """

    prompt: PromptCure = "plain"
    warm_start: WarmStart = "none"
    group_size: int | None = None
    most_steps: int | None = None
    exemplar: tuple[str, str] | None = None

    @classmethod
    def forced(cls, recipe: Recipe) -> Plan:
        """Return the plan of a recipe that names its cure; ``auto`` without a probe is the gold warm start.

        Which problems are easier, and how large a group must be, only the probe can say.
        """
        cure = recipe.probe.cure
        if cure in ("exemplar", "prefill"):
            return cls(prompt=cure)
        if cure in ("easier-problems", "larger-groups"):
            return cls()
        if cure == "self-warm-start":
            return cls(warm_start="self-warm-start")
        return cls(warm_start="gold-warm-start" if recipe.sft.enabled else "none")

    @classmethod
    def from_dict(cls, written: dict[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote."""
        shown = written.get("exemplar")
        return cls(**{**written, "exemplar": None if shown is None else tuple(shown)})

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON holds it."""
        return asdict(self)


def can_be_cured(findings: Iterable[Finding]) -> bool:
    """Say whether the ladder can do something about every serious finding."""
    return all(found.code in HELPED_BY_THE_LADDER for found in findings if found.is_serious)
