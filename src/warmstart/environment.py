"""Where a run took place: versions, machine, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = (
    "warmstart", "torch", "trl", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "math-verify", "numpy",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the installed version of everything that can change a result; missing packages are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, Any]:
    """Return what ``environment.json`` holds, rewards of one's own aside."""
    return {
        "versions": versions(),
        "commit": commit(),
        "platform": platform.platform(),
        "cpu_cores": os.cpu_count(),
        "gpus": _gpus(),
    }


def commit() -> str | None:
    """Return the commit of warmstart's own sources, ``-dirty`` if they were changed; None outside a checkout."""
    here = Path(__file__).parent
    try:
        # Only a file that this repository tracks: a checkout may hold a virtual environment with another warmstart.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", ".")
        return _git(here, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _gpus() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_gb": round(gpu.total_memory / 1e9, 1)} for gpu in found]


def peak_rss_gb() -> float:
    """Return the most memory this process has held so far, in GB (10⁹ bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux that counts what the program held that started this one.
        (held,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(held) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def gpu_peak_begins() -> None:
    """Let the peak of the GPU's memory begin anew, with what is held now."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_gpu_gb() -> float | None:
    """Return the most memory torch has handed out on this process's GPU since the peak began, in GB; None without one."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
