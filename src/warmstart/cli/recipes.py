"""``recipes``: list, show and copy what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmstart.cli.options import Json, echo_json, example, recipe_names
from warmstart.errors import ConfigError

Name = Annotated[str, typer.Argument(help="A packaged recipe.", autocompletion=recipe_names)]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    group = typer.Typer(
        help="List, show and copy the packaged recipes.",
        epilog=example("warmstart recipes"),
        invoke_without_command=True,
    )
    group.callback()(recipes)
    group.command(epilog=example("warmstart recipes show tiny"))(show)
    group.command(epilog=example("warmstart recipes copy tiny mine.yaml"))(copy)
    app.add_typer(group, name="recipes")


def recipes(context: typer.Context, json: Json = False) -> None:
    """List the packaged recipes."""
    if context.invoked_subcommand is not None:
        return
    from warmstart.config.schema import list_recipes, load_recipe

    found = {name: load_recipe(name).description for name in list_recipes()}
    if json:
        echo_json(found)
        return
    width = max(map(len, found))
    for name, description in found.items():
        typer.echo(f"{name:{width}}  {description}")


def show(name: Name, json: Json = False) -> None:
    """Print a recipe; as JSON with every default filled in."""
    from warmstart.config.schema import load_recipe, recipe_text, resolved

    if json:
        echo_json(resolved(load_recipe(name)))
        return
    typer.echo(recipe_text(name), nl=False)


def copy(
    name: Name,
    to: Annotated[Path | None, typer.Argument(help="By default NAME.yaml here.", show_default=False)] = None,
) -> None:
    """Copy a recipe into a file of your own."""
    from warmstart.config.schema import recipe_text

    target = to or Path(f"{name}.yaml")
    if target.exists():
        raise ConfigError(f"{target} is already there", "name another file, or delete it first")
    try:
        target.write_text(recipe_text(name), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{target} cannot be written: {error.strerror}", "name a folder that exists and is yours"
        ) from error
    typer.echo(target)
