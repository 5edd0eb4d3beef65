"""Twenty updates of the drop-in trainer, as one process or several: what `test_two_processes.py` starts.

Usage: train.py FOLDER UPDATES ROWS_PER_PROCESS, where FOLDER gets ``processN.json`` and ``processN.safetensors``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import trl
from accelerate import PartialState
from datasets import Dataset
from safetensors.torch import save_file

from warmstart import GRPOTrainer, SignalConfig
from warmstart.data.synthetic import generate
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.rewards.functions import correctness_reward_func, easy_reward_func
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows


def letters(completions: Any, **columns: Any) -> list[float]:
    """A reward that differs from completion to completion, so that there is something to learn."""
    return [float(sum(c[0]["content"].count(vowel) for vowel in "aeiou") % 5) for c in completions]


def main(folder: Path, updates: int, rows: int) -> None:
    """Train and write down everything that must not depend on the number of processes."""
    state = PartialState()
    model = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    kept: list[list[Any]] = []
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[correctness_reward_func, easy_reward_func, letters],
        args=trl.GRPOConfig(
            output_dir=str(folder / "trainer"),
            max_steps=updates,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=2,
            num_generations=4,
            max_completion_length=24,
            learning_rate=1e-3,
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            use_cpu=True,
            ddp_find_unused_parameters=False,
        ),
        train_dataset=Dataset.from_list(prompt_rows(prompter, generate(64, seed=3, split="train"))),
        processing_class=prompter.tokenizer,
        signal=SignalConfig(
            outcome="letters",
            gate=False,
            on_rollouts=lambda step, rows: kept.append(
                [[row["problem_id"], row["text"], row["reward"], row["advantage"]] for row in rows]
            ),
        ),
    )
    trainer.train()
    posterior = trainer.problems.posterior
    assert posterior is not None
    written = {
        "world": state.num_processes,
        "rollouts": kept,
        "posterior": posterior.to_dict(),
        "shortcuts": [trainer._draw_fast, trainer._live_rows_only, trainer._share_prompts],
        "logs": trainer.state.log_history,
    }
    (folder / f"process{state.process_index}.json").write_text(json.dumps(written))
    weights = {
        name: p.detach().contiguous() for name, p in trainer.model.named_parameters() if p.requires_grad
    }
    save_file(weights, folder / f"process{state.process_index}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
