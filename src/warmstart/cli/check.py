"""``check``: is the recipe usable, and what will it do?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmstart.cli.options import Json, Recipe, Set, echo_json, example
from warmstart.visible import visible

if TYPE_CHECKING:
    from warmstart.config.schema import Recipe as RecipeValue


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(epilog=example("warmstart check tiny --set grpo.group_size=16"))(check)


def check(
    recipe: Recipe = "tiny",
    set_: Set = None,
    template: Annotated[
        bool,
        typer.Option(
            "--template", help="Load the tokenizer too, and say what its template does to the format."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Check a recipe without loading a model or data, and show the numbers that follow from it."""
    from warmstart.config.families import advice
    from warmstart.config.schema import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    facts = derived(loaded)
    if template:
        _check_template(loaded, facts, json)
        return
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
    for sentence in advice(loaded):
        typer.echo(f"note: {sentence}")
    typer.echo("ok")


def _check_template(recipe: RecipeValue, facts: dict[str, Any], as_json: bool) -> None:
    """Say what the tokenizer does against the format, what is repaired, and what is left."""
    from warmstart.cli.progress import quiet_libraries

    quiet_libraries()
    from warmstart.models import load_tokenizer
    from warmstart.pipeline import load_prompter
    from warmstart.records import Problem
    from warmstart.templates.plumbing import inspect_prompter, inspect_template

    raw = load_tokenizer(recipe.model.name, revision=recipe.model.revision)
    before = inspect_template(raw, recipe.prompt.tags)
    if not as_json:
        # Shown before the repair, which may refuse: the findings say why.
        for found in before:
            _say(f"{found.severity}: {found.code}: {found.evidence}; {found.advice}")
    prompter = load_prompter(recipe)
    example = Problem("example", "What is 40 + 2?", "42", "40 + 2 = 42")
    left = inspect_prompter(prompter, [example])
    if as_json:
        shown = {
            "before": [found.to_dict() for found in before],
            "changes": list(prompter.changes),
            "after": [found.to_dict() for found in left],
            "prompt": prompter.render(example.question),
        }
        echo_json({**facts, "template": shown})
        return
    for change in prompter.changes:
        _say(f"repaired: {change}")
    for found in left:
        _say(f"left: {found.severity}: {found.code}: {found.evidence}; {found.advice}")
    _say(f"\n{prompter.render(example.question)}⟦{prompter.target(str(example.rationale), example.gold)}⟧\n")
    in_the_way = any(found.is_serious for found in left)
    typer.echo("the template is in the way" if in_the_way else "prompt and target come back byte for byte")


def _say(line: str) -> None:
    # A template and a tokenizer are a stranger's too.
    typer.echo(visible(line))


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
        "probe_completions": recipe.probe.problems * recipe.probe.completions,
        "probe_tokens_at_most": recipe.probe.problems * recipe.probe.completions * grpo.max_completion_tokens,
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
