"""Ten thousand updates of GRPO with everything a run keeps: does memory stay, are files closed, is the log whole?

    python benchmarks/long_run.py [--updates 10000] [--out FOLDER]

The real trainer, watch, rollout log, metrics and checkpoints on a model of random weights and a few thousand
parameters, with completions of four tokens: an update takes a tenth of a second or less, so that what grows by
a little at every step shows. Exits with 1 if memory after the first tenth grew by more than 5 %, if more files
are open than then, or if a completion or a line of metrics is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
from warmstart.training.callbacks import Sink
from warmstart.training.checkpoints import Checkpoints
from warmstart.training.grpo import train_grpo
from warmstart.training.watch import SignalWatch

GROUP, PROBLEMS = 2, 2
GROWTH = 1.05
"""Memory at the end over memory after the first tenth, at most."""


def first_letter(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:  # noqa: ANN401
    """Pay half of all texts, and a perfect target: groups are live now and then, for ever."""
    return [
        float(sum(text[0]["content"].encode()) % 2 or "<answer>" in text[0]["content"])
        for text in completions
    ]


class Gauge:
    """Memory and open files, every so many updates."""

    def __init__(self, every: int, sink: Sink) -> None:
        self.seen: list[tuple[int, float, int]] = []
        self._every = every
        self._sink = sink

    def take(self, line: dict[str, Any]) -> None:
        """Hand a line of metrics on, and read both from the kernel when it is time."""
        self._sink(line)
        if line["step"] % self._every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.seen.append((line["step"], resident, len(os.listdir("/proc/self/fd"))))
            print(f"{line['step']:6d}  {resident:7.1f} MB  {self.seen[-1][2]} files", flush=True)


def small_model(tokenizer: Any) -> Any:  # noqa: ANN401
    """Return a model of two thousand embeddings and one narrow layer, with an adapter."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    return add_adapter(model, rank=2, alpha=4, dropout=0.0, target_modules=["q_proj"], seed=0)


def run(updates: int, folder: Path) -> list[str]:
    """Train and return what is wrong; nothing, if nothing is."""
    tokenizer = load_tokenizer("tiny")
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS, text="")
    problems = generate(400, seed=0, split="train")
    kept = RunDir(folder)
    gauge = Gauge(max(1, updates // 20), kept.append_metrics)
    watch = SignalWatch(outcome="first_letter", outcome_max=1.0, say=lambda line: None, stop=False)
    checkpoints = Checkpoints(kept, "grpo", every=50, say=print, interrupts=Interrupts(print))
    began = time.perf_counter()
    with checkpoints.training(watch):
        train_grpo(
            small_model(tokenizer),
            prompter,
            problems,
            {"first_letter": (first_letter, 1.0)},
            outcome="first_letter",
            folder=folder / "adapter",
            steps=updates,
            group_size=GROUP,
            batches=plan_batches(PROBLEMS, GROUP, micro_batch=None),
            arguments={
                "max_completion_length": 4,
                "learning_rate": 1e-4,
                "bf16": False,
                "gradient_checkpointing": False,
            },
            handover=None,
            progress=Quiet(),
            sink=gauge.take,
            on_rollouts=kept.write_rollouts,
            watch=watch,
            sampling=ProblemSampling(),
            checkpoints=checkpoints,
        )
    print(f"{updates:,} updates in {time.perf_counter() - began:.0f} s")
    return list(faults(kept, gauge, updates))


def faults(kept: RunDir, gauge: Gauge, updates: int) -> Any:  # noqa: ANN401
    """Yield what grew, and what is missing."""
    _, before, files = next(seen for seen in gauge.seen if seen[0] >= updates / 10)
    _, after, open_now = gauge.seen[-1]
    print(f"memory {before:.1f} → {after:.1f} MB ({after / before - 1:+.1%}), files {files} → {open_now}")
    if after > GROWTH * before:
        yield f"memory grew from {before:.1f} to {after:.1f} MB"
    if open_now > files:
        yield f"{open_now} files are open, {files} were"
    steps = [(rows[0]["step"], len(rows)) for rows in kept.read_rollouts()]
    if steps != [(step, GROUP * PROBLEMS) for step in range(1, updates + 1)]:
        yield f"the rollout log has {len(steps)} of {updates} whole steps"
    if [line["step"] for line in kept.read_metrics("grpo")] != list(range(1, updates + 1)):
        yield "a line of metrics is missing"


def main() -> int:
    """Run it and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=None)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(wanted.updates, wanted.out or Path(folder))
    for line in wrong:
        print(f"FAILED: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
