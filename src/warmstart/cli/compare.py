"""``compare``: runs and evaluations side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from warmstart.cli.options import Json, echo_json, example


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(epilog=example("warmstart compare runs/first runs/second --html compare.html"))(compare)


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN…",
            help="Run directories (RUN:base, RUN:warmup for another stage than the last) and folders of eval --out.",
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page.")] = None,
    json: Json = False,
) -> None:
    """Show runs side by side: results, paired tests against the first one, what their settings differ in."""
    from warmstart.results.comparison import compare as compare_runs

    found = compare_runs(runs)
    if html is not None:
        from warmstart.report.comparison_page import write_comparison

        write_comparison(html, found)
    if json:
        echo_json(found)
    else:
        _show(found)
        if html is not None:
            typer.echo(f"page: {html}")


def _show(found: Mapping[str, Any]) -> None:
    from warmstart.cli.console import Results
    from warmstart.cli.tables import eval_table
    from warmstart.results.summary import describe_gain

    console = Results()
    console.print(eval_table({run["label"]: run["eval"] for run in found["runs"]}))
    if found["paired"]:
        console.print(_tests(found))
    n = found["runs"][0]["eval"]["n"]
    for label, shared in found["shared_problems"].items():
        if shared < n:
            what = "no paired test is possible" if not shared else "the tests are on those"
            console.print(
                f"{label} shares {shared:,} of {n:,} problems with {found['runs'][0]['label']}: {what}",
                markup=False,
            )
    for gain in found["gain"]:
        console.print(f"{gain['b']}, {gain['mode']}: {describe_gain(gain)}", markup=False)
    if found["settings"]:
        console.print(_settings(found))


def _tests(found: Mapping[str, Any]) -> Any:  # noqa: ANN401
    from rich.markup import escape
    from rich.table import Table

    from warmstart.estimates import describe_p
    from warmstart.results.summary import describe_points

    table = Table(title=f"against {escape(found['runs'][0]['label'])}", title_justify="left")
    for column in ("", "completions", "measure", "n", "difference", "p", "adjusted (Holm)"):
        table.add_column(column)
    for test in found["paired"]:
        table.add_row(
            escape(test["b"]),
            test["mode"],
            test["measure"],
            str(test["n"]),
            describe_points(test),
            describe_p(test["p"]),
            describe_p(test["p_adjusted"]),
        )
    return table


def _settings(found: Mapping[str, Any]) -> Any:  # noqa: ANN401
    import json

    from rich.markup import escape
    from rich.table import Table

    table = Table(title="settings that differ", title_justify="left")
    for column in ("", *(escape(run["label"]) for run in found["runs"])):
        table.add_column(column, overflow="fold")
    for row in found["settings"]:
        cells = (
            "unset" if value is None else json.dumps(value, ensure_ascii=False) for value in row["values"]
        )
        table.add_row(row["key"], *map(escape, cells))
    return table
