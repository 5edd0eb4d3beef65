"""Seconds to the accuracy that stock TRL has after 300 updates: stock warm and warmstart, three seeds.

    python benchmarks/time_to_target.py --out DIR [--arm ARM] [--seed SEED]

Stock warm is TRL as it is: `SFTTrainer` on the data's rationales, then `GRPOTrainer` for 300 updates.
warmstart is what `warmstart run` does: probe, cures, the self warm start, then its own `GRPOTrainer`.
Both have the same base, problems, rewards, LoRA, group size, batch and temperature. Each arm's learning
rate is the best of four after 100 updates on a seed of its own. The target of a seed is stock warm's
strict accuracy after 300 updates (500 held-out problems, 4 samples at temperature 1); warmstart is there
at the first of two consecutive evaluations above it. Evaluation is left out of the time, the warm-up is not.
Stock cold, the same trainer from the base itself, runs for 50 updates at one rate to show its gradient.

The whole takes hours. Every part is a file in DIR and is not run again when it is there, so the same
command goes on; `--arm` and `--seed` run one part. Times are taken on one thread (OMP_NUM_THREADS is set
to 1 unless it is given), on the wall and on the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import trl
from datasets import Dataset
from transformers import TrainerCallback

from arms import OUTCOME, Setting, StepTimes, prompter, rows_of, trainer_of
from headline import Headline
from warmstart.config.schema import load_recipe, recipe_text
from warmstart.data.synthetic import generate as problems_of
from warmstart.grading.verdicts import grade
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
UPDATES = {"stock": 300, "warmstart": 100, "cold": 50}
EVERY = {"stock": 100, "warmstart": 5, "cold": 50}
"""Updates between two evaluations."""
TUNING_UPDATES = 100
OUR_SFT = (
    "sft.quantization=none",
    "sft.problems=2400",
    "sft.samples=1",
    "sft.temperature=0.2",
    "sft.steps=480",
)
"""What differs from the recipe `tiny`: a longer warm start on one likely solution of the model's own for each of
many problems. The recipe stops early, to leave the demo's GRPO something to win; here only the seconds count. Its
learning rate is the recipe's."""
OUR_WARMUP = 10
"""Updates in which warmstart's rate rises: at full height from the first one, a new optimizer undoes part of a
warm start (docs/log.md)."""
MICRO_BATCH = {"stock": 32, "warmstart": 16, "cold": 32}
"""The fastest for each arm among 8 to 64."""
SETTING = Setting(Path(), problems_per_step=8, group_size=8, max_tokens=112, schedule="linear")


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
    target: float = 1.0
    """Two evaluations in a row above it end the run."""
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
            control.should_training_stop = reached(self.points, self.target) is not None

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
            *OUR_SFT,
            "sft.check_every=0",
            f"data.train_problems={TRAIN_PROBLEMS}",
        ],
    )
    out = Path(tempfile.mkdtemp()) / "run"
    run = run_recipe(recipe, out, recipe_yaml=recipe_text("tiny"), until="sft")
    run.warmup_adapter.rename(folder)
    clock.stop()
    return clock


def warmed(arm: str, seed: int, out: Path) -> tuple[Any, Clock]:
    """Return the arm's model before GRPO, and the time that making it took; a warm-up is done once."""
    if arm == "cold":
        fresh = add_adapter(
            load_base("tiny"), rank=16, alpha=32, dropout=0.0, target_modules="all-linear", seed=seed
        )
        return fresh, Clock()
    adapter, spent = out / f"{arm}-{seed}-warm", out / f"{arm}-{seed}-warm.json"
    if not spent.exists():
        clock = stock_warm(seed, adapter) if arm == "stock" else our_warm(seed, adapter)
        spent.write_text(json.dumps(asdict(clock)))
    return continue_adapter(load_base("tiny"), adapter), Clock(**json.loads(spent.read_text()))


def train(
    arm: str, seed: int, rate: float, *, updates: int, every: int, out: Path, target: float = 1.0
) -> dict[str, Any]:
    """Train an arm, until it is above the target or has made its updates, and return its course."""
    model, clock = warmed(arm, seed, out)
    warm = asdict(clock)
    problems, held_out = problems_for(seed)
    course = Course(held_out, every, clock, target)
    if every < updates:
        course.points.append({"update": 0, **warm, **measured(model, held_out)})
    trainer = trainer_of(
        "warmstart" if arm == "warmstart" else "stock",
        replace(SETTING, learning_rate=rate, seed=seed, micro_batch=MICRO_BATCH[arm]),
        rows_of(problems),
        steps=updates,
        callbacks=[course],
        model=model,
        warmup_steps=OUR_WARMUP if arm == "warmstart" else 0,
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
        "points": course.points,
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
        )
        for rate in RATES
    ]
    return float(max(tried, key=lambda course: course["points"][-1]["strict"])["rate"])


