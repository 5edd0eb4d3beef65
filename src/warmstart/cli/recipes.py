"""``recipes``: list, show and copy what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmstart.cli.options import Json, echo_json
from warmstart.errors import ConfigError

Name = Annotated[str, typer.Argument(help="A packaged recipe.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    group = typer.Typer(help="List, show and copy the packaged recipes.", invoke_without_command=True)
    group.callback()(recipes)
    group.command()(show)
    group.command()(copy)
    app.add_typer(group, name="recipes")


def recipes(context: typer.Context, json: Json = False) -> None:
    """List the packaged recipes."""
    if context.invoked_subcommand is not None:
        return
    from warmstart.config import list_recipes, load_recipe

    found = {name: load_recipe(name).description for name in list_recipes()}
    if json:
        echo_json(found)
        return
    width = max(map(len, found))
    for name, description in found.items():
        typer.echo(f"{name:{width}}  {description}")


def show(name: Name) -> None:
    """Print a recipe."""
    from warmstart.config import recipe_text

    typer.echo(recipe_text(name), nl=False)


def copy(
    name: Name,
    to: Annotated[Path | None, typer.Argument(help="By default NAME.yaml here.", show_default=False)] = None,
) -> None:
    """Copy a recipe into a file of your own."""
    from warmstart.config import recipe_text

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
