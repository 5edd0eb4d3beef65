"""What the makers of a model family advise, and where a recipe leaves it: hints for `warmstart check`.

Only what a chat template cannot tell is here; everything a template or tokenizer does is found by looking at
it (`plumbing`), for any family.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmstart.config.schema import Recipe


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        name: As its makers write it.
        mark: What its models have in their name, in lower case.
        temperature: Advised for sampling; None where the makers advise none.
        top_p: The same for nucleus sampling.
        has_system: Whether its makers want instructions in a system turn.
        has_switch: Whether its template has a thinking switch.
        thinks: Whether it always thinks in ``<think>``.
    """

    name: str
    mark: str
    temperature: float | None = None
    top_p: float | None = None
    has_system: bool = True
    has_switch: bool = False
    thinks: bool = False


FAMILIES = (
    Family("DeepSeek-R1-Distill-Qwen", "r1-distill-qwen", 0.6, 0.95, has_system=False, thinks=True),
    Family("Qwen3", "qwen3-", has_switch=True),
    Family("Qwen2.5", "qwen2.5-"),
)
_THINKING, _NOT_THINKING = (0.6, 0.95), (0.7, 0.8)
"""Temperature and top-p that Qwen3's model card gives for its two modes."""


def family_of(name: str) -> Family | None:
    """Return the family a model's name says it is of, or None."""
    return next((family for family in FAMILIES if family.mark in name.lower()), None)


def advice(recipe: Recipe) -> Iterator[str]:
    """Yield where the recipe departs from what the makers of its model advise, a sentence each."""
    family = family_of(recipe.model.name)
    if family is None:
        return
    yield from _sampling_advice(recipe, family)
    if not family.has_system and recipe.prompt.role == "system":
        yield f"the makers of {family.name} advise against a system prompt: prompt.role=user"
    if family.has_switch and recipe.prompt.enable_thinking is None:
        own = recipe.prompt.reasoning_tag == "think"
        yield (
            f"{family.name} thinks in <think> before anything else unless it is told not to: "
            f"prompt.enable_thinking={str(own).lower()}"
        )
    if family.thinks and recipe.grpo.max_completion_tokens < 1024:
        yield (
            f"{family.name} thinks in hundreds to thousands of tokens: "
            f"grpo.max_completion_tokens={recipe.grpo.max_completion_tokens} cuts it off"
        )
    is_base = "instruct" not in recipe.model.name.lower() and family.name == "Qwen2.5"
    if is_base and recipe.model.end_token == "<|im_end|>":
        yield "Qwen2.5's base models never learnt <|im_end|>: leave model.end_token out (it is <|endoftext|>)"


def _sampling_advice(recipe: Recipe, family: Family) -> Iterator[str]:
    wanted = (family.temperature, family.top_p)
    if family.has_switch and recipe.prompt.enable_thinking is not None:
        wanted = _THINKING if recipe.prompt.enable_thinking else _NOT_THINKING
    given = (recipe.eval.temperature, recipe.eval.top_p)
    if wanted[0] is not None and recipe.eval.samples and given != wanted:
        yield (
            f"the makers of {family.name} advise temperature {wanted[0]} and top-p {wanted[1]}: samples at "
            f"{given[0]:g} and {given[1]:g} tell what GRPO trains, not what its users will see "
            f"(eval.temperature={wanted[0]}, eval.top_p={wanted[1]})"
        )
