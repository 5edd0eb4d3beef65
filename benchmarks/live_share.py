"""The share of generated completions that carry signal: those in groups with right and wrong answers.

    python benchmarks/live_share.py [--run RUN] [--updates 80] [--seeds 0 1 2] [--out DIR] [--short]

Both arms start from the same warm start and take turns, seed by seed; every completion that a run
generates is counted, those of explored and of rested problems too. Verdicts are counted, not rewards: a
group that is live by its format alone carries no answer. The probe's own forecast of a uniform draw stands
beside them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from arms import OUTCOME, Setting, parser, rows_of, trainer_of, warm_adapter
from headline import Headline
from warmstart.data.synthetic import generate
from warmstart.rewards.functions import correctness_reward_func, strict_format_reward_func
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.signal_config import SignalConfig

TRAIN_PROBLEMS = 4000
WINDOW = 10
"""Updates that one point of the plot stands for."""


@dataclass
class Counted:
    """The mixed groups of every update."""

    group_size: int
    mixed: list[float] = field(default_factory=list)
    problems: set[str] = field(default_factory=set)

    def reward(self) -> Callable[..., list[float | None]]:
        """Return the outcome reward that counts what it sees, under its own name."""

        def correctness_reward_func(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:  # noqa: ANN401
            paid = _correctness(prompts=prompts, completions=completions, **columns)
            groups = [paid[at : at + self.group_size] for at in range(0, len(paid), self.group_size)]
            self.mixed.append(sum(len(set(group)) > 1 for group in groups) / len(groups))
            self.problems.update(columns["problem_id"])
            return paid

        return correctness_reward_func


_correctness = correctness_reward_func


def measure(arm: str, setting: Setting, updates: int) -> Counted:
    """Return what an arm generated in ``updates`` updates."""
    problems = generate(TRAIN_PROBLEMS, seed=setting.seed, split="train")
    counted = Counted(setting.group_size)
    sampling = ProblemSampling(strata=[(problem.family, problem.steps) for problem in problems])
    trainer_of(
        arm,
        setting,
        rows_of(problems),
        steps=updates,
        rewards=[strict_format_reward_func, counted.reward()],
        signal=SignalConfig(outcome=OUTCOME, sampling=sampling),
    ).train()
    return counted


def plot(found: dict[str, list[Counted]], path: Path) -> None:
    """Draw the share of both arms over the updates, the mean of the seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    for arm, runs in found.items():
        mean = [statistics.mean(shares) for shares in zip(*(run.mixed for run in runs), strict=True)]
        points = [statistics.mean(mean[at : at + WINDOW]) for at in range(0, len(mean), WINDOW)]
        axes.plot([at * WINDOW + WINDOW / 2 for at in range(len(points))], points, marker="o", label=arm)
    axes.set(xlabel="update", ylabel="share of completions\nin groups of mixed verdicts", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=120)


def short(adapter: Path) -> list[Headline]:
    """Return the headline: ten updates of one seed."""
    setting = Setting(adapter, problems_per_step=8, micro_batch=16, learning_rate=5e-4)
    stock, ours = (statistics.mean(measure(arm, setting, 10).mixed) for arm in ("stock", "warmstart"))
    seen = f"{ours:.0%}, {ours / stock:.2f} × stock"
    return [Headline("completions in mixed groups, first 10 updates", seen, "≥ 75 %, ≥ 1.5 × (a whole run)")]


def main() -> int:
    """Measure both arms and print the table."""
    options = parser(__doc__ or "")
    options.add_argument("--updates", type=int, default=80)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--rate", type=float, default=5e-4, help="learning rate of both arms")
    options.add_argument("--out", type=Path, help="a folder for the plot and the counts")
    options.add_argument("--short", action="store_true", help="one seed, 10 updates")
    arguments = options.parse_args()
    seeds, updates = (arguments.seeds[:1], 10) if arguments.short else (arguments.seeds, arguments.updates)
    base = Setting(
        warm_adapter(arguments.run),
        problems_per_step=8,
        micro_batch=16,
        learning_rate=arguments.rate,
        schedule="linear",
    )
    found: dict[str, list[Counted]] = {"stock": [], "warmstart": []}
    for seed in seeds:
        for arm, runs in found.items():
            runs.append(measure(arm, replace(base, seed=seed), updates))
    print("| arm | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | different problems |")
    print("|---" * (len(seeds) + 3) + "|")
    means = {}
    for arm, runs in found.items():
        shares = [statistics.mean(run.mixed) for run in runs]
        means[arm] = statistics.mean(shares)
        asked = ", ".join(str(len(run.problems)) for run in runs)
        print(
            f"| {arm} | "
            + " | ".join(f"{share:.0%}" for share in shares)
            + f" | {means[arm]:.0%} | {asked} |"
        )
    print(f"\nwarmstart: {means['warmstart'] / means['stock']:.2f} × stock")
    if arguments.run is not None:
        probe = json.loads((arguments.run / "probe" / "warmup.json").read_text())
        forecast = next(row for row in probe["forecast"] if row["group_size"] == base.group_size)
        print(f"the probe's forecast for uniformly drawn problems: {forecast['live']:.0%} live groups")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        plot(found, arguments.out / "live_share.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
