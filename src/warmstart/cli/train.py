"""``run``, ``sft``, ``grpo``, ``eval`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from warmstart.cli.options import Json, Out, Recipe, Set, echo_json


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    app.command()(run)
    app.command()(sft)
    app.command()(grpo)
    app.command("eval")(evaluate)
    app.command()(report)


def run(recipe: Recipe = "tiny", out: Out = None, set_: Set = None, json: Json = False) -> None:
    """Measure the base, warm it up, train with GRPO, measure again, report.

    The same command again continues after the last finished stage.
    """
    folder = _run(recipe, out, set_, until=None)
    _show_summary(folder, json)


def sft(recipe: Recipe = "tiny", out: Out = None, set_: Set = None) -> None:
    """Run up to the warm start (QLoRA SFT) and save its adapter."""
    folder = _run(recipe, out, set_, until="sft")
    typer.echo(folder.warmup_adapter)


def grpo(recipe: Recipe = "tiny", out: Out = None, set_: Set = None) -> None:
    """Run up to GRPO (Group Relative Policy Optimization) and save its adapter."""
    folder = _run(recipe, out, set_, until="grpo")
    typer.echo(folder.grpo_adapter)


def evaluate(
    recipe: Recipe = "tiny",
    adapter: Annotated[
        Path | None, typer.Option(help="An adapter on the recipe's base, e.g. runs/tiny/grpo/adapter.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Measure a model on the recipe's held-out problems: strict, lenient and format, with intervals."""
    from warmstart.cli.progress import Terminal, quiet_libraries
    from warmstart.config import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    quiet_libraries()
    from warmstart.pipeline import evaluate_model

    result = evaluate_model(loaded, adapter, progress=Terminal())
    if json:
        echo_json(result)
    else:
        from warmstart.cli.tables import eval_table

        _print(eval_table({"model" if adapter is None else str(adapter): result}))


def report(
    folder: Annotated[Path, typer.Argument(help="A run directory.")],
    json: Json = False,
) -> None:
    """Write summary.json and report.html again from a run directory."""
    from warmstart.pipeline import conclude
    from warmstart.runs import RunDir

    opened = RunDir.open(folder)
    conclude(opened)
    _show_summary(opened, json)


def _run(recipe: str, out: Path | None, overrides: list[str] | None, *, until: str | None) -> Any:  # noqa: ANN401
    from warmstart.cli.progress import Terminal, quiet_libraries
    from warmstart.config import load_recipe, recipe_text

    loaded = load_recipe(recipe, overrides or [])
    quiet_libraries()
    from warmstart.pipeline import run as run_recipe

    folder = out or Path("runs") / loaded.name
    return run_recipe(loaded, folder, recipe_yaml=recipe_text(recipe), until=until, progress=Terminal())


def _show_summary(folder: Any, as_json: bool) -> None:  # noqa: ANN401
    from warmstart.summary import headline

    facts = folder.read_json(folder.summary_path)
    if as_json:
        echo_json(facts)
        return
    from warmstart.cli.tables import eval_table

    _print(eval_table(facts["eval"]))
    typer.echo(headline(facts))
    typer.echo(f"report: {folder.report_path}")


def _print(table: object) -> None:
    from rich.console import Console

    Console().print(table)
