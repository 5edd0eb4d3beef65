"""One optimizer step, generate + score + update, of stock TRL and of warmstart from the same weights.

    python benchmarks/step.py [--run RUN] [--rounds 3] [--steps 4] [--micro-batch 32 2] [--short]

The learning rate is zero, so that every step starts from the same weights; the arms take turns in one
process, each with a micro-batch of its own, stock's in rows and warmstart's in groups. 32 and 2 are the faster
ones on two cores: with one group at a time the second core has little to do while its prompt is computed.
"live" is the share of groups with gradient, stock's and warmstart's: all of them with a reward that makes every
group mixed, and the share of a uniform draw with the real rewards, where warmstart's outcome gate leaves out
groups that differ in format alone. Quoted is the ratio of the arms' medians, for the whole step and for the
update alone (the step without generation and scoring). With a run given, the peak memory of both arms follows,
each in a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from arms import (
    OUTCOME,
    REWARDS,
    Reward,
    Setting,
    StepTimes,
    parser,
    rows_of,
    trainer_of,
    warm_adapter,
)
from headline import Headline
from warmstart import environment
from warmstart.data.synthetic import generate
from warmstart.training.signal_config import SignalConfig

MICRO_BATCHES = (32, 2)
"""Stock's rows and warmstart's groups in a micro-batch."""


def alternating(completions: Sequence[Any], **columns: Any) -> list[float | None]:  # noqa: ANN401
    """Return rewards under which every group is live, whatever was written."""
    return [float(index % 2) for index in range(len(completions))]


@dataclass(frozen=True)
class Measured:
    """Seconds of one arm: the whole step, and the update in it; the share of live groups."""

    step: float
    update: float
    live: float


class Logs(TrainerCallback):  # type: ignore[misc]
    """What the trainer logged, step by step."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        """Keep the line of a step."""
        if logs and "reward" in logs:
            self.lines.append(dict(logs))


def measure(
    arm: str, setting: Setting, rows: Sequence[dict[str, Any]], rewards: Sequence[Reward], steps: int
) -> Measured:
    """Return the medians of ``steps`` steps after one that warms up."""
    times, logs = StepTimes(), Logs()
    outcome = SignalConfig(outcome=OUTCOME if rewards is REWARDS else None, sampling=None)
    trainer = trainer_of(
        arm, setting, rows, steps=steps + 1, rewards=rewards, callbacks=[times, logs], signal=outcome
    )
    before: list[float] = []
    inner = trainer._generate_and_score_completions

    def timed(inputs: Any) -> Any:  # noqa: ANN401
        started = time.perf_counter()
        scored = inner(inputs)
        before.append(time.perf_counter() - started)
        return scored

    trainer._generate_and_score_completions = timed
    trainer.train()
    step = statistics.median(times.steps[1:])
    update = statistics.median(whole - part for whole, part in zip(times.steps[1:], before[1:], strict=True))
    dead = statistics.mean(line["frac_reward_zero_std"] for line in logs.lines[1:])
    return Measured(step, update, 1 - dead)


def compare(
    setting: Setting,
    micro_batches: tuple[int, int],
    *,
    padding: int = 0,
    every_group_live: bool,
    rounds: int,
    steps: int,
) -> tuple[Measured, Measured]:
    """Return stock's and warmstart's medians over ``rounds`` turns each, with a micro-batch for either.

    The first of ``micro_batches`` is stock's in rows, the second warmstart's in groups.
    """
    rows = rows_of(generate(400, seed=7, split="train"))
    if padding:
        # Words in front of the question: longer prompts, the same problems.
        filler = "word " * padding
        rows = [
            {
                **row,
                "prompt": [
                    *row["prompt"][:-1],
                    {**row["prompt"][-1], "content": filler + row["prompt"][-1]["content"]},
                ],
            }
            for row in rows
        ]
    rewards: Sequence[Reward] = [alternating] if every_group_live else REWARDS
    found: dict[str, list[Measured]] = {"stock": [], "warmstart": []}
    in_rows = (micro_batches[0], micro_batches[1] * setting.group_size)
    for turn in range(rounds):
        for arm, micro_batch in zip(found, in_rows, strict=True):
            arm_setting = replace(setting, seed=turn, micro_batch=micro_batch)
            found[arm].append(measure(arm, arm_setting, rows, rewards, steps))
    stock, ours = (
        Measured(
            *(statistics.median(getattr(one, name) for one in arm) for name in ("step", "update", "live"))
        )
        for arm in found.values()
    )
    return stock, ours


def peak_gb(arm: str, micro_batch: int, run: Path) -> float:
    """Return the peak memory of a process that does three steps of an arm, all groups live."""
    told = subprocess.run(
        [
            sys.executable,
            __file__,
            "--run",
            str(run),
            "--memory-of",
            arm,
            "--micro-batch",
            *[str(micro_batch)] * 2,
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(told.stdout.split()[-1])


def short(adapter: Path) -> list[Headline]:
    """Return the headlines: a step at group size 8, of one round."""
    found = []
    for every_group_live, name, target in (
        (True, "no dead group", "≥ 2 ×"),
        (False, "a uniform draw", "≥ 3 ×"),
    ):
        stock, ours = compare(
            Setting(adapter), MICRO_BATCHES, every_group_live=every_group_live, rounds=1, steps=2
        )
        seen = f"{stock.step / ours.step:.2f} ×, the update alone {stock.update / ours.update:.2f} ×"
        found.append(Headline(f"step, {name}, {ours.live:.0%} live", seen, target))
    return found


def main() -> int:
    """Measure every setting and print the table."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--short", action="store_true", help="group size 8 alone, one round")
    options.add_argument(
        "--micro-batch",
        type=int,
        nargs=2,
        default=list(MICRO_BATCHES),
        help="stock's in rows, warmstart's in groups",
    )
    options.add_argument(
        "--memory-of", choices=["stock", "warmstart"], help="print an arm's peak memory alone"
    )
    arguments = options.parse_args()
    base = Setting(warm_adapter(arguments.run))
    if arguments.memory_of:
        base = replace(base, micro_batch=arguments.micro_batch[0])
        measure(arguments.memory_of, base, rows_of(generate(400, seed=7, split="train")), [alternating], 2)
        print(environment.peak_rss_gb())
        return 0
    settings = [("group 8", base, 0)]
    if not arguments.short:
        larger = replace(base, group_size=16, problems_per_step=8)
        settings += [
            ("group 16", larger, 0),
            ("group 8, 300 tokens more prompt", base, 100),
            ("group 16, 300 tokens more prompt", larger, 100),
        ]
    print(
        "| setting | live groups | stock s | warmstart s | step | update alone |\n|---|---|---|---|---|---|"
    )
    for name, setting, padding in settings:
        for every_group_live in (True, False):
            stock, ours = compare(
                setting,
                tuple(arguments.micro_batch),
                padding=padding,
                every_group_live=every_group_live,
                rounds=1 if arguments.short else arguments.rounds,
                steps=arguments.steps,
            )
            print(
                f"| {name} | {stock.live:.0%}, {ours.live:.0%} | {stock.step:.2f} | {ours.step:.2f} "
                f"| {stock.step / ours.step:.2f} × | {stock.update / ours.update:.2f} × |",
                flush=True,
            )
    if arguments.run is not None:
        rows, groups = arguments.micro_batch
        for arm, micro_batch in (("stock", rows), ("warmstart", groups * base.group_size)):
            print(f"peak memory, {arm}: {peak_gb(arm, micro_batch, arguments.run):.2f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
