"""``doctor``: is this machine ready, and if not, which command helps?"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass

import typer

from warmstart.cli.options import Json, echo_json


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``fix`` is the command that helps, empty when all is well."""

    name: str
    found: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command()(doctor)


def doctor(json: Json = False) -> None:
    """Look at the machine and the installed packages; exit code 1 if something must be fixed."""
    checks = examine()
    if json:
        echo_json([asdict(check) for check in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            typer.echo(f"{'✗' if check.fix else '✓'} {check.name:{width}}  {check.found}")
            if check.fix:
                typer.echo(f"  fix: {check.fix}")
    if any(check.fix for check in checks):
        raise typer.Exit(1)


def examine() -> list[Check]:
    """Return what was looked at: packages against the ranges warmstart was tested with, then the machine."""
    return [*_packages(), *_machine()]


def _packages() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    checks = []
    for line in requires("warmstart") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            checks.append(
                Check(wanted.name, "not installed", f"pip install '{wanted.name}{wanted.specifier}'")
            )
            continue
        fits = wanted.specifier.contains(found, prereleases=True)
        checks.append(
            Check(wanted.name, found, "" if fits else f"pip install '{wanted.name}{wanted.specifier}'")
        )
    return checks


def _machine() -> list[Check]:
    import os

    import torch

    checks = [Check("cpu", f"{os.cpu_count()} cores")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            kind = "bfloat16" if (gpu.major, gpu.minor) >= (8, 0) else "float16 (no bfloat16 in hardware)"
            checks.append(Check("gpu", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, {kind}"))
    else:
        checks.append(Check("gpu", "none: the tiny recipes run, real models want one"))
    free = shutil.disk_usage(".").free / 1e9
    checks.append(
        Check(
            "disk",
            f"{free:.0f} GB free here",
            "" if free > 1 else "free some space, or use --out on another disk",
        )
    )
    return checks
