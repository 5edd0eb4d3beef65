"""Seconds to the accuracy that stock TRL has after 300 updates: stock warm and warmstart, three seeds.

    python benchmarks/time_to_target.py --out DIR [--short]

Stock warm is TRL as it is: `SFTTrainer` on the data's rationales, then `GRPOTrainer` for 300 updates.
warmstart is what `warmstart run` does: probe, cures, the self warm start, then its own `GRPOTrainer`.
Both have the same base, problems, rewards, LoRA, group size, batch and temperature. Each arm's learning
rate is the best of four after 100 updates on a seed of its own. The target of a seed is stock warm's
strict accuracy after 300 updates (500 held-out problems, 4 samples at temperature 1); warmstart is there
at the first of two consecutive evaluations above it. Evaluation is left out of the time, the warm-up is not.
Stock cold, the same trainer from the base itself, runs for 50 updates to show its gradient.

The whole takes hours. Every part is a file in DIR and is not run again when it is there, so the same
command goes on; `--arm` and `--seed` run one part. Times are taken on one thread (OMP_NUM_THREADS is set
to 1 unless it is given), on the wall and on the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import trl
from datasets import Dataset
from transformers import TrainerCallback

from arms import OUTCOME, Setting, prompter, rows_of, trainer_of
from warmstart.config import load_recipe, recipe_text
from warmstart.data.synthetic import generate as problems_of
from warmstart.grading import grade
from warmstart.models import add_adapter, continue_adapter, load_base
from warmstart.pipeline import run as run_recipe
from warmstart.records import Problem, Verdict
from warmstart.rollouts import generate
from warmstart.tags import parse
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.callbacks import quieten
from warmstart.training.sft import supervise
from warmstart.training.signal_config import SignalConfig

RATES = (5e-4, 1e-3, 1.5e-3, 2.5e-3)
SEEDS = (0, 1, 2)
TUNING_SEED = 9
TRAIN_PROBLEMS, HELD_OUT, SAMPLES = 4000, 500, 4
STOCK_UPDATES, OUR_UPDATES, TUNING_UPDATES, COLD_UPDATES = 300, 200, 100, 50
SETTING = Setting(
    Path(), problems_per_step=8, group_size=8, micro_batch=32, max_tokens=112, schedule="linear"
)


@dataclass
class Clock:
    """Seconds on the wall and on the processor of what runs between `start` and `stop`."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Count what has passed."""
        self.wall_s += time.perf_counter() - self._began[0]
        self.cpu_s += time.process_time() - self._began[1]


@dataclass
class Course(TrainerCallback):  # type: ignore[misc]
    """Counts the seconds of the steps and measures the held-out problems between them."""

    held_out: Sequence[Problem]
    every: int
    clock: Clock
    points: list[dict[str, float]] = field(default_factory=list)
    logs: list[dict[str, float]] = field(default_factory=list)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: object) -> None:  # noqa: ANN401
        """Begin to count."""
        self.clock.start()

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: object) -> None:  # noqa: ANN401
        """Stop counting; measure when it is time."""
        self.clock.stop()
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.points.append(
                {"update": state.global_step, **asdict(self.clock), **measured(model, self.held_out)}
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: object) -> None:  # noqa: ANN401
        """Keep the line of a step."""
        if logs and "reward" in logs:
            self.logs.append({name: value for name, value in logs.items() if isinstance(value, int | float)})


def measured(model: Any, problems: Sequence[Problem]) -> dict[str, float]:  # noqa: ANN401
    """Return the strict, lenient and format rates of `SAMPLES` samples per problem at temperature 1."""
    ask = prompter()
    groups = generate(
        model,
        ask.tokenizer,
        [ask.prompt_ids(problem.question) for problem in problems],
        samples=SAMPLES,
        temperature=1.0,
        max_tokens=SETTING.max_tokens,
        batch_size=200,
        seed=12345,
    )
    rows = [
        (parse(one.text).strict, grade(one.text, problem.gold).verdict is Verdict.CORRECT)
        for problem, group in zip(problems, groups, strict=True)
        for one in group
    ]
    return {
        "strict": sum(form and right for form, right in rows) / len(rows),
        "format": sum(form for form, _ in rows) / len(rows),
    }


def problems_for(seed: int) -> tuple[list[Problem], list[Problem]]:
    """Return the problems to train on and the held-out ones."""
    return problems_of(TRAIN_PROBLEMS, seed=seed, split="train"), problems_of(
        HELD_OUT, seed=seed, split="eval"
    )


