"""Both trainings, stopped in a later epoch and with dropout: the random state and the data's order count too."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from warmstart.batching import plan_batches
from warmstart.data.synthetic import generate
from warmstart.interrupts import Interrupts
from warmstart.models import add_adapter, load_tokenizer
from warmstart.progress import Quiet
from warmstart.runs.directory import RunDir
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.checkpoints import Checkpoints
from warmstart.training.grpo import train_grpo
from warmstart.training.sft import supervise, train_sft
from warmstart.training.watch import SignalWatch

STEPS, STOPPED = 8, 5
"""Steps in all, and the one in which the run is told to stop."""


def by_length(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """Pay by the parity of the text's bytes, and a perfect target: random weights get live groups of it."""
    return [
        float(sum(text[0]["content"].encode()) % 2 or "<answer>" in text[0]["content"])
        for text in completions
    ]


def small_model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    return add_adapter(
        Qwen2ForCausalLM(config), rank=2, alpha=4, dropout=0.1, target_modules="all-linear", seed=0
    )


def train(folder: Path, stage: str, *, stop: bool, sampling: ProblemSampling | None = None) -> None:
    """Train for eight steps of three to an epoch; stopped, the first time, in the fifth."""
    run, interrupts = RunDir(folder), Interrupts(lambda line: None)
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS, text="")
    problems = generate(6, seed=0, split="train")
    checkpoints = Checkpoints(run, stage, every=0, say=lambda line: None, interrupts=interrupts)

    def sink(line: dict[str, Any]) -> None:
        run.append_metrics(line)
        if stop and line["step"] == STOPPED:
            interrupts.asked = signal.SIGINT

    shared: dict[str, Any] = {"folder": folder / "adapter", "progress": Quiet(), "checkpoints": checkpoints}
    shared |= {"steps": STEPS, "sink": sink}
    model = small_model(prompter.tokenizer)
    watch = SignalWatch(outcome="by_length", outcome_max=1.0, say=lambda line: None, stop=False)
    with checkpoints.training(watch if stage == "grpo" else None):
        if stage == "sft":
            train_sft(
                model,
                prompter,
                supervise(prompter, problems, max_tokens=512).rows,
                batch_size=2,
                micro_batch=1,
                learning_rate=1e-3,
                warmup_ratio=0.1,
                gradient_checkpointing=False,
                seed=0,
                trl={},
                **shared,
            )
        else:
            train_grpo(
                model,
                prompter,
                problems,
                {"by_length": (by_length, 1.0)},
                outcome="by_length",
                group_size=4,
                batches=plan_batches(2, 4, micro_batch=4),
                arguments={
                    "max_completion_length": 6,
                    "learning_rate": 1e-2,
                    "bf16": False,
                    "gradient_checkpointing": False,
                },
                handover=None,
                on_rollouts=run.write_rollouts,
                watch=watch,
                sampling=sampling,
                **shared,
            )


@pytest.mark.parametrize(
    ("stage", "sampling"),
    [("sft", None), ("grpo", None), ("grpo", ProblemSampling())],
    ids=["sft", "grpo, problems alike", "grpo, problems chosen"],
)
def test_stopped_in_its_second_epoch_a_training_with_dropout_ends_bit_for_bit_the_same(
    stage, sampling, tmp_path
) -> None:
    train(tmp_path / "whole", stage, stop=False, sampling=sampling)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", stage, stop=True, sampling=sampling)
    assert (tmp_path / f"run/unfinished/{stage}/checkpoint-{STOPPED}/manifest.json").is_file()
    train(tmp_path / "run", stage, stop=False, sampling=sampling)
    weights = [
        (tmp_path / name / "adapter/adapter_model.safetensors").read_bytes() for name in ("whole", "run")
    ]
    assert weights[0] == weights[1]
    ends = [RunDir(tmp_path / name) for name in ("whole", "run")]
    assert list(ends[0].read_rollouts()) == list(ends[1].read_rollouts())
    lines = [[line["loss"] for line in end.read_metrics()] for end in ends]
    assert len(lines[0]) == STEPS
    assert lines[0] == lines[1]
