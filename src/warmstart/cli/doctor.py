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
    import platform

    free = shutil.disk_usage(".").free / 1e9
    return [
        Check("python", platform.python_version()),
        Check("cpu", f"{os.cpu_count()} cores"),
        *_memory(),
        *_gpus(),
        Check(
            "disk", f"{free:.0f} GB free here", "" if free > 1 else "free some space, or set --out elsewhere"
        ),
    ]


def _memory() -> list[Check]:
    import os

    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return []
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return [Check("memory", f"{total:.0f} GB")]


def _gpus() -> list[Check]:
    try:
        import torch
    except ImportError:
        return [Check("gpu", "not looked at: torch cannot be imported")]
    if not torch.cuda.is_available():
        return [Check("gpu", "none: the tiny recipes run, real models want one")]
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        Check(
            "gpu",
            f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, "
            + ("bfloat16" if (gpu.major, gpu.minor) >= (8, 0) else "float16 (no bfloat16 in hardware)"),
        )
        for gpu in found
    ]
