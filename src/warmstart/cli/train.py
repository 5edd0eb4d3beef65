"""``run``, ``probe``, ``sft``, ``grpo`` and ``report``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmstart import ranks
from warmstart.cli.evaluate import served
from warmstart.cli.options import Json, Out, Recipe, Set, echo_json, example

if TYPE_CHECKING:
    from warmstart.probing.probe import Probe


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the program."""
    app.command(epilog=example("warmstart run tiny --out runs/demo --set seed=1"))(run)
    app.command(epilog=example("warmstart probe qwen2.5-1.5b-gsm8k --set probe.problems=128"))(probe)
    app.command(epilog=example("warmstart sft tiny --out runs/demo"))(sft)
    app.command(epilog=example("warmstart grpo tiny --out runs/demo"))(grpo)
    app.command(epilog=example("warmstart report runs/demo"))(report)


Cure = Annotated[
    str | None,
    typer.Option(
        "--cure",
        metavar="NAME",
        help="Force one: exemplar, prefill, self-warm-start, gold-warm-start, easier-problems, larger-groups.",
    ),
]
NoCure = Annotated[
    bool, typer.Option("--no-cure", help="Only diagnose: probe, say GO, FIX or STOP, train nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Train although the diagnosis says STOP.")]

AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Go on although recipe, packages, data or rewards are not those of the start.",
    ),
]


def run(
    recipe: Recipe = "tiny",
    out: Out = None,
    set_: Set = None,
    cure: Cure = None,
    no_cure: NoCure = False,
    force: Force = False,
    accept_changes: AcceptChanges = False,
    json: Json = False,
) -> None:
    """Probe the model, cure what keeps it from learning, train with GRPO, measure, report.

    The same command again goes on where it stopped, also after a kill. A run that ends in STOP exits with 4.
    """
    if no_cure:
        probe(recipe=recipe, set_=set_, json=json)
    changes = [*(set_ or []), *([] if cure is None else [f"probe.cure={cure}"])]
    folder = _run(recipe, out, changes, until=None, force=force, accept_changes=accept_changes)
    if ranks.is_main():
        _show_summary(folder, json)


def probe(
    recipe: Recipe = "tiny",
    adapter: Annotated[
        Path | None, typer.Option(help="An adapter on the recipe's base, e.g. runs/tiny/warmup/adapter.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Ask an OpenAI-compatible server, e.g. vLLM's, instead of loading weights."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The name the server serves it under.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the server's key.")
    ] = None,
    set_: Set = None,
    plot: Annotated[Path | None, typer.Option(help="Write the forecast as a page with a plot.")] = None,
    json: Json = False,
) -> None:
    """Say before training whether GRPO can learn: GO (exit 0), FIX (3) or STOP (4), and why."""
    from warmstart.cli.progress import quiet_libraries, terminal

    loaded, _ = _loaded(recipe, set_)
    quiet_libraries()
    from warmstart.pipeline import probe_recipe

    asked = None if server is None else served(server, model, key_env)
    with ranks.together():
        found = probe_recipe(loaded, adapter, server=asked, progress=terminal())
    if not ranks.is_main():
        raise typer.Exit(_EXITS[str(found.diagnosis.decision)])
    if plot is not None:
        from warmstart.report.probes import write_forecast

        write_forecast(plot, found.to_dict())
    if json:
        echo_json(found.to_dict())
    else:
        from warmstart.cli.tables import show_probe

        show_probe(found.to_dict())
        if adapter is None and server is None:
            _say_what_is_next(found, recipe, set_ or [])
    raise typer.Exit(_EXITS[str(found.diagnosis.decision)])


def _say_what_is_next(found: Probe, recipe: str, changes: list[str]) -> None:
    from warmstart.plan import can_be_cured

    said = str(found.diagnosis.decision)
    command = shlex.join(["warmstart", "run", recipe, *(word for one in changes for word in ("--set", one))])
    if said == "GO":
        typer.echo(f"next: {command}", err=True)
    elif said == "FIX" and can_be_cured(found.diagnosis.findings):
        typer.echo(f"next: {command} tries the cures, cheapest first, and trains if one helps", err=True)
    else:
        typer.echo("next: repair what is named, then probe again; the cures of a run cannot", err=True)


_EXITS = {"GO": 0, "FIX": 3, "STOP": 4}


def sft(
    recipe: Recipe = "tiny",
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    accept_changes: AcceptChanges = False,
) -> None:
    """Run up to the warm start (QLoRA SFT), if the plan has one, and save its adapter."""
    folder = _run(recipe, out, set_, until="sft", force=force, accept_changes=accept_changes)
    if ranks.is_main() and folder.warmup_adapter.is_dir():
        typer.echo(folder.warmup_adapter)


def grpo(
    recipe: Recipe = "tiny",
    out: Out = None,
    set_: Set = None,
    force: Force = False,
    accept_changes: AcceptChanges = False,
) -> None:
    """Run up to GRPO (Group Relative Policy Optimization) and save its adapter."""
    folder = _run(recipe, out, set_, until="grpo", force=force, accept_changes=accept_changes)
    if ranks.is_main():
        typer.echo(folder.grpo_adapter)


def report(
    folder: Annotated[Path, typer.Argument(help="A run directory.")],
    json: Json = False,
) -> None:
    """Write summary.json and report.html again from a run directory."""
    from warmstart.report import conclude
    from warmstart.runs.directory import RunDir

    opened = RunDir.open(folder)
    conclude(opened)
    _show_summary(opened, json)


def _run(
    recipe: str,
    out: Path | None,
    overrides: list[str] | None,
    *,
    until: str | None,
    force: bool,
    accept_changes: bool,
) -> Any:  # noqa: ANN401
    from warmstart.cli.progress import quiet_libraries, terminal

    loaded, text = _loaded(recipe, overrides)
    quiet_libraries()
    from warmstart.pipeline import run as run_recipe

    folder = out or Path("runs") / loaded.name
    return run_recipe(
        loaded,
        folder,
        recipe_yaml=text,
        until=until,
        force=force,
        accept_changes=accept_changes,
        progress=terminal(),
    )


def _loaded(recipe: str, overrides: list[str] | None) -> tuple[Any, str]:
    """Return the recipe and its text; of several processes the first one reads them, for all."""
    from warmstart.config.schema import load_recipe, recipe_text

    ranks.join()
    return ranks.from_main(lambda: (load_recipe(recipe, overrides or []), recipe_text(recipe)))


def _show_summary(folder: Any, as_json: bool) -> None:  # noqa: ANN401
    from warmstart.results.summary import headline

    facts = folder.read_json(folder.summary_path)
    if as_json:
        echo_json(facts)
        return
    from warmstart.cli.tables import eval_table

    if any(facts["eval"].values()):
        _print(eval_table(facts["eval"]))
    typer.echo(headline(facts))
    typer.echo(f"report: {folder.report_path}")


def _print(table: object) -> None:
    from warmstart.cli.console import Results

    Results().print(table)
