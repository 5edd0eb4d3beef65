"""One step of QLoRA SFT on one GPU, on models of Qwen2.5's shapes with random weights, beside the estimate.

    python benchmarks/gpu/sft.py [--shape 1.5b 7b] [--prompt 256] [--completion 512] [--json FILE]

The random model is saved and loaded again as any model is, in NF4 with double quantisation; rank 16 on all
linear layers, gradient checkpointing off unless asked for, every row of full length. Printed are the seconds
of a step, trained tokens per second, the peak of the memory that torch handed out, and what `warmstart
estimate` says of both.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from shapes import LORA, RANK, SIZES, device_for, free, keep, model_shape, name_of, peak_gb, random_model

from warmstart.budget.durations import update_seconds
from warmstart.budget.gpus import gpu_here
from warmstart.budget.memory import Precision, Rows, update_bytes
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.progress import Quiet
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training import sft


@dataclass(frozen=True)
class Measured:
    """One shape; times in seconds, memory in GB."""

    shape: str
    load_s: float
    step_s: float
    tokens_per_s: float
    peak_gb: float
    estimated_step_s: float | None
    estimated_gb: float


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(shape: str, options: argparse.Namespace, device: str) -> Measured:
    """Return the median step after a first one that warms up."""
    with tempfile.TemporaryDirectory() as folder:
        random_model(shape, device).save_pretrained(folder, max_shard_size="4GB")
        free(device)
        began = _now()
        base = load_base(folder, quantization="nf4")
        load_s = _now() - began
    free(device)
    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS, text="")
    model = add_adapter(base, rank=RANK, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)
    length = options.prompt + options.completion
    rows = [
        # One token less in all but the first, so that there is a mask, as in any real batch.
        {
            "input_ids": [9] * (length - (n > 0)),
            "labels": [-100] * (options.prompt - (n > 0)) + [9] * (options.completion - 1) + [2],
        }
        for n in range(options.batch)
    ]
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        sft.train_sft(
            model,
            prompter,
            rows,
            folder=Path(folder) / "adapter",
            steps=options.steps + 1,
            batch_size=options.batch,
            micro_batch=options.micro_batch,
            learning_rate=1e-6,
            warmup_ratio=0.0,
            gradient_checkpointing=options.checkpointing,
            seed=0,
            trl={},
            progress=Quiet(),
            sink=lambda line: ends.append(_now()),
        )
    step_s = statistics.median(end - begin for begin, end in itertools.pairwise(ends[: options.steps + 1]))
    size = model_shape(shape, device)
    precision = Precision(2, 2, is_nf4=True, is_cuda=device == "cuda")
    micro = options.micro_batch
    memory = update_bytes(
        size,
        LORA,
        precision,
        Rows(micro, options.prompt, options.completion, micro),
        checkpointing=options.checkpointing,
    )
    gpu = gpu_here()
    tokens = options.batch * length
    seconds = (
        None
        if gpu is None
        else update_seconds(
            size,
            gpu,
            tokens=tokens,
            length=length,
            micro_batches=-(-options.batch // micro),
            checkpointing=options.checkpointing,
        )
    )
    return Measured(shape, load_s, step_s, tokens / step_s, peak_gb(device), seconds, memory.total / 1e9)


def main() -> int:
    """Measure every shape and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=list(SIZES), default=["1.5b", "7b"])
    parser.add_argument("--batch", type=int, default=16, help="rows of a step")
    parser.add_argument("--micro-batch", type=int, default=4)
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
        "| shape | loading s | step s | tokens/s | peak GB | estimated step s | estimated GB |"
        "\n|---|---|---|---|---|---|---|"
    )
    found = []
    for shape in options.shape:
        found.append(measure(shape, options, device))
        one = found[-1]
        expected = "" if one.estimated_step_s is None else f"{one.estimated_step_s:.2f}"
        print(
            f"| {shape} | {one.load_s:.1f} | {one.step_s:.2f} | {one.tokens_per_s:,.0f} | {one.peak_gb:.1f} "
            f"| {expected} | {one.estimated_gb:.1f} |",
            flush=True,
        )
    if options.json is not None:
        keep(options.json, device, options, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