def last_strict(out: Path, seed: int) -> float:
    """Return the strict accuracy that stock warm ended with.

    Raises:
        FileNotFoundError: If that part was not run yet.
    """
    return float(json.loads((out / f"stock-{seed}.json").read_text())["points"][-1]["strict"])


def reached(points: Sequence[dict[str, float]], target: float) -> dict[str, float] | None:
    """Return the first of two points in a row whose strict accuracy is above the target, or None."""
    for first, second in pairwise(points):
        if min(first["strict"], second["strict"]) > target:
            return dict(first)
    return None


def table(stock: dict[int, dict[str, Any]], ours: dict[int, dict[str, Any]]) -> str:
    """Return the table of the seeds that both arms have run."""
    lines = [
        "| seed | stock after its warm-up | stock after 300 updates | stock s | warmstart after its warm-up "
        "| above at update | warmstart s | ratio, wall | ratio, processor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for seed in sorted(stock.keys() & ours.keys()):
        start, end = stock[seed]["points"][0], stock[seed]["points"][-1]
        there = reached(ours[seed]["points"], end["strict"])
        told = (
            f"{there['update']} | {there['wall_s']:.0f} | {end['wall_s'] / there['wall_s']:.1f} × "
            f"| {end['cpu_s'] / there['cpu_s']:.1f} ×"
            if there
            else "never | | | "
        )
        lines.append(
            f"| {seed} | {start['strict']:.1%} | {end['strict']:.1%} | {end['wall_s']:.0f} "
            f"| {ours[seed]['points'][0]['strict']:.1%} | {told} |"
        )
    return "\n".join(lines)


def plot(stock: dict[int, dict[str, Any]], ours: dict[int, dict[str, Any]], path: Path) -> None:
    """Draw the strict accuracy of both arms over the seconds, a line for each seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for courses, name, colour in ((stock, "stock TRL", "C0"), (ours, "warmstart", "C1")):
        for index, course in enumerate(courses.values()):
            points = course["points"]
            axes.plot(
                [point["wall_s"] for point in points],
                [point["strict"] for point in points],
                color=colour,
                marker=".",
                label=name if index == 0 else None,
            )
    axes.set(xlabel="seconds, warm-up included", ylabel="strict accuracy, one sample", xlim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def short(adapter: Path) -> list[Headline]:
    """Return the headline: six updates of each arm from one warm start, the first left out."""
    problems, _ = problems_for(TUNING_SEED)
    seconds = {}
    for arm in ("stock", "warmstart"):
        times = StepTimes()
        setting = replace(SETTING, adapter=adapter, learning_rate=RATES[0], micro_batch=MICRO_BATCH[arm])
        signal = SignalConfig(outcome=OUTCOME)
        trainer_of(arm, setting, rows_of(problems), steps=6, callbacks=[times], signal=signal).train()
        seconds[arm] = statistics.mean(times.steps[1:])
    seen = f"{seconds['stock'] / seconds['warmstart']:.1f} × less per update"
    return [Headline("time to target, the updates alone", seen, "≥ 5 × (the whole benchmark)")]


def main() -> int:
    """Run what is missing and print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, required=True, help="where the parts are kept")
    options.add_argument("--arm", choices=list(UPDATES), help="run this arm's parts alone")
    options.add_argument("--seed", type=int, choices=SEEDS, help="run this seed's parts alone")
    arguments = options.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out
    courses: dict[str, dict[int, dict[str, Any]]] = {"stock": {}, "warmstart": {}, "cold": {}}
    arms = [arguments.arm] if arguments.arm else list(courses)
    # A zero gradient does not depend on the rate.
    rates = {arm: RATES[1] if arm == "cold" else best_rate(out, arm) for arm in arms}
    for seed in SEEDS if arguments.seed is None else [arguments.seed]:
        for arm in arms:
            if arm == "cold" and seed != SEEDS[0]:
                continue
            courses[arm][seed] = part(
                out,
                f"{arm}-{seed}",
                arm=arm,
                seed=seed,
                rate=rates[arm],
                updates=UPDATES[arm],
                every=EVERY[arm],
                target=last_strict(out, seed) if arm == "warmstart" else 1.0,
            )
    print(f"learning rates: {rates}")
    for course in courses["cold"].values():
        logs = course["logs"]
        print(
            f"stock cold, {len(logs)} updates: largest grad_norm {max(log['grad_norm'] for log in logs):g}, "
            f"largest reward {max(log['reward'] for log in logs):g}, "
            f"dead groups {min(log['frac_reward_zero_std'] for log in logs):.0%}"
        )
    if courses["stock"] and courses["warmstart"]:
        print(table(courses["stock"], courses["warmstart"]))
        plot(courses["stock"], courses["warmstart"], out / "time_to_target.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
