from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from warmstart.errors import TrainingError
from warmstart.rewards.process import CallFault
from warmstart.training.reward_faults import RewardFaults

STRANGE = CallFault("brevity", "raises", "ValueError: strange row (line 5)", (1,))


class Failing:
    """A reward that did these things wrong, step after step."""

    def __init__(self, *steps: list[CallFault]) -> None:
        self._steps = iter(steps)

    def take_faults(self) -> list[CallFault]:
        return next(self._steps, [])


def _steps(failing, completions, count):
    said: list[str] = []
    faults = RewardFaults([failing], said.append)
    return [faults.left_out(completions, process=0, step=step).tolist() for step in range(1, count + 1)], said


def test_a_completion_a_reward_failed_on_is_left_out_and_said_once() -> None:
    out, said = _steps(Failing([STRANGE], [], [STRANGE]), 4, 3)
    assert out == [[False, True, False, False], [False] * 4, [False, True, False, False]]
    assert said == [
        "the reward brevity failed on 1 of 4 completions of step 1: raises, ValueError: strange row (line 5); they are left out"
    ]


def test_a_reward_that_failed_on_every_completion_ends_the_run_with_its_name() -> None:
    hangs = CallFault("judge", "times-out", "no answer within 60 s", (0, 1))
    with pytest.raises(
        TrainingError, match="the reward judge failed on 2 of 2 completions of step 1: times-out"
    ):
        _steps(Failing([hangs]), 2, 1)


def test_a_reward_that_fails_on_many_three_steps_in_turn_ends_the_run_and_a_good_step_forgives() -> None:
    out, _ = _steps(Failing([STRANGE], [STRANGE], [], [STRANGE], [STRANGE]), 4, 5)
    assert len(out) == 5
    with pytest.raises(TrainingError, match=r"of step 3: raises.*and on as many in the 2 steps before"):
        _steps(Failing(*[[STRANGE]] * 3), 4, 3)


def test_a_few_strange_rows_never_end_a_run() -> None:
    out, _ = _steps(Failing(*[[STRANGE]] * 20), 10, 20)
    assert len(out) == 20


TWO = """
import json, os, sys, time
import torch, trl
from datasets import Dataset
from transformers import TrainerCallback
from warmstart.data.synthetic import generate
from warmstart.errors import WarmstartError
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.rewards.files import RewardFile
from warmstart.rewards.process import ProcessReward
from warmstart.rewards import correctness_reward_func
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows
from warmstart.training.reward_faults import RewardFaults
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

folder, file = sys.argv[1:]
times = []

class Clock(TrainerCallback):
    def on_step_begin(self, *args, **kwargs): times.append(time.monotonic())

reward = ProcessReward(RewardFile(file, "judge"), limit_s=LIMIT)
prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
model = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
said = []
trainer = GRPOTrainer(
    model=model, reward_funcs=[correctness_reward_func, reward],
    args=trl.GRPOConfig(output_dir=folder, max_steps=5, per_device_train_batch_size=4, num_generations=4,
        max_completion_length=8, report_to="none", save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1),
    train_dataset=Dataset.from_list(prompt_rows(prompter, generate(32, seed=0, split="train"))),
    processing_class=prompter.tokenizer, callbacks=[Clock()],
    signal=SignalConfig(outcome="correctness_reward_func", reward_faults=RewardFaults([reward], said.append)),
)
error = None
try:
    trainer.train()
except WarmstartError as raised:
    error = raised.message
times.append(time.monotonic())
steps = [after - before for before, after in zip(times, times[1:])]
print(json.dumps({"error": error, "said": said, "steps": steps, "done": trainer.state.global_step}))
"""
LIMIT_S = 2.0


@pytest.mark.slow
def test_a_reward_that_hangs_in_one_of_two_processes_ends_each_step_within_its_limit_on_both(
    tmp_path: Path,
) -> None:
    file = tmp_path / "judge.py"
    file.write_text(
        "import os, re\n"
        "def judge(completions, **kwargs):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        re.match(r'(a+)+$', 'a' * 64 + '!')\n"
        "    return [1.0] * len(completions)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO.replace("LIMIT)", f"{LIMIT_S})"), str(tmp_path), str(file)],
            env={**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    results = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-2000:]
        results.append(json.loads(out.splitlines()[-1]))
    for result in results:
        # Half of the completions have no reward: two steps go on without them, the third ends the run.
        assert "the reward judge failed on 4 of 8 completions of step 3: times-out" in result["error"]
        assert "at judge.py line 4 in judge" in result["error"]
        assert result["done"] == 2
        assert all(step < LIMIT_S + 15 for step in result["steps"]), result["steps"]
