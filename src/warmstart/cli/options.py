"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[str, typer.Argument(help="A packaged recipe (see `warmstart recipes`) or a YAML file.")]
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