def stock_warm(seed: int, folder: Path) -> Clock:
    """Warm the base up as a user of TRL would: `SFTTrainer`, LoRA, the data's rationales in the tags."""
    clock = Clock()
    clock.start()
    ask = prompter()
    rows = supervise(ask, problems_for(seed)[0][:400], max_tokens=512).rows
    model = add_adapter(
        load_base("tiny"), rank=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=seed
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=100,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            lr_scheduler_type="cosine",
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=ask.tokenizer,
    )
    quieten(trainer)
    trainer.train()
    trainer.model.save_pretrained(str(folder))
    clock.stop()
    return clock


def our_warm(seed: int, folder: Path) -> Clock:
    """Warm the base up as `warmstart run` does, its probes and the cures it tries counted."""
    clock = Clock()
    clock.start()
    recipe = load_recipe(
        "tiny",
        [
            f"seed={seed}",
            "eval.problems=8",
            "eval.samples=0",
            "eval.unseen_problems=0",
            "sft.quantization=none",
            f"data.train_problems={TRAIN_PROBLEMS}",
        ],
    )
    out = Path(tempfile.mkdtemp()) / "run"
    run = run_recipe(recipe, out, recipe_yaml=recipe_text("tiny"), until="sft")
    run.warmup_adapter.rename(folder)
    clock.stop()
    return clock


def train(
    arm: str, seed: int, rate: float, *, updates: int, every: int, out: Path, adapter: Path | None
) -> dict[str, Any]:
    """Train an arm and return its course."""
    clock = Clock()
    if adapter is None:
        adapter = out / f"{arm}-{seed}-warm"
        warmed = out / f"{arm}-{seed}-warm.json"
        if not warmed.exists():
            found = stock_warm(seed, adapter) if arm == "stock" else our_warm(seed, adapter)
            warmed.write_text(json.dumps(asdict(found)))
        clock = Clock(**json.loads(warmed.read_text()))
        model = continue_adapter(load_base("tiny"), adapter)
    else:
        model = add_adapter(
            load_base("tiny"), rank=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=seed
        )
    warm = asdict(clock)
    problems, held_out = problems_for(seed)
    course = Course(held_out, every, clock)
    start = [] if every == updates else [{"update": 0, **warm, **measured(model, held_out)}]
    trainer = trainer_of(
        "stock" if arm != "warmstart" else arm,
        Setting(**{**asdict(SETTING), "learning_rate": rate, "seed": seed}),
        rows_of(problems),
        steps=updates,
        callbacks=[course],
        model=model,
        reward_weights=[1.0, 1.0],
        signal=SignalConfig(
            outcome=OUTCOME, sampling=ProblemSampling(strata=[(p.family, p.steps) for p in problems])
        ),
    )
    trainer.train()
    return {
        "arm": arm,
        "seed": seed,
        "rate": rate,
        "warm": warm,
        "points": [*start, *course.points],
        "logs": course.logs,
    }


def part(out: Path, name: str, **wanted: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a part of the benchmark from its file, run now if it is not there yet."""
    path = out / f"{name}.json"
    if not path.exists():
        print(f"{name} …", flush=True)
        found = train(out=out, **wanted)
        path.write_text(json.dumps(found))
        last = found["points"][-1]
        print(
            f"{name}: strict {last['strict']:.1%}, {last['wall_s']:.0f} s, {last['cpu_s']:.0f} s of processor",
            flush=True,
        )
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def best_rate(out: Path, arm: str) -> float:
    """Return the learning rate with the best strict accuracy after `TUNING_UPDATES` updates."""
    tried = [
        part(
            out,
            f"tune-{arm}-{rate:g}",
            arm=arm,
            seed=TUNING_SEED,
            rate=rate,
            updates=TUNING_UPDATES,
            every=TUNING_UPDATES,
            adapter=None,
        )
        for rate in RATES
    ]
    return float(max(tried, key=lambda course: course["points"][-1]["strict"])["rate"])


def main() -> int:
    """Run what is missing and print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, required=True, help="where the parts are kept")
    options.add_argument("--arm", choices=["stock", "warmstart"], help="run this arm's parts alone")
    options.add_argument("--seed", type=int, choices=SEEDS, help="with --arm: this seed alone")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out
    arms = [arguments.arm] if arguments.arm else ["stock", "warmstart"]
    rates = {arm: best_rate(out, arm) for arm in arms}
    print(rates, flush=True)
    for seed in SEEDS if arguments.seed is None else [arguments.seed]:
        for arm in arms:
            part(
                out,
                f"{arm}-{seed}",
                arm=arm,
                seed=seed,
                rate=rates[arm],
                updates=STOCK_UPDATES if arm == "stock" else OUR_UPDATES,
                every=100 if arm == "stock" else 5,
                adapter=None,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
