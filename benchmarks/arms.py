"""The arms that the benchmarks compare: one warm tiny model, one set of problems, stock TRL and warmstart.

Both arms get the same rewards, LoRA, batch and sampling; what differs is the trainer class alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trl
from datasets import Dataset
from transformers import (
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from warmstart.config.schema import load_recipe, recipe_text
from warmstart.models import continue_adapter, load_base, load_tokenizer
from warmstart.pipeline import run as run_recipe
from warmstart.records import Problem
from warmstart.rewards.functions import correctness_reward_func, strict_format_reward_func
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import Prompter, make_prompter
from warmstart.training.callbacks import quieten
from warmstart.training.grpo import prompt_rows
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

REWARDS = (strict_format_reward_func, correctness_reward_func)
OUTCOME = "correctness_reward_func"
Reward = Callable[..., list[float | None]]


def warm_adapter(given: Path | None, *overrides: str) -> Path:
    """Return the warm start of a run of ``tiny``; made (in a minute) if no run is given."""
    if given is not None:
        return given / "warmup" / "adapter"
    out = Path(tempfile.mkdtemp()) / "run"
    recipe = load_recipe("tiny", ["eval.problems=8", "eval.samples=0", *overrides])
    run_recipe(recipe, out, recipe_yaml=recipe_text("tiny"), until="sft", force=True)
    return out / "warmup" / "adapter"


def parser(text: str) -> argparse.ArgumentParser:
    """Return a parser with the option every benchmark has: the run whose warm start is used."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--run", type=Path, help="a finished run of tiny; without it a warm start is made")
    return found


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Seconds of each optimizer step, rollouts and scoring included."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._started = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Note the time; the first batch of a generation is prepared after this."""
        self._started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Keep how long the step took."""
        self.steps.append(time.perf_counter() - self._started)


@dataclass(frozen=True)
class Setting:
    """What both arms share."""

    adapter: Path
    group_size: int = 8
    problems_per_step: int = 16
    micro_batch: int = 64
    max_tokens: int = 112
    learning_rate: float = 0.0
    schedule: str = "constant"
    seed: int = 0


def prompter() -> Prompter:
    """Return the prompts of the tiny base."""
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


def trainer_of(
    arm: str,
    setting: Setting,
    rows: Sequence[dict[str, Any]],
    *,
    steps: int,
    rewards: Sequence[Reward] = REWARDS,
    callbacks: Sequence[TrainerCallback] = (),
    signal: SignalConfig | None = None,
    model: Any = None,  # noqa: ANN401
    tokenizer: PreTrainedTokenizerBase | None = None,
    **arguments: Any,  # noqa: ANN401
) -> trl.GRPOTrainer:
    """Return the trainer of an arm, ``stock`` or ``warmstart``, on the tiny model with its warm start."""
    completions = setting.problems_per_step * setting.group_size
    config = trl.GRPOConfig(
        **{
            "output_dir": tempfile.mkdtemp(),
            "max_steps": steps,
            "per_device_train_batch_size": min(setting.micro_batch, completions),
            "gradient_accumulation_steps": max(1, completions // setting.micro_batch),
            "num_generations": setting.group_size,
            "max_completion_length": setting.max_tokens,
            "learning_rate": setting.learning_rate,
            "lr_scheduler_type": setting.schedule,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "beta": 0.0,
            "gradient_checkpointing": False,
            "bf16": False,
            "seed": setting.seed,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **arguments,
        }
    )
    made: dict[str, Any] = {
        "model": continue_adapter(load_base("tiny"), setting.adapter) if model is None else model,
        "reward_funcs": list(rewards),
        "args": config,
        "train_dataset": Dataset.from_list(list(rows)),
        "processing_class": tokenizer or load_tokenizer("tiny"),
        "callbacks": list(callbacks),
    }
    with contextlib.redirect_stderr(io.StringIO()):
        if arm == "stock":
            trainer = trl.GRPOTrainer(**made)
        else:
            trainer = GRPOTrainer(**made, signal=signal or SignalConfig())
    quieten(trainer)
    return trainer


def rows_of(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the data set of GRPO for these problems."""
    return prompt_rows(prompter(), problems)
