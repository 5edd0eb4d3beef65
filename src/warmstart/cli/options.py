"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def recipe_names(incomplete: str) -> list[str]:
    """Return the packaged recipes that begin with what was typed, for the shell's completion."""
    from warmstart.config.schema import list_recipes

    return [name for name in list_recipes() if name.startswith(incomplete)]


def example(command: str) -> str:
    """Return what stands at the end of a command's help."""
    return f"Example: {command}"


Recipe = Annotated[
    str,
    typer.Argument(
        help="A packaged recipe (see `warmstart recipes`) or a YAML file.", autocompletion=recipe_names
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="The run directory; by default runs/RECIPE.", show_default=False)
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value, e.g. grpo.steps=20.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def echo_json(value: object, *, indent: int | None = 2) -> None:
    """Print ``value`` as JSON; lone surrogates, which models can write, come out escaped."""
    typer.echo(json.dumps(value, indent=indent))
