"""``estimate``: does the recipe fit on a GPU, how long does it take, and what would make it fit?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from warmstart.cli.options import Json, Recipe, Set, echo_json, example

if TYPE_CHECKING:
    from warmstart.budget.phases import Budget

_TIMES = "upper bounds, from data sheets and one measured H200: every completion as long as its cap or --mean-tokens"


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(epilog=example("warmstart estimate qwen2.5-1.5b-gsm8k --gpu rtx4090"))(estimate)


def estimate(
    recipe: Recipe = "tiny",
    gpu: Annotated[
        str | None,
        typer.Option(
            help="For instance t4, rtx4090, a100-80, h100; by default this machine's, else a table of all."
        ),
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="The longest prompt; by default what is known of the data.")
    ] = None,
    mean_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of a completion, for the times; by default its cap.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of an hour of the GPU, to show the cost.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Say what a recipe needs before it is run: memory by phase, time, whether it fits and with what.

    Exits 0 if it fits, 3 if it fits with other settings, 4 if it does not.
    """
    from warmstart.budget.gpus import GPUS, gpu_here, gpu_named
    from warmstart.budget.model_shapes import shape_of
    from warmstart.budget.phases import budget, what_would_fit
    from warmstart.config.schema import load_recipe

    loaded = load_recipe(recipe, set_ or [])
    shape = shape_of(loaded.model.name, revision=loaded.model.revision)
    chosen = gpu_named(gpu) if gpu else gpu_here()
    if chosen is None:
        found = [
            budget(loaded, shape, one, prompt_tokens=prompt_tokens, mean_tokens=mean_tokens)
            for one in GPUS.values()
        ]
        if json:
            echo_json([one.to_dict() for one in found])
        else:
            _show_all(loaded.name, found, price)
        return
    one = budget(loaded, shape, chosen, prompt_tokens=prompt_tokens, mean_tokens=mean_tokens)
    with_what = [] if one.fits else what_would_fit(loaded, shape, chosen, prompt_tokens=prompt_tokens)
    if json:
        echo_json({"recipe": loaded.name, **one.to_dict(), "fits_with": with_what})
    else:
        _show_one(loaded.name, one, with_what, price)
    raise typer.Exit(0 if one.fits else 3 if with_what else 4)


def _show_one(name: str, found: Budget, with_what: list[str] | None, price: float | None) -> None:
    from dataclasses import asdict

    gpu = found.gpu
    typer.echo(f"{name} on {gpu.name}: {gpu.memory_gb:g} GB, {gpu.dtype}\n")
    columns = list(asdict(found.phases[0].memory))
    columns = [c for c in columns if any(getattr(phase.memory, c) for phase in found.phases)]
    typer.echo(f"{'GB':15}" + "".join(f"{column:>13}" for column in [*columns, "peak", "time"]))
    for phase in found.phases:
        parts = "".join(f"{getattr(phase.memory, column) / 1e9:13.2f}" for column in columns)
        typer.echo(f"{phase.name:15}{parts}{phase.peak_gb:13.2f}{_time(phase.seconds):>13}")
    cost = "" if price is None else f", {found.hours * price:,.2f} at {price:g} an hour"
    typer.echo(f"\n{'whole run':15}{_time(found.hours * 3600)} at most{cost}")
    typer.echo(f"({_TIMES})\n")
    where = f"{found.worst.peak_gb:.1f} of {gpu.memory_gb:g} GB, in {found.worst.name}"
    if found.fits:
        typer.echo(f"fits: {where}")
    elif with_what:
        typer.echo(f"does not fit: {where}; fits with")
        typer.echo("  " + " ".join(f"--set {change}" for change in with_what))
    else:
        typer.echo(
            f"does not fit: {where}; take a smaller model or a larger GPU, or spread it (docs/scaling.md)"
        )


def _show_all(name: str, found: list[Budget], price: float | None) -> None:
    typer.echo(f"{name}\n")
    typer.echo(f"{'GPU':12}{'memory':>9}{'peak':>9}{'time':>10}{'cost' if price is not None else '':>10}  ")
    for one in found:
        cost = "" if price is None else f"{one.hours * price:,.2f}"
        verdict = "fits" if one.fits else f"does not fit, in {one.worst.name}"
        typer.echo(
            f"{one.gpu.name:12}{one.gpu.memory_gb:6.1f} GB{one.worst.peak_gb:6.1f} GB"
            f"{_time(one.hours * 3600):>10}{cost:>10}  {verdict}"
        )
    typer.echo(f"\n{_TIMES}; --gpu NAME shows the phases and what would make it fit")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
