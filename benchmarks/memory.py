"""What training takes, measured on this CPU, beside what `warmstart.budget.memory` says it takes.

    python benchmarks/memory.py            # three random shapes: SFT, SFT with checkpointing, GRPO
    python benchmarks/memory.py --json

Each case is a process of its own that runs real steps of `train_sft` or `train_grpo` on a random Qwen2, with
rows of full length. The process first trains a tiny model the same way, so that libraries and their buffers
are there; measured is the peak of its resident memory from there on. Blocks of 64 KB and more are mapped by
themselves (MALLOC_MMAP_THRESHOLD_), so that what is freed is given back and the peak is what was held.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RANK = 16
PROMPT, CAP, ROWS, GROUP = 96, 160, 8, 4
SHAPES = {
    "wide": {"layers": 4, "hidden": 256, "inner": 768, "heads": 4, "kv_heads": 2, "vocabulary": 2048},
    "deep": {"layers": 10, "hidden": 128, "inner": 384, "heads": 4, "kv_heads": 4, "vocabulary": 1024},
    "many words": {"layers": 4, "hidden": 128, "inner": 512, "heads": 8, "kv_heads": 2, "vocabulary": 8192},
}
CASES = ("sft", "sft checkpointed", "grpo")
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def estimated(sizes: dict[str, int], case: str) -> float:
    """Return the bytes that `warmstart.budget.memory` expects."""
    from warmstart.budget.memory import Lora, Precision, Rows, sampling_bytes, update_bytes
    from warmstart.budget.model_shapes import ModelShape

    shape = ModelShape(**sizes, head=sizes["hidden"] // sizes["heads"], is_tied=True)
    lora, precision = Lora(RANK, ALL), Precision()
    if case != "grpo":
        rows = Rows(ROWS, PROMPT, CAP, ROWS)
        return update_bytes(shape, lora, precision, rows, checkpointing=case == "sft checkpointed").total
    rows = Rows(ROWS, PROMPT, CAP, ROWS // GROUP)
    update = update_bytes(shape, lora, precision, rows, checkpointing=False, shares_prompts=True)
    sampling = sampling_bytes(shape, lora, precision, rows, holds_copy=True, is_training=True)
    return max(update.total, sampling.total)


def measured(sizes: dict[str, int], case: str) -> float:
    """Return the bytes a process of its own took."""
    command = [sys.executable, __file__, "--child", json.dumps([sizes, case])]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.strip().splitlines()[-1])


def _child(sizes: dict[str, int], case: str) -> None:
    small = {"layers": 1, "hidden": 32, "inner": 64, "heads": 2, "kv_heads": 1, "vocabulary": 1024}
    _train(small, case, prompt=24, cap=8)
    gc.collect()
    before = _status("VmRSS")
    # The kernel's own mark of the peak, begun anew.
    Path("/proc/self/clear_refs").write_text("5")
    _train(sizes, case, prompt=PROMPT, cap=CAP)
    print(_status("VmHWM") - before)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def _train(sizes: dict[str, int], case: str, *, prompt: int, cap: int) -> None:
    from warmstart.batching import plan_batches
    from warmstart.models import add_adapter, load_tokenizer
    from warmstart.progress import Quiet
    from warmstart.records import Problem
    from warmstart.tags import DEFAULT_TAGS
    from warmstart.templates.prompter import make_prompter
    from warmstart.training.grpo import train_grpo
    from warmstart.training.sft import train_sft

    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS, text="")
    model = add_adapter(_random(sizes), rank=RANK, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)
    folder = Path(tempfile.mkdtemp()) / "adapter"
    common: dict[str, Any] = {"folder": folder, "progress": Quiet(), "sink": lambda line: None}
    if case != "grpo":
        # The first row is full; the others begin a token later, so that there is a mask, as in any real batch.
        rows = [
            {
                "input_ids": [9] * (prompt + cap - (n > 0)),
                "labels": [-100] * (prompt - (n > 0)) + [9] * (cap - 1) + [2],
            }
            for n in range(ROWS)
        ]
        train_sft(
            model, prompter, rows, steps=2, batch_size=ROWS, micro_batch=ROWS, learning_rate=1e-4, warmup_ratio=0.0,
            gradient_checkpointing=case == "sft checkpointed", seed=0, trl={}, **common,
        )  # fmt: skip
        return
    problems = [Problem(f"p{n}", _question(prompter, prompt, n), "1", "1") for n in range(ROWS // GROUP)]

    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:  # noqa: ANN401
        return [2.0 * float(n % 2 == 0 or "<answer>" in str(text)) for n, text in enumerate(completions)]

    train_grpo(
        model, prompter, problems, {"reward": (reward, 1.0)}, outcome="reward", steps=2, group_size=GROUP,
        batches=plan_batches(ROWS // GROUP, GROUP, micro_batch=ROWS),
        arguments={"learning_rate": 1e-4, "max_completion_length": cap, "gradient_checkpointing": False, "bf16": False},
        handover=None, on_rollouts=lambda step, rows: None, **common,
    )  # fmt: skip


def _question(prompter: Any, length: int, number: int) -> str:  # noqa: ANN401
    """Return a question whose prompt has ``length`` tokens."""
    words = f"{number}"
    while len(prompter.prompt_ids(words + " 1")) <= length:
        words += " 1"
    return words


def _random(sizes: dict[str, int]) -> Any:  # noqa: ANN401
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            num_hidden_layers=sizes["layers"],
            hidden_size=sizes["hidden"],
            intermediate_size=sizes["inner"],
            num_attention_heads=sizes["heads"],
            num_key_value_heads=sizes["kv_heads"],
            vocab_size=sizes["vocabulary"],
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def main() -> None:
    """Measure every case, or be the process of one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        _child(*json.loads(chosen.child))
        return
    for shape in [chosen.shape] if chosen.shape else SHAPES:
        for case in [chosen.case] if chosen.case else CASES:
            found, expected = measured(SHAPES[shape], case), estimated(SHAPES[shape], case)
            row = {"shape": shape, "case": case, "measured_mb": found / 1e6, "estimated_mb": expected / 1e6}
            if chosen.json:
                print(json.dumps(row | {"ratio": expected / found}), flush=True)
            else:
                print(
                    f"{shape:12}{case:18}measured {found / 1e6:7.0f} MB   estimated {expected / 1e6:7.0f} MB   "
                    f"{expected / found - 1:+.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
