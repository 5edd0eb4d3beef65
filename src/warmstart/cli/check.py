"""``check``: is the recipe usable, and what will it do?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from warmstart.cli.options import Json, Recipe, Set, echo_json

if TYPE_CHECKING:
    from warmstart.config import Recipe as RecipeValue


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command()(check)


def check(recipe: Recipe = "tiny", set_: Set = None, json: Json = False) -> None:
    """Check a recipe without loading a model or data, and show the numbers that follow from it."""
    from warmstart.config import load_recipe

    facts = derived(load_recipe(recipe, set_ or []))
    if json:
        echo_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(
            f"{name.replace('_', ' '):{width}}  {value:,}"
            if isinstance(value, int)
            else f"{name:{width}}  {value}"
        )
    typer.echo("ok")


def derived(recipe: RecipeValue) -> dict[str, Any]:
    """Return what the recipe's numbers amount to."""
    from warmstart.batching import plan_batches

    grpo, sft = recipe.grpo, recipe.sft
    plan = plan_batches(grpo.problems_per_step, grpo.group_size, micro_batch=grpo.micro_batch)
    cap = recipe.eval.max_completion_tokens or grpo.max_completion_tokens
    models = 3 if sft.enabled else 2
    evaluated = models * (1 + recipe.eval.samples) * (recipe.eval.problems + recipe.eval.unseen_problems)
    return {
        "recipe": recipe.name,
        "model": recipe.model.name,
        "data": recipe.data.path or recipe.data.source,
        "sft_rows_seen": sft.steps * sft.batch_size if sft.enabled else 0,
        "sft_optimizer_steps": sft.steps if sft.enabled else 0,
        "grpo_optimizer_steps": grpo.steps,
        "completions_per_step": plan.completions_per_step,
        "completions_per_forward": plan.per_device,
        "gradient_accumulation": plan.accumulation,
        "grpo_completions": grpo.steps * plan.completions_per_step,
        "grpo_tokens_at_most": grpo.steps * plan.completions_per_step * grpo.max_completion_tokens,
        "evaluated_completions": evaluated,
        "evaluated_tokens_at_most": evaluated * cap,
    }
