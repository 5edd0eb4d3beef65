"""Whole runs on machines that refuse: the message, the exit code, and nothing that was finished is lost.

The cells that need no run are elsewhere: docs/reliability.md names the test of each.
"""

from __future__ import annotations

import http.server
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import trl
from safetensors.torch import load_file

from warmstart import cli, pipeline
from warmstart.runs.directory import RunDir
from warmstart.runs.lock import held

pytestmark = pytest.mark.slow

SHORT = [
    "eval.problems=8", "eval.samples=1", "eval.unseen_problems=0", "probe.problems=8", "probe.completions=4",
    "probe.cure=gold-warm-start", "sft.problems=32", "sft.steps=3", "sft.check_every=0", "grpo.steps=3",
    "grpo.problems_per_step=2", "grpo.group_size=4", "grpo.micro_batch=8", "grpo.check_every=0",
]  # fmt: skip
BEFORE = ["data", "probe", "eval-base", "sft", "eval-warmup"]
ALL = [*BEFORE, "grpo", "eval-grpo"]


class Ended(NamedTuple):
    """How the program ended, and what it said."""

    code: int
    said: str

    def told(self) -> list[str]:
        """The error and the hint, which come last."""
        return [line for line in self.said.splitlines() if line.startswith(("error: ", "hint:  "))]


Command = Callable[..., Ended]


@pytest.fixture(scope="module")
def reward(tmp_path_factory) -> Path:
    """A reward of one's own that raises while there is a file beside it."""
    file = tmp_path_factory.mktemp("rewards") / "mine.py"
    file.write_text(
        "from pathlib import Path\n"
        "def judge(completions, trainer_state=None, **kwargs):\n"
        "    if trainer_state and Path(__file__).with_name('broken').exists(): raise KeyError('key')\n"
        "    return [0.1] * len(completions)\n"
    )
    return file


@pytest.fixture
def warmstart(reward, monkeypatch, capfd) -> Command:
    """The program, in this process: importing torch anew takes longer than these runs."""

    def command(name: str, folder: Path) -> Ended:
        changes = [part for one in [*SHORT, f"grpo.rewards=[{reward}:judge]"] for part in ("--set", one)]
        monkeypatch.setattr(
            sys, "argv", ["warmstart", name, "tiny", "--out", str(folder), "--force", *changes]
        )
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Ended(int(stop.value.code or 0), "".join(capfd.readouterr()))

    return command


@pytest.fixture(scope="module")
def warmed(reward, tmp_path_factory) -> Path:
    """A run up to its GRPO."""
    folder = tmp_path_factory.mktemp("warmed") / "run"
    changes = [part for one in [*SHORT, f"grpo.rewards=[{reward}:judge]"] for part in ("--set", one)]
    command = [sys.executable, "-m", "warmstart", "sft", "tiny", "--out", str(folder), "--force", *changes]
    subprocess.run(command, check=True, timeout=1800)
    return folder


@pytest.fixture
def run(warmed, tmp_path) -> Path:
    """A copy of that run, to be troubled."""
    return Path(shutil.copytree(warmed, tmp_path / "run"))


def _is_whole(folder: Path, ended: Ended) -> bool:
    """Say whether the run went on to its end and did nothing twice."""
    assert ended.code == 0, ended.said
    assert "sft: already done" in ended.said
    assert list(RunDir.open(folder).finished_stages()) == ALL
    return (folder / "summary.json").is_file()


@pytest.fixture
def disk(tmp_path):
    """A file system that a test may fill and remount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here; tests/test_failures.py fills a limited file instead")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_run_whose_disk_fills_up_says_so_and_goes_on_when_there_is_room(disk, warmed, warmstart) -> None:
    folder = Path(shutil.copytree(warmed, disk / "run"))
    room = shutil.disk_usage(disk).free
    (disk / "other").write_bytes(bytes(room - 300_000))
    full = warmstart("run", folder)
    error, hint = full.told()
    assert (full.code, error.startswith("error: the disk is full (during ")) == (1, True), full.said
    assert hint == "hint:  free some space; the same command then goes on from what is finished"
    assert list(RunDir.open(folder).finished_stages())[: len(BEFORE)] == BEFORE
    (disk / "other").unlink()
    assert _is_whole(folder, warmstart("run", folder))


def test_a_directory_that_is_read_only_is_refused_before_anything_runs(disk, warmstart) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = warmstart("run", disk / "run")
    assert refused.code == 2
    assert refused.told()[0].endswith("cannot be a run directory: Read-only file system")


def test_a_second_run_in_the_directory_of_a_running_one_is_refused(tmp_path, warmstart) -> None:
    with held(tmp_path / "run"):
        # flock is of the open file, so that a second one of this process is as foreign as another's.
        refused = warmstart("run", tmp_path / "run")
    assert refused.code == 2
    assert f"is in use by process {os.getpid()} on " in refused.told()[0]
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


def test_a_clock_that_goes_backwards_changes_nothing(run, warmstart, monkeypatch) -> None:
    start, ticks = time.time(), itertools.count()
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: start - 60 * next(ticks))
        ended = warmstart("run", run)
    assert _is_whole(run, ended)
    facts = RunDir.open(run).finished_stages()
    assert all(fact["wall_s"] >= 0 for fact in facts.values())
    assert [line["step"] for line in RunDir.open(run).read_metrics("grpo")] == [1, 2, 3]


def test_memory_that_runs_out_in_a_stage_loses_no_stage_before_it(run, warmstart, monkeypatch) -> None:
    def too_large(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(pipeline, "grpo", too_large)
    ended = warmstart("run", run)
    error, hint = ended.told()
    assert (ended.code, error) == (1, "error: the GPU is out of memory (during grpo)")
    assert "lower grpo.micro_batch" in hint
    assert list(RunDir.open(run).finished_stages()) == BEFORE


def test_a_nan_in_one_step_of_grpo_costs_that_step_alone(run, warmstart, monkeypatch) -> None:
    stock, seen = trl.GRPOTrainer._compute_loss, []

    def sometimes(self, model, inputs):
        step = self.state.global_step
        seen.append(step)
        # Into the adapter itself: this short a warm start leaves no live row that a NaN could come through.
        trained = sum(p.sum() for p in model.parameters() if p.requires_grad)
        return stock(self, model, inputs) + (torch.nan * trained if step == 1 else 0.0)

    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", sometimes)
    ended = warmstart("run", run)
    assert 1 in seen
    assert _is_whole(run, ended)
    assert "grpo step 2: the gradient is not finite; its update is left out" in " ".join(ended.said.split())
    norms = [line["grad_norm"] for line in RunDir.open(run).read_metrics("grpo")]
    assert [norm is None for norm in norms] == [False, True, False]
    weights = load_file(RunDir.open(run).grpo_adapter / "adapter_model.safetensors")
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_a_reward_that_fails_everywhere_ends_the_run_by_name_and_mended_it_goes_on(
    run, reward, warmstart
) -> None:
    reward.with_name("broken").touch()
    ended = warmstart("run", run)
    reward.with_name("broken").unlink()
    error, hint = ended.told()
    assert ended.code == 1, ended.said
    assert (
        error
        == "error: the reward judge failed on 8 of 8 completions of step 1: raises, KeyError: 'key' (line 3)"
    )
    assert hint == (
        "hint:  mend it and run the same command again; what is finished stays (a changed file asks for --accept-changes)"
    )
    assert list(RunDir.open(run).finished_stages()) == BEFORE
    assert _is_whole(run, warmstart("run", run))
