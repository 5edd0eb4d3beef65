"""The wheel, installed where nothing of the checkout is, does what the package promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHORT = [
    "eval.problems=8", "eval.samples=1", "eval.unseen_problems=0", "probe.problems=8", "probe.completions=4",
    "probe.cure=gold-warm-start", "sft.problems=32", "sft.steps=3", "sft.check_every=0", "grpo.steps=2",
    "grpo.problems_per_step=2", "grpo.group_size=4", "grpo.micro_batch=8", "grpo.check_every=0",
]  # fmt: skip


def _run(*command: str | Path, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy: building leaves folders beside the sources."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    _run(
        *pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source, folder=folder
    )
    return next(folder.glob("warmstart-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel in it; what it depends on is lent by this one."""
    folder = tmp_path_factory.mktemp("elsewhere")
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=folder)
    site = Path(
        _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip()
    )
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = _run(python, "-c", "import warmstart; print(warmstart.__file__)", folder=folder)
    assert where.startswith(str(site)), where
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "warmstart").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in names if not name.startswith("warmstart-")}
    assert packed == sources
    assert wheel.stat().st_size < 10_000_000


@pytest.mark.slow
def test_the_installed_program_checks_scores_explains_and_runs_outside_the_checkout(installed) -> None:
    program = installed / "venv" / "bin" / "warmstart"
    assert _run(program, "--version", folder=installed).startswith("warmstart ")
    assert _run(program, "check", "tiny", folder=installed).endswith("ok\n")
    assert "tiny" in _run(program, "recipes", folder=installed)
    text = "<reasoning>\n3*4\n</reasoning>\n<answer>\n12\n</answer>"
    assert "answer:   correct" in _run(program, "explain", text, "--gold", "12", folder=installed)
    # A formula starts a process of its own, from a file of the package.
    assert "correct" in _run(program, "explain", "<answer>$1+x$</answer>", "--gold", "x+1", folder=installed)
    changes = [part for one in SHORT for part in ("--set", one)]
    _run(program, "run", "--out", "run", "--force", *changes, folder=installed)
    for name in ("report.html", "summary.json", "grpo/adapter/adapter_model.safetensors"):
        assert (installed / "run" / name).is_file(), name
