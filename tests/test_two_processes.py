"""One process or two: the same completions, rewards, choices of problems and weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

HERE = Path(__file__).parent
UPDATES = 20


def launched(processes: int, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return a finished ``torchrun`` of so many processes on CPU, which talk over gloo."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.run(
        [sys.executable, *torchrun, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[int, Path]:
    """What `distributed/train.py` left, by the number of processes; the global batch is the same."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp(f"of{processes}")
        done = launched(
            processes,
            str(HERE / "distributed" / "train.py"),
            str(folders[processes]),
            str(UPDATES),
            str(16 // processes),
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return folders


def _written(folder: Path, process: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"process{process}.json").read_text())
    return found


def test_processes_share_agree_and_notice_a_lost_one(tmp_path) -> None:
    done = launched(2, str(HERE / "distributed" / "agree.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    main, other = _written(tmp_path, 0), _written(tmp_path, 1)
    assert main["count"] == other["count"] == 2
    assert (main["share"], other["share"]) == (["a", "c", "e"], ["b", "d"])
    assert main["gathered"] == other["gathered"] == [0, 1]
    assert main["told"] == other["told"] == "by 0, who asks 0"
    assert main["refused"] == ["row 3 has no gold", "fill it", False]
    assert other["refused"] == ["row 3 has no gold", "fill it", True], "one of them says it"
    assert main["lost"].startswith("another process of this run is gone")


@pytest.mark.slow
def test_two_processes_are_two_and_take_every_shortcut(trained) -> None:
    assert [_written(trained[2], process)["world"] for process in (0, 1)] == [2, 2]
    assert _written(trained[2], 1)["shortcuts"] == [True, True, True]


@pytest.mark.slow
def test_completions_rewards_and_choices_of_problems_are_those_of_one_process(trained) -> None:
    alone, first, second = _written(trained[1], 0), _written(trained[2], 0), _written(trained[2], 1)
    assert len(alone["rollouts"]) == UPDATES
    assert first["rollouts"] == alone["rollouts"]
    assert second["rollouts"] == [], "one process writes the log"
    assert first["posterior"] == second["posterior"] == alone["posterior"]


@pytest.mark.slow
def test_weights_agree_to_a_ten_thousandth_after_twenty_updates(trained) -> None:
    alone = load_file(trained[1] / "process0.safetensors")
    assert max(float(weight.abs().max()) for name, weight in alone.items() if "lora_B" in name) > 1e-3
    for process in (0, 1):
        weights = load_file(trained[2] / f"process{process}.safetensors")
        assert weights.keys() == alone.keys()
        assert max(float((weights[name] - alone[name]).abs().max()) for name in alone) <= 1e-4


@pytest.mark.slow
def test_what_is_logged_is_of_all_processes(trained) -> None:
    of_one_process = {"time/generate_s", "time/score_s", "step_time"}
    # TRL's own, the mean of the micro-batches, which two processes cut in another way; ours is signal/entropy.
    of_one_process |= {"entropy"}
    for alone, both in zip(
        _written(trained[1], 0)["logs"][:-1], _written(trained[2], 0)["logs"][:-1], strict=True
    ):
        assert alone.keys() == both.keys()
        for name in alone.keys() - of_one_process:
            assert both[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-5), name


SHORT = {
    "probe.problems": 8,
    "probe.completions": 4,
    # Full batches in every epoch: a short one is filled up where there are several processes.
    "probe.cure": "gold-warm-start",
    "sft.problems": 48,
    "sft.steps": 24,
    "sft.check_every": 12,
    "sft.check_problems": 8,
    # The plainest arithmetic: what is compared is the processes, not how products of 4 bits round.
    "sft.quantization": "none",
    "grpo.steps": 4,
    "grpo.problems_per_step": 4,
    "grpo.group_size": 4,
    "grpo.learning_rate": 5e-4,
    "grpo.check_every": 2,
    "grpo.check_problems": 8,
    "eval.problems": 16,
    "eval.samples": 2,
    "eval.unseen_problems": 0,
}
SETTINGS = [word for name, value in SHORT.items() for word in ("--set", f"{name}={value}")]
TOLERANCE = 0.1
"""Of every rate of the summary: float32 adds up in another order, and one token drawn differently turns one
of 16 greedy or 32 sampled completions."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Path]:
    """A short run of every stage by one process and by two."""
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp("runs") / f"of{processes}"
        command = ["-m", "warmstart", "run", "tiny", *SETTINGS, "--force", "--out", str(folders[processes])]
        done = launched(processes, *command)
        assert done.returncode == 0, done.stderr[-3000:]
    return folders


def _summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.slow
def test_the_probe_and_the_base_are_measured_alike_to_the_letter(runs) -> None:
    probes = [json.loads((folder / "probe" / "base.json").read_text()) for folder in runs.values()]
    assert probes[0]["solve_rates"] == probes[1]["solve_rates"]
    assert probes[0]["verdict"] == probes[1]["verdict"]
    alone, both = (_summary(folder)["eval"]["base"] for folder in runs.values())
    assert alone == both


@pytest.mark.slow
def test_a_run_of_two_processes_ends_with_the_summary_of_one(runs) -> None:
    alone, both = (_summary(folder) for folder in runs.values())
    assert [v["verdict"] for v in alone["verdicts"]] == [v["verdict"] for v in both["verdicts"]]
    for stage, result in alone["eval"].items():
        for mode in ("greedy", "sampled"):
            for measure in ("strict", "lenient", "format"):
                rate = both["eval"][stage][mode][measure]["value"]
                assert rate == pytest.approx(result[mode][measure]["value"], abs=TOLERANCE), (stage, mode)


@pytest.mark.slow
def test_every_line_and_file_is_written_once(runs) -> None:
    for folder in runs.values():
        stages = [json.loads(line)["stage"] for line in (folder / "stages.jsonl").read_text().splitlines()]
        assert stages == ["data", "probe", "eval-base", "sft", "eval-warmup", "grpo", "eval-grpo"]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        steps: dict[str, list[int]] = {}
        for line in lines:
            steps.setdefault(line["stage"], []).append(line["step"])
        assert steps.pop("sft") == list(range(1, SHORT["sft.steps"] + 1))
        assert steps == {"writing": [1, 2, 3, 4], "grpo": [1, 2, 3, 4], "check": [2, 4]}
    names = [{str(path.relative_to(folder)) for path in folder.rglob("*")} for folder in runs.values()]
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_killed_process_ends_the_run_with_a_message(tmp_path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = ["-m", "warmstart", "run", "tiny", *SETTINGS, "--force", "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, *torchrun, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as job:
        try:
            # The run directory is made when both have met.
            _wait_until(lambda: (tmp_path / "run" / "stages.jsonl").exists())
            os.kill(_process_of(job.pid, rank=1), signal.SIGKILL)
            _, said = job.communicate(timeout=300)
        finally:
            job.kill()
    assert job.returncode == 1
    assert "another process of this run is gone" in said or "Signal 9 (SIGKILL) received" in said


def _wait_until(is_so: Callable[[], bool], patience_s: float = 600) -> None:
    end = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)


def _process_of(launcher: int, *, rank: int) -> int:
    """Return the process with this rank among the launcher's children."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    wanted = f"RANK={rank}".encode()
    (found,) = [
        int(child) for child in children if wanted in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    ]
    return found
