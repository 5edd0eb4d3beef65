"""``rollouts``: look into what the model wrote while it was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmstart.cli.options import echo_json, example
from warmstart.errors import ConfigError, RunDirError

if TYPE_CHECKING:
    from warmstart.runs.rollout_log import Filters, Selection

_ROWS, _GROUPS = 20, 4
"""Shown on a screen when no limit is given."""
_SORTED_MOST = 100_000
"""Texts that are held in memory to be written in another order than the log's."""


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(epilog=example("warmstart rollouts runs/tiny --dead --step 12"))(rollouts)


def rollouts(
    folder: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    step: Annotated[str | None, typer.Option(metavar="N|A:B", help="One step, or from A to B.")] = None,
    problem: Annotated[str | None, typer.Option(metavar="ID", help="One problem.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Groups whose rewards differ.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Groups whose rewards are all equal.")] = False,
    verdict: Annotated[
        str | None, typer.Option(metavar="NAME", help="correct, wrong, no_answer or undecided.")
    ] = None,
    wrong_but_strict: Annotated[
        bool, typer.Option("--wrong-but-strict", help="A wrong answer in the exact format.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stage of the reward plan: shape, format or solve.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Highest first: advantage, reward or tokens.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="With --sort: lowest first.")] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="The groups they are in, with all texts side by side.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help=f"Shown: {_ROWS} completions or {_GROUPS} groups, else all of them."),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write them to a new .jsonl or .parquet file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON per completion.")] = False,
) -> None:
    """Browse the completions of GRPO: what was written, what it was paid, and why.

    Several filters must all be met.
    """
    from warmstart.runs.directory import RunDir
    from warmstart.runs.rollout_log import SORT_KEYS, rows_of, select

    filters = _filters(step, problem, live, dead, verdict, wrong_but_strict, stage)
    _choice("--sort", sort, SORT_KEYS)
    _check_output(sort, reverse, limit, export, is_whole=json or export is not None)
    run = RunDir.open(folder)
    files = run.rollout_files()
    if not files:
        raise RunDirError(
            f"{folder} has no rollouts: it has not come to GRPO",
            "`warmstart run` and `warmstart grpo` write them, step by step",
        )
    found = select(files, filters, sort=sort, lowest_first=reverse)
    if export is not None:
        typer.echo(f"{_export(export, _tables(found, groups, limit)):,} completions in {export}")
    elif json:
        for row in rows_of(_tables(found, groups, limit)):
            echo_json(row, indent=None)
    elif len(found):
        from warmstart.cli.rollout_views import show_groups, show_table
        from warmstart.visible import tag_names

        if groups:
            show_groups(found, limit or _GROUPS, tag_names(run.read_json(run.resolved_path)))
        else:
            show_table(found, limit or _ROWS)
    else:
        typer.echo(f"no completion is like that; the log has the steps {min(files)} to {max(files)}")


def _filters(
    step: str | None,
    problem: str | None,
    live: bool,
    dead: bool,
    verdict: str | None,
    wrong_but_strict: bool,
    stage: str | None,
) -> Filters:
    from warmstart.curriculum import STAGES
    from warmstart.records import Verdict
    from warmstart.runs.rollout_log import Filters, parse_steps

    if live and dead:
        raise ConfigError("--live and --dead leave nothing", "leave one of them out")
    _choice("--verdict", verdict, [str(one) for one in Verdict])
    _choice("--stage", stage, STAGES)
    if wrong_but_strict and verdict not in (None, "wrong"):
        raise ConfigError(
            f"--wrong-but-strict and --verdict {verdict} leave nothing", "leave one of them out"
        )
    return Filters(
        steps=(None, None) if step is None else parse_steps(step),
        problem=problem,
        live=True if live else False if dead else None,
        verdict=Verdict.WRONG if wrong_but_strict else None if verdict is None else Verdict(verdict),
        is_format=True if wrong_but_strict else None,
        stage=stage,
    )


def _choice(option: str, found: str | None, names: Sequence[str]) -> None:
    if found is not None and found not in names:
        raise ConfigError(f"{option} {found!r} is not known", f"choose one of {', '.join(names)}")


def _check_output(
    sort: str | None, reverse: bool, limit: int | None, export: Path | None, *, is_whole: bool
) -> None:
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} shows nothing", "write 1 or more")
    if reverse and sort is None:
        raise ConfigError("--reverse has no order to turn round", "add --sort advantage, reward or tokens")
    if sort is not None and is_whole and not 1 <= (limit or 0) <= _SORTED_MOST:
        raise ConfigError(
            "--sort would hold the whole log in memory",
            f"add --limit, {_SORTED_MOST:,} at most, or sort what is exported with pandas or DuckDB",
        )
    if export is None:
        return
    if export.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--export {export} has no ending that says how", "name it .jsonl or .parquet")
    if export.exists():
        raise ConfigError(f"{export} is already there", "name another file, or delete it first")


def _tables(found: Selection, groups: bool, limit: int | None) -> Iterator[Any]:
    return found.group_tables(limit) if groups else found.first(limit).tables()


def _export(path: Path, tables: Iterator[Any]) -> int:
    """Write the completions and return how many they were."""
    from warmstart.runs.rollout_log import write_jsonl, write_parquet

    write = write_jsonl if path.suffix == ".jsonl" else write_parquet
    try:
        return write(path, tables)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "name a folder that exists and is yours"
        ) from error
