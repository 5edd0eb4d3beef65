"""One GRPO step on one GPU: stock TRL and warmstart, on models of Qwen2.5's shapes with random weights.

    python benchmarks/gpu/step.py [--shape 0.5b 1.5b] [--prompt 256] [--completion 512] [--steps 3] [--json FILE]

The model is made on the GPU in bfloat16 with LoRA of rank 16 on all linear layers. No completion ends
before its cap, and every second group is live. The arms take turns; each has a model of its own, freed
before the next; "no graphs" is warmstart with every kernel launched by Python. Printed are the seconds of a
step and of its parts, generated tokens per second, the peak of the memory that torch handed out, and what
`warmstart estimate` says of time and memory. Without a GPU, ``--shape tiny`` runs the same on the CPU, to
see that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from shapes import LORA, RANK, SIZES, device_for, free, keep, model_shape, name_of, peak_gb, random_model
from transformers import TrainerCallback

from warmstart.budget.durations import sampling_seconds, update_seconds
from warmstart.budget.gpus import gpu_here
from warmstart.budget.memory import Precision, Rows, sampling_bytes, update_bytes
from warmstart.models import load_tokenizer
from warmstart.rollouts import graphed
from warmstart.training.callbacks import quieten
from warmstart.training.signal_config import SignalConfig
from warmstart.training.trainer import GRPOTrainer

ARMS = ("stock", "no graphs", "warmstart")
_graphs = graphed.is_possible


@dataclass(frozen=True)
class Measured:
    """One arm on one shape; times in seconds, memory in GB."""

    shape: str
    arm: str
    step_s: float
    generate_s: float | None
    update_s: float | None
    tokens_per_s: float
    peak_gb: float
    estimated_generate_s: float | None
    estimated_update_s: float | None
    estimated_gb: float


def every_second_group(group_size: int) -> Any:  # noqa: ANN401
    """Return a reward under which groups 0, 2, 4 … are live and the others all fail."""

    def outcome(completions: Sequence[Any], **columns: Any) -> list[float | None]:  # noqa: ANN401
        return [float((at // group_size) % 2 == 0 and at % 2 == 0) for at in range(len(completions))]

    return outcome


class Times(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step, with the GPU's queue emptied at both ends, and the logs."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.logs: list[dict[str, Any]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ANN401
        """Note the time."""
        self._began = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ANN401
        """Keep how long the step took."""
        self.steps.append(_now() - self._began)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: object) -> None:  # noqa: ANN401
        """Keep the line of a step."""
        if logs and "reward" in logs:
            self.logs.append(dict(logs))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(shape: str, arm: str, options: argparse.Namespace, device: str) -> Measured:
    """Return the medians of an arm's steps after a first one that warms up."""
    tokenizer = load_tokenizer("tiny")
    free(device)
    model = random_model(shape, device)
    model.generation_config.eos_token_id = None
    ids = tokenizer("apples and pears " * options.prompt)["input_ids"][: options.prompt - 3]
    rows = [{"prompt": f"{number} {tokenizer.decode(ids)}"} for number in range(4 * options.problems)]
    completions = options.problems * options.group_size
    times = Times()
    made: dict[str, Any] = {
        "model": model,
        "reward_funcs": every_second_group(options.group_size),
        "args": trl.GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=options.steps + 1,
            per_device_train_batch_size=options.micro_batch,
            gradient_accumulation_steps=completions // options.micro_batch,
            num_generations=options.group_size,
            max_completion_length=options.completion,
            generation_kwargs={"min_new_tokens": options.completion} if arm == "stock" else None,
            learning_rate=0.0,
            gradient_checkpointing=options.checkpointing,
            bf16=device == "cuda",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        "train_dataset": Dataset.from_list(rows),
        "processing_class": tokenizer,
        "peft_config": LoraConfig(r=RANK, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        "callbacks": [times],
    }
    graphed.is_possible = _graphs if arm == "warmstart" else lambda model: False
    if arm == "stock":
        trainer = trl.GRPOTrainer(**made)
    else:
        trainer = GRPOTrainer(**made, signal=SignalConfig(outcome="outcome", sampling=None))
        trainer.eos_token_ids = [-1]
    quieten(trainer)
    trainer.train()
    step_s = statistics.median(times.steps[1:])
    generated = [log.get("time/generate_s") for log in times.logs[1:]]
    generate_s = None if None in generated else statistics.median(generated)
    tokens = statistics.median(log["completions/mean_length"] for log in times.logs[1:])
    prompt = len(tokenizer(rows[0]["prompt"])["input_ids"])
    return Measured(
        shape=shape,
        arm=arm,
        step_s=step_s,
        generate_s=generate_s,
        update_s=None if generate_s is None else step_s - generate_s,
        tokens_per_s=tokens * completions / step_s,
        peak_gb=peak_gb(device),
        **estimated(shape, prompt, options, device, is_stock=arm == "stock"),
    )


def estimated(
    shape: str, prompt: int, options: argparse.Namespace, device: str, *, is_stock: bool
) -> dict[str, Any]:
    """Return what `warmstart estimate` would say of such a step, of which warmstart updates on half the groups."""
    size = model_shape(shape, device)
    precision = Precision(2, 4, is_cuda=True) if device == "cuda" else Precision()
    completions = options.problems * options.group_size
    cap = options.completion
    # Half of the groups are dead: warmstart deals the other half out to as many micro-batches.
    micro = options.micro_batch if is_stock else options.micro_batch // 2
    shares_prompts = not (is_stock or options.checkpointing)
    update = update_bytes(
        size,
        LORA,
        precision,
        Rows(micro, prompt, cap, max(1, micro // options.group_size)),
        checkpointing=options.checkpointing,
        shares_prompts=shares_prompts,
    )
    sampling = sampling_bytes(
        size,
        LORA,
        precision,
        Rows(completions, prompt, cap, options.problems),
        holds_copy=not is_stock,
        is_training=True,
    )
    found: dict[str, Any] = {
        "estimated_gb": max(update.total, sampling.total) / 1e9,
        "estimated_generate_s": None,
        "estimated_update_s": None,
    }
    gpu = gpu_here()
    if gpu is not None:
        tokens = completions * (prompt + cap) // (1 if is_stock else 2)
        found["estimated_generate_s"] = sampling_seconds(
            size, precision, gpu, rows=completions, prompt=prompt, tokens=cap
        )
        found["estimated_update_s"] = update_seconds(
            size,
            gpu,
            tokens=tokens,
            length=prompt + cap,
            micro_batches=completions // options.micro_batch,
            checkpointing=options.checkpointing,
            shares_prompts=shares_prompts,
        )
    return found


def main() -> int:
    """Measure every shape with all arms and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=list(SIZES), default=["0.5b", "1.5b"])
    parser.add_argument("--arm", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--problems", type=int, default=8, help="problems per step")
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--completion", type=int, default=512, help="tokens")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    device = device_for(options.shape)
    where = name_of(device)
    print(f"{where['device']}, torch {where['torch']}, TRL {where['trl']}\n")
    print(
        "| shape | arm | step s | generation s | rest s | tokens/s | peak GB "
        "| estimated: generation s | rest s | GB |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    found = []
    for shape in options.shape:
        for arm in options.arm:
            found.append(measure(shape, arm, options, device))
            one = found[-1]
            cells = [shape, arm, f"{one.step_s:.2f}", _seconds(one.generate_s), _seconds(one.update_s)]
            cells += [f"{one.tokens_per_s:,.0f}", f"{one.peak_gb:.1f}", _seconds(one.estimated_generate_s)]
            cells += [_seconds(one.estimated_update_s), f"{one.estimated_gb:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)
    if options.json is not None:
        keep(options.json, device, options, found)
    return 0


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
