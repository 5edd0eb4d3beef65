"""``doctor``: is this machine ready, and if not, which command helps?"""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass

import typer

from warmstart.cli.options import Json, echo_json, example


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``fix`` is the command that helps, empty when all is well."""

    name: str
    found: str
    fix: str = ""


def register(app: typer.Typer) -> None:
    """Add the command of this file to the program."""
    app.command(epilog=example("warmstart doctor"))(doctor)


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
        if not any(check.fix for check in checks):
            typer.echo("nothing to fix")
    if any(check.fix for check in checks):
        raise typer.Exit(1)


def examine() -> list[Check]:
    """Return what was looked at: packages against the ranges warmstart was tested with, then the machine."""
    return [*_packages(), *_machine()]


def _packages() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        wanted_lines = requires("warmstart") or []
    except PackageNotFoundError:
        return [Check("warmstart", "runs from its sources, not installed", "pip install -e . in its folder")]
    checks = []
    for line in wanted_lines:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            checks.append(Check(wanted.name, "not installed", _install(f"{wanted.name}{wanted.specifier}")))
            continue
        fits = wanted.specifier.contains(found, prereleases=True)
        checks.append(Check(wanted.name, found, "" if fits else _install(f"{wanted.name}{wanted.specifier}")))
    return checks


def _install(requirement: str) -> str:
    # The interpreter that runs this: a bare pip may belong to another one.
    return f"{sys.executable} -m pip install '{requirement}'"


def _machine() -> list[Check]:
    import os
    import platform

    free = shutil.disk_usage(".").free / 1e9
    return [
        Check("python", platform.python_version()),
        Check("cpu", f"{os.cpu_count()} cores"),
        *_memory(),
        *_gpus(),
        _vllm(),
        Check("disk", f"{free:.0f} GB free here", "" if free > 1 else "warmstart run --out /a/larger/disk"),
    ]


def _vllm() -> Check:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Check("vllm", version("vllm"))
    except PackageNotFoundError:
        # Nothing to fix: transformers samples unless a recipe asks for vLLM.
        return Check("vllm", "not installed; only grpo.vllm needs it")


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
        if shutil.which("nvidia-smi") is None:
            return [Check("gpu", "none: the tiny recipes run, real models want one")]
        build = (
            f"torch is a build for CUDA {torch.version.cuda}" if torch.version.cuda else "torch has no CUDA"
        )
        fix = "nvidia-smi" if torch.version.cuda else f"{_install('torch')} --force-reinstall"
        return [Check("gpu", f"there is an NVIDIA driver, and torch sees no GPU: {build}", fix)]
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        Check(
            "gpu",
            f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, "
            + ("bfloat16" if (gpu.major, gpu.minor) >= (8, 0) else "float16 (no bfloat16 in hardware)"),
        )
        for gpu in found
    ]
