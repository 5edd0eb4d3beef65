"""A real vLLM on CPU serves the adapter that the trainer trains: `make test-vllm` installs it and runs this."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset

from warmstart import GRPOTrainer, SignalConfig
from warmstart.data.synthetic import generate
from warmstart.errors import TrainingError
from warmstart.export import Sampling, export_merged
from warmstart.models import add_adapter, load_base, load_merged, load_tokenizer
from warmstart.progress import Quiet
from warmstart.rollouts import generate as complete
from warmstart.rollouts.server import Server, sample
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.engine import NUDGE, Written, check_engine, log_probs_of
from warmstart.training.grpo import prompt_rows
from warmstart.training.sft import supervise, train_sft

VLLM_PYTHON = os.environ.get("WARMSTART_VLLM_PYTHON")
pytestmark = pytest.mark.skipif(VLLM_PYTHON is None, reason="needs vLLM in a venv of its own: make test-vllm")

PROBLEMS = generate(8, seed=11, split="train")
AGREE = 1e-3
"""Nats per token, in float32."""
PATIENCE_S = 1800
"""A machine whose cores are busy takes minutes to import vLLM."""


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read() or b"null") if "completions" in url else None


@contextmanager
def _serving(model: str, folder: Path, *switches: str) -> Iterator[str]:
    """The address of a vLLM that serves a model in float32 under the name ``tiny``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    options = {
        "--model": model,
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": "float32",
        "--max-model-len": "512",
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                str(VLLM_PYTHON),
                "-m",
                "vllm.entrypoints.openai.api_server",
                *(word for pair in options.items() for word in pair),
                "--enforce-eager",
                *switches,
            ],
            env=os.environ
            | {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": str(PATIENCE_S),
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
                "HF_HUB_OFFLINE": "1",
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
        )
    try:
        _wait_for(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of a vLLM that serves the tiny base and takes adapters while it runs."""
    base = str(resources.files("warmstart") / "tiny_base")
    # A prefix cached under the old weights would answer for the new ones: the adapter keeps its name.
    switches = ("--enable-lora", "--max-lora-rank", "16", "--no-enable-prefix-caching")
    with _serving(base, tmp_path_factory.mktemp("vllm"), *switches) as url:
        yield url


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    pytest.fail(f"vLLM did not start: {log.read_text()[-3000:]}")


class Served:
    """The engine of these tests: a server that is given the adapter as files."""

    def __init__(self, url: str, model: Any, folder: Path, *, takes_it: bool = True) -> None:
        self._url, self._model, self._folder, self._takes_it = url, model, folder, takes_it
        self._syncs = 0

    def sync(self) -> None:
        self._syncs += 1
        if self._syncs > 1 and not self._takes_it:
            return
        folder = self._folder / f"adapter-{self._syncs}"
        self._model.save_pretrained(str(folder))
        body = {"lora_name": self._folder.name, "lora_path": str(folder), "load_inplace": self._syncs > 1}
        _post(f"{self._url}/v1/load_lora_adapter", body)

    def write(self, prompts: Sequence[Sequence[int]]) -> list[Written]:
        answer = _post(
            f"{self._url}/v1/completions",
            {
                "model": self._folder.name,
                "prompt": [list(ids) for ids in prompts],
                "max_tokens": 48,
                "temperature": 1.0,
                "seed": 3,
                "logprobs": 1,
                "return_token_ids": True,
            },
        )
        choices = sorted(answer["choices"], key=lambda one: one["index"])
        return [(one["token_ids"], one["logprobs"]["token_logprobs"]) for one in choices]


def _largest_gap(model: Any, prompts: Sequence[Sequence[int]], written: Sequence[Written]) -> float:
    ours = log_probs_of(model, prompts, written)
    return max(
        abs(x - y)
        for one, (_, other) in zip(ours, written, strict=True)
        for x, y in zip(one, other, strict=True)
    )


def _vowels(completions: Any, **columns: Any) -> list[float]:
    return [float(sum(c[0]["content"].count(v) for v in "aeiou") % 3) for c in completions]


@pytest.fixture
def trainer(tmp_path) -> GRPOTrainer:
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    model = add_adapter(load_base("tiny"), rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)
    return GRPOTrainer(
        model=model,
        reward_funcs=[_vowels],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "trainer"),
            max_steps=2,
            per_device_train_batch_size=16,
            num_generations=4,
            max_completion_length=24,
            learning_rate=5e-3,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
        ),
        train_dataset=Dataset.from_list(prompt_rows(prompter, PROBLEMS)),
        processing_class=prompter.tokenizer,
        signal=SignalConfig(),
    )


@pytest.fixture
def prompts() -> list[list[int]]:
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    return [prompter.prompt_ids(problem.question) for problem in PROBLEMS]


def test_engine_and_trainer_agree_before_and_after_an_update(server, trainer, prompts, tmp_path) -> None:
    model = trainer.model
    engine = Served(server, model, tmp_path / "updated")
    engine.sync()
    before = engine.write(prompts)
    assert _largest_gap(model, prompts, before) <= AGREE
    trainer.train()
    assert _largest_gap(model, prompts, before) > 10 * AGREE, "the update changed nothing to be seen"
    engine.sync()
    assert _largest_gap(model, prompts, engine.write(prompts)) <= AGREE


def test_the_self_test_passes_an_engine_that_follows_and_puts_the_weights_back(
    server, trainer, prompts, tmp_path
) -> None:
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    found = check_engine(trainer.model, Served(server, trainer.model, tmp_path / "follows"), prompts)
    assert found.gap <= AGREE
    assert found.followed <= AGREE
    assert found.stale > NUDGE / 4
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


def test_the_self_test_names_an_engine_that_keeps_its_weights(server, trainer, prompts, tmp_path) -> None:
    stuck = Served(server, trainer.model, tmp_path / "stuck", takes_it=False)
    with pytest.raises(TrainingError, match="does not follow the trainer's weights"):
        check_engine(trainer.model, stuck, prompts)


def test_a_probe_asks_the_server_and_says_what_ails_the_base(server) -> None:
    """The base never writes the format: FIX, exit 3, whoever samples."""
    command = ["probe", "tiny", "--server", server, "--model", "tiny", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "warmstart", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["findings"][0]["code"]) == ("FIX", "no-format")


def test_an_exported_model_is_served_and_writes_the_same_greedy_text_on_64_prompts(tmp_path) -> None:
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    questions = [problem.question for problem in generate(64, seed=5, split="eval")]
    prompts = [prompter.prompt_ids(question) for question in questions]
    train_sft(
        add_adapter(load_base("tiny"), rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0),
        prompter,
        supervise(prompter, generate(64, seed=0, split="train"), max_tokens=500).rows,
        folder=tmp_path / "adapter", steps=60, batch_size=8, micro_batch=8, learning_rate=5e-3,
        warmup_ratio=0.1, gradient_checkpointing=False, seed=0, trl={}, progress=Quiet(), sink=lambda line: None,
    )  # fmt: skip
    merged = tmp_path / "merged"
    export_merged(
        tmp_path / "adapter",
        merged,
        base="tiny",
        revision=None,
        prompts=prompts[:16],
        sampling=Sampling(max_tokens=96),
    )
    ours = complete(load_merged(str(merged), None), prompter.tokenizer, prompts, max_tokens=96, batch_size=64)
    with _serving(str(merged), tmp_path) as url:
        theirs = sample(
            Server.at(url, None),
            [prompter.messages(question) for question in questions],
            samples=1,
            temperature=0.0,
            top_p=1.0,
            max_tokens=96,
            seed=0,
        )
    assert [group[0].text for group in theirs] == [group[0].text for group in ours]
    assert sum("</answer>" in group[0].text for group in theirs) > 32, "it has learnt the format"
