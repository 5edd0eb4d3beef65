"""The command line: thin commands over the package, imported when they are called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from warmstart import ranks
from warmstart.cli import (
    chat,
    check,
    compare,
    doctor,
    estimate,
    evaluate,
    export,
    grade,
    recipes,
    rollouts,
    train,
)
from warmstart.cli.options import example
from warmstart.errors import WarmstartError
from warmstart.failures import named
from warmstart.visible import visible

INTERRUPTED = 130

app = typer.Typer(
    name="warmstart",
    help="Reinforcement fine-tuning that knows whether it is learning.\n\nStart with: warmstart run",
    epilog=example("warmstart run"),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (train, chat, check, estimate, evaluate, compare, export, grade, rollouts, recipes, doctor):
    commands.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from warmstart import __version__

        typer.echo(f"warmstart {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        from warmstart.cli.start import next_steps

        for line in next_steps(Path.cwd()):
            typer.echo(line)


def main() -> None:
    """Run the program: a user error is one ``error:`` and one ``hint:`` line, a bug keeps its traceback.

    So does a machine that refuses: a full disk and memory that ran out are no bugs.
    """
    try:
        with named():
            app()
    except WarmstartError as error:
        if not error.is_said:
            print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        _reader_has_gone()
    except SystemExit as ended:
        # Click ends with 1 when `typer.echo` meets a closed pipe.
        if isinstance(ended.__context__, BrokenPipeError):
            _reader_has_gone()
        raise


def _reader_has_gone() -> NoReturn:
    # As in `warmstart recipes | head`; nothing is left to say.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def print_error(error: WarmstartError) -> None:
    """Write the error to stderr, its first line after ``error:``, the hint after ``hint:``.

    Names and values of files are in it, and they cannot steer the terminal.
    """
    who = "" if ranks.is_main() else f"process {ranks.index()}: "
    sys.stderr.write(f"error: {who}{visible(error.message)}\n")
    if error.hint:
        sys.stderr.write(f"hint:  {visible(error.hint)}\n")
