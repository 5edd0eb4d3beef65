"""The share of generated completions that carry signal: those in groups with right and wrong answers.

    python benchmarks/live_share.py [--run RUN] [--updates 80] [--rate 5e-4] [--seeds 0 1 2] [--pools POOL]
        [--out DIR] [--short]

Both arms start from the same warm start and take turns, seed by seed; every completion that a run
generates is counted, those of explored and of rested problems too. Verdicts are counted, not rewards: a
group that is live by its format alone carries no answer. As in a run, warmstart's sampler starts with what a
probe of 64 problems × 8 has seen; its completions are not counted, and its forecast stands beside.

Three pools: the demo's, in which every problem is within the model's reach, so that six groups of ten of a
uniform draw are mixed already; and two as research data are, in which a quarter or a half of the problems
is beyond it (twelve steps, of which the tiny model solves none).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from arms import OUTCOME, REWARDS, Setting, parser, rows_of, trainer_of, warm_adapter
from headline import Headline
from warmstart.data.synthetic import generate
from warmstart.models import continue_adapter, load_base, load_tokenizer
from warmstart.probing.probe import Probe, probe
from warmstart.probing.settings import ProbeSettings
from warmstart.records import Problem
from warmstart.rewards.functions import correctness_reward_func, strict_format_reward_func
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.signal_config import SignalConfig

TRAIN_PROBLEMS = 4000
POOLS = {"all within reach": 0.0, "a quarter beyond reach": 0.25, "half beyond reach": 0.5}
"""The share of problems that the model cannot solve, by the name of the pool."""
BEYOND = 12
"""Steps of a problem beyond reach."""
RIGHT = 2.0
"""What `correctness_reward_func` pays; 0 is wrong, None undecided."""
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
            self.mixed.append(sum({0.0, RIGHT} <= set(group) for group in groups) / len(groups))
            self.problems.update(columns["problem_id"])
            return paid

        return correctness_reward_func


_correctness = correctness_reward_func


def pool(name: str, seed: int) -> list[Problem]:
    """Return the training problems of a pool."""
    beyond = round(TRAIN_PROBLEMS * POOLS[name])
    hard = generate(beyond, seed=seed, split="train", steps=BEYOND)
    problems = [
        *generate(TRAIN_PROBLEMS - beyond, seed=seed, split="train"),
        *(replace(problem, id=f"beyond-{place}") for place, problem in enumerate(hard)),
    ]
    Random(seed).shuffle(problems)
    return problems


def probed(setting: Setting, problems: Sequence[Problem]) -> Probe:
    """Return a probe of the warm model on the pool, with the settings of a run."""
    return probe(
        continue_adapter(load_base("tiny"), setting.adapter),
        load_tokenizer("tiny"),
        rows_of(problems),
        REWARDS,
        settings=ProbeSettings(cap=setting.max_tokens, seed=setting.seed),
    )


def measure(arm: str, setting: Setting, problems: Sequence[Problem], seen: Probe, updates: int) -> Counted:
    """Return what an arm generated in ``updates`` updates; ``seen`` is what warmstart's sampler starts with."""
    counted = Counted(setting.group_size)
    rates = seen.solve_rates
    sampling = ProblemSampling(
        strata=[(problem.family, problem.steps) for problem in problems],
        known={row: rates[problem.id] for row, problem in enumerate(problems) if problem.id in rates},
    )
    trainer_of(
        arm,
        setting,
        rows_of(problems),
        steps=updates,
        rewards=[strict_format_reward_func, counted.reward()],
        signal=SignalConfig(outcome=OUTCOME, sampling=sampling),
    ).train()
    return counted


def forecast_of(found: Probe, group_size: int) -> float:
    """Return the live share that a probe expects of uniformly drawn problems."""
    return next(one.live for one in found.forecasts if one.group_size == group_size)


def plot(found: dict[str, dict[str, list[Counted]]], path: Path) -> None:
    """Draw the share of both arms over the updates, the mean of the seeds, a panel for each pool."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(found), figsize=(4 * len(found), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, arms) in zip(panels[0], found.items(), strict=True):
        for arm, runs in arms.items():
            mean = [statistics.mean(shares) for shares in zip(*(run.mixed for run in runs), strict=True)]
            points = [statistics.mean(mean[at : at + WINDOW]) for at in range(0, len(mean), WINDOW)]
            axes.plot([at * WINDOW + WINDOW / 2 for at in range(len(points))], points, marker="o", label=arm)
        axes.set(title=f"problems: {name}", xlabel="update", ylim=(0, 1))
    panels[0][0].set_ylabel("share of completions\nin groups of mixed verdicts")
    panels[0][0].legend()
    figure.savefig(path, dpi=120)


def short(adapter: Path) -> list[Headline]:
    """Return the headline: ten updates of one seed."""
    setting = Setting(adapter, problems_per_step=8, micro_batch=16, learning_rate=5e-4)
    problems = pool("half beyond reach", setting.seed)
    seen = probed(setting, problems)
    stock, ours = (
        statistics.mean(measure(arm, setting, problems, seen, 10).mixed) for arm in ("stock", "warmstart")
    )
    shown = f"{ours:.0%}, {ours / stock:.2f} × stock"
    return [Headline("completions in mixed groups, first 10 updates", shown, "≥ 75 %, ≥ 1.5 × (a whole run)")]


def main() -> int:
    """Measure both arms and print the table."""
    options = parser(__doc__ or "")
    options.add_argument("--updates", type=int, default=80)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--pools", nargs="+", choices=list(POOLS), default=list(POOLS))
    options.add_argument("--rate", type=float, default=5e-4, help="learning rate of both arms")
    options.add_argument("--out", type=Path, help="a folder for the plot")
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
    print("| problems | arm | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | asked |")
    print("|---" * (len(seeds) + 4) + "|")
    found: dict[str, dict[str, list[Counted]]] = {}
    for name in arguments.pools:
        arms = found[name] = {"stock": [], "warmstart": []}
        probes = []
        for seed in seeds:
            setting, problems = replace(base, seed=seed), pool(name, seed)
            probes.append(probed(setting, problems))
            for arm, runs in arms.items():
                runs.append(measure(arm, setting, problems, probes[-1], updates))
        means = {}
        for arm, runs in arms.items():
            shares = [statistics.mean(run.mixed) for run in runs]
            means[arm] = statistics.mean(shares)
            asked = ", ".join(str(len(run.problems)) for run in runs)
            each = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {name} | {arm} | {each} | {means[arm]:.1%} | {asked} |", flush=True)
        print(
            f"| {name} | ratio | " + " | " * len(seeds) + f"{means['warmstart'] / means['stock']:.2f} × | |"
        )
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        plot(found, arguments.out / "live_share.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
