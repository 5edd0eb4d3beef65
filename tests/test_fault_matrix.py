"""Whole runs on machines that refuse: the message, the exit code, and nothing that was finished is lost.

The cells that need no run are elsewhere: docs/reliability.md names the test of each.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import trl

from warmstart import pipeline
from warmstart.config import load_recipe, recipe_text
from warmstart.errors import TrainingError
from warmstart.run_lock import held
from warmstart.runs import RunDir

pytestmark = pytest.mark.slow

SHORT = [
    "eval.problems=8", "eval.samples=1", "eval.unseen_problems=0", "probe.problems=8", "probe.completions=4",
    "probe.cure=gold-warm-start", "sft.problems=32", "sft.steps=3", "sft.check_every=0", "grpo.steps=3",
    "grpo.problems_per_step=2", "grpo.group_size=4", "grpo.micro_batch=8", "grpo.check_every=0",
]  # fmt: skip


def _warmstart(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmstart", *map(str, arguments)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def _run_in(folder: Path) -> subprocess.CompletedProcess[str]:
    changes = [part for one in SHORT for part in ("--set", one)]
    return _warmstart("run", "tiny", "--out", folder, "--force", *changes)


def _told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The error and the hint, which are the last two lines; a traceback is never among them."""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-2:]


@pytest.fixture
def disk(tmp_path):
    """A file system that a test may fill and remount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here; tests/test_failures.py fills a limited file instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_run_whose_disk_fills_up_says_so_and_goes_on_when_there_is_room(disk) -> None:
    full = _run_in(disk / "run")
    error, hint = _told(full)
    assert (full.returncode, error.startswith("error: the disk is full (during ")) == (1, True), full.stderr
    assert hint == "hint:  free some space; the same command then goes on from what is finished"
    run = RunDir.open(disk / "run")
    before = list(run.finished_stages())
    assert before[:2] == ["data", "probe"]
    _remount(disk, "size=200m")
    done = _run_in(disk / "run")
    assert done.returncode == 0, done.stderr
    assert all(f"{stage}: already done" in done.stderr for stage in before)
    assert list(run.finished_stages())[: len(before)] == before
    assert (run.path / "summary.json").is_file()


def test_a_directory_that_is_read_only_is_refused_before_anything_runs(disk) -> None:
    _remount(disk, "ro")
    refused = _run_in(disk / "run")
    assert refused.returncode == 2
    assert _told(refused)[0].endswith("cannot be a run directory: Read-only file system")


def test_a_second_run_in_the_directory_of_a_running_one_is_refused(tmp_path) -> None:
    with held(tmp_path / "run"):
        refused = _run_in(tmp_path / "run")
    assert refused.returncode == 2
    assert f"is in use by process {os.getpid()} on " in _told(refused)[0]
    assert list((tmp_path / "run").iterdir()) == []


class _Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.end_headers()

    do_HEAD = do_POST = do_GET

    def log_message(self, *args: object) -> None: ...


ASK = """
import sys
from warmstart.data import hub
from warmstart.errors import WarmstartError
from warmstart.models import load_base, load_tokenizer
for load in (load_tokenizer, load_base, lambda name: hub.read_rows(name, None, "train")):
    try:
        load("nobody/nothing")
        print("loaded")
    except WarmstartError as error:
        print(type(error).__name__, error.exit_code, error.message, "|", error.hint)
"""


@pytest.mark.parametrize("kind", ["unplugged", "refused", "offline"])
def test_without_the_hub_models_and_data_are_one_sentence_with_what_to_do(tmp_path, kind) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = 9 if kind == "unplugged" else server.server_port
    environment = {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": str(int(kind == "offline")),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **environment}, capture_output=True, text=True, timeout=900, check=False
    )  # fmt: skip
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "Error" in line]
    assert [line.split()[:2] for line in lines] == [
        ["ModelError", "2"],
        ["ModelError", "2"],
        ["DataError", "2"],
    ]
    assert all("nobody/nothing" in line and "network" in line.partition("|")[2] for line in lines), lines


BACKWARDS = """
import sys, time, itertools
start, ticks = time.time(), itertools.count()
time.time = lambda: start - 60 * next(ticks)
from warmstart.cli import main
main()
"""


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path) -> None:
    changes = [part for one in SHORT for part in ("--set", one)]
    command = [
        sys.executable,
        "-c",
        BACKWARDS,
        "run",
        "tiny",
        "--out",
        str(tmp_path / "run"),
        "--force",
        *changes,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    run = RunDir.open(tmp_path / "run")
    facts = run.finished_stages()
    assert list(facts) == ["data", "probe", "eval-base", "sft", "eval-warmup", "grpo", "eval-grpo"]
    assert all(fact["wall_s"] >= 0 for fact in facts.values())
    assert [line["step"] for line in run.read_metrics("grpo")] == [1, 2, 3]


def _run_here(folder: Path):
    return pipeline.run(load_recipe("tiny", SHORT), folder, recipe_yaml=recipe_text("tiny"), force=True)


def test_memory_that_runs_out_in_a_stage_loses_no_stage_before_it(tmp_path, monkeypatch) -> None:
    def measure(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with monkeypatch.context() as small:
        small.setattr(pipeline, "measure", measure)
        with pytest.raises(TrainingError, match=r"the GPU is out of memory \(during eval-base\)") as told:
            _run_here(tmp_path / "run")
    assert told.value.exit_code == 1
    assert "eval.batch_size" in told.value.hint
    run = RunDir.open(tmp_path / "run")
    assert list(run.finished_stages()) == ["data", "probe"]
    assert list(_run_here(tmp_path / "run").finished_stages())[:3] == ["data", "probe", "eval-base"]


def test_a_nan_in_one_step_of_grpo_costs_that_step_alone(tmp_path, monkeypatch) -> None:
    stock, calls = trl.GRPOTrainer._compute_loss, []

    def sometimes(self, model, inputs):
        calls.append(self.state.global_step)
        return stock(self, model, inputs) * (torch.nan if self.state.global_step == 1 else 1.0)

    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", sometimes)
    run = _run_here(tmp_path / "run")
    assert 1 in calls
    norms = [line["grad_norm"] for line in run.read_metrics("grpo")]
    assert [norm is None for norm in norms] == [False, True, False]
    from safetensors.torch import load_file

    weights = load_file(run.grpo_adapter / "adapter_model.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_a_reward_that_fails_everywhere_ends_the_run_by_name_and_keeps_what_was_finished(tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def judge(completions, trainer_state=None, **kwargs):\n    if trainer_state: raise KeyError('key')\n    return [0.1] * len(completions)\n")  # fmt: skip
    changes = [part for one in [*SHORT, f"grpo.rewards=[{file}:judge]"] for part in ("--set", one)]
    done = _warmstart("run", "tiny", "--out", tmp_path / "run", "--force", *changes)
    error, hint = _told(done)
    assert done.returncode == 1, done.stderr
    assert (
        error
        == "error: the reward judge failed on 8 of 8 completions of step 1: raises, KeyError: 'key' (line 2)"
    )
    assert hint == "hint:  mend it and run the same command again; what is finished stays"
    assert "eval-warmup" in json.dumps(list(RunDir.open(tmp_path / "run").finished_stages()))
