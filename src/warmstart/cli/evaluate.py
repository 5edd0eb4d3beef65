"""``eval``: a model, an adapter or a server on held-out problems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmstart import ranks
from warmstart.cli.options import Json, Set, echo_json, example, recipe_names

if TYPE_CHECKING:
    from warmstart.rollouts.server import Server


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command("eval", epilog=example("warmstart eval --adapter runs/demo/grpo/adapter"))(evaluate)


def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Decides problems, prompt and sampling; by default the adapter's own run, else tiny.",
            autocompletion=recipe_names,
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A folder or Hub id instead of the recipe's; with --server the served name."),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(help="A LoRA adapter; one of a run is asked with the prompt that run settled on."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask an OpenAI-compatible server, e.g. vLLM's.")
    ] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the server's key.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Problems of a file instead (jsonl, json, csv, parquet); columns as data.columns.*"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep every completion here; the same command again goes on.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Measure a model on held-out problems: strict, lenient and format, with intervals.

    SVAMP, for one: --data svamp.json --set 'data.columns.question=[Body,Question]' --set data.columns.answer=Answer
    """
    from warmstart.cli.progress import quiet_libraries, terminal

    quiet_libraries()
    ranks.join()
    from warmstart.pipeline import evaluate_model, find_subject

    subject = find_subject(
        recipe,
        set_ or [],
        model=model,
        adapter=adapter,
        server=None if server is None else served(server, model, key_env),
        file=data,
    )
    with ranks.together():
        result = evaluate_model(subject, out=out, progress=terminal())
    if not ranks.is_main():
        return
    if json:
        echo_json(result)
        return
    from warmstart.cli.console import Results
    from warmstart.cli.tables import eval_table, parts_tables

    console = Results()
    console.print(eval_table({str(adapter or result["of"]["model"]): result}))
    for table in parts_tables(result):
        console.print(table)


def served(url: str, model: str | None, key_env: str | None) -> Server:
    """Return the server that the options name.

    Raises:
        ConfigError: If the address is none, or the environment variable is not there.
        ModelError: If it does not answer, or serves several models and none is named.
    """
    from warmstart.rollouts.server import Server

    return Server.at(url, model, key=_key(key_env))


def _key(name: str | None) -> str | None:
    import os

    from warmstart.errors import ConfigError

    if name is None:
        return None
    if name not in os.environ:
        raise ConfigError(f"--key-env {name}: there is no such environment variable", f"export {name}=…")
    return os.environ[name]
