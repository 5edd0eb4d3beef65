"""Every file of examples/ runs, as its first line says; small, where it would take minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = ["probe.problems=16", "probe.completions=2"]
SHORT = [
    *SMALL,
    "probe.force=true",
    "probe.cure=gold-warm-start",
    "sft.check_every=0",
    "sft.steps=8",
    "sft.problems=32",
    "sft.quantization=none",
    "grpo.steps=2",
    "grpo.check_every=0",
    "eval.problems=8",
    "eval.samples=1",
    "eval.unseen_problems=0",
]


def _run(command: list[str], folder: Path) -> str:
    # `warmstart` and `accelerate` are those of this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def _sets(changes: list[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def test_every_example_is_named_in_the_readme_and_tested_here() -> None:
    readme, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".sh") and not path.name.startswith("_"):
            assert f"[{path.name}]({path.name})" in readme
            assert f'"{path.name}"' in tests


def test_a_reward_of_ones_own_and_data_of_ones_own_take_ten_lines() -> None:
    for name in ("own_reward.py", "own_data.py"):
        lines = (EXAMPLES / name).read_text().split('"""', 2)[2].splitlines()
        assert sum(bool(line.strip()) for line in lines) <= 12, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_reward.py", "own_data.py"])
def test_what_is_ones_own_is_probed(name, tmp_path) -> None:
    said = _run([sys.executable, str(EXAMPLES / name), *SMALL], tmp_path)
    assert said.startswith(("GO", "FIX", "STOP"))
    assert "reward-raises" not in said


@pytest.mark.slow
def test_the_probe_stands_beside_a_plain_trainer(tmp_path) -> None:
    said = _run([sys.executable, str(EXAMPLES / "probe_first.py")], tmp_path)
    assert said.startswith(("FIX", "STOP"))  # the base never writes the tags
    assert "groups of 8: " in said


@pytest.mark.slow
def test_the_watch_names_the_cold_start_of_a_plain_trainer(tmp_path) -> None:
    said = _run([sys.executable, str(EXAMPLES / "watch_plain_trl.py")], tmp_path)
    assert " | " in said
    assert any(code in said for code in ("no-format", "too-hard", "few-live", "truncated")), said


@pytest.mark.slow
def test_a_sweep_ends_in_a_comparison(tmp_path) -> None:
    said = _run(["bash", str(EXAMPLES / "sweep.sh"), *_sets(SHORT)], tmp_path)
    assert "against" in said
    assert (tmp_path / "runs" / "rates.html").is_file()


@pytest.mark.slow
def test_accelerate_launches_two_processes(tmp_path) -> None:
    _run(["bash", str(EXAMPLES / "launch.sh"), *_sets(SHORT)], tmp_path)
    assert (tmp_path / "runs" / "two" / "summary.json").is_file()
