"""GRPO with and without the outcome gate on problems that are mostly beyond the model: two curves per seed.

    python benchmarks/gate.py [--run RUN] [--steps 80] [--seeds 0 1] [--depth 12] [--hard 0.75] [--brevity 0.2]
                              [--per-step 16] [--rate 1e-3] [--out gate.jsonl] [--plot gate.png]

Most problems have twelve steps, of which the model solves none; the others are of the usual difficulty. Both
arms have the six rewards with the weights of the stage `format`, the same seed, the same warm start and the
same problems in the same order; ``--brevity`` adds a term that pays short completions, as length-shaped
rewards do: a tenth of what a right answer earns. Where no completion of a group is right, only shaping
differs; divided by the group's own spread it becomes an advantage of full size. With the gate such a group
carries none. Held-out problems of the usual difficulty are measured before and every 20 steps, four samples
each at temperature 1. Curves that lie in ``--out`` already are kept and not run again; ``--plot`` draws all.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from arms import OUTCOME, Setting, parser, prompter, rows_of, trainer_of, warm_adapter
from warmstart.data.synthetic import generate
from warmstart.grading.verdicts import grade, grade_lenient
from warmstart.records import Verdict
from warmstart.rewards.functions import STAGE_WEIGHTS, reward_functions
from warmstart.rollouts import generate as complete
from warmstart.tags import DEFAULT_TAGS
from warmstart.training.signal_config import SignalConfig

EVERY = 20
LONGEST = 400.0
"""Characters; a completion of so many earns nothing for its brevity."""


def brevity(completions: Any, **columns: Any) -> list[float]:  # noqa: ANN401
    """Return 1 for an empty completion, 0 for one of `LONGEST` characters or more, in between the share."""
    return [max(0.0, 1.0 - len(c[-1]["content"]) / LONGEST) for c in completions]


class Curve(TrainerCallback):  # type: ignore[misc]
    """Held-out rates and the shares of dead groups, every `EVERY` steps."""

    def __init__(self, problems: int, seed: int) -> None:
        self.problems = generate(problems, seed=seed, split="eval")
        self.prompter = prompter()
        self.points: list[dict[str, Any]] = []
        self.last: dict[str, float] = {}

    def measure(self, model: Any, step: int) -> None:  # noqa: ANN401
        """Add a point."""
        groups = complete(
            model,
            self.prompter.tokenizer,
            [self.prompter.prompt_ids(problem.question) for problem in self.problems],
            samples=4,
            temperature=1.0,
            max_tokens=112,
            batch_size=200,
            seed=1,
        )
        judged = [
            (grade(c.text, problem.gold), grade_lenient(c.text, problem.gold))
            for problem, group in zip(self.problems, groups, strict=True)
            for c in group
        ]
        count = len(judged)
        self.points.append(
            {
                "step": step,
                "strict": sum(a.parsed.strict and a.verdict is Verdict.CORRECT for a, _ in judged) / count,
                "lenient": sum(b.verdict is Verdict.CORRECT for _, b in judged) / count,
                "format": sum(a.parsed.strict for a, _ in judged) / count,
                "characters": sum(len(c.text) for group in groups for c in group) / count,
                **self.last,
            }
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        """Measure the start."""
        self.measure(model, 0)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        """Keep the shares of the last step."""
        if logs and "signal/all_fail_share" in logs:
            self.last = {
                "all_fail": logs["signal/all_fail_share"],
                "update_share": logs.get("signal/update_share", 1.0),
                "entropy": logs["entropy"],
            }

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ANN401
        """Measure now and then."""
        if state.global_step % EVERY == 0:
            self.measure(model, state.global_step)


def main() -> int:
    """Train both arms for every seed and print their curves."""
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, default=80)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options.add_argument("--depth", type=int, default=12)
    options.add_argument("--hard", type=float, default=0.75)
    options.add_argument("--stage", default="format", choices=list(STAGE_WEIGHTS))
    options.add_argument("--rate", type=float, default=1e-3)
    options.add_argument("--problems", type=int, default=100)
    options.add_argument("--brevity", type=float, default=0.2)
    options.add_argument("--per-step", type=int, default=16)
    options.add_argument("--out", type=Path)
    options.add_argument("--plot", type=Path)
    arguments = options.parse_args()
    adapter = warm_adapter(arguments.run)
    functions = [*reward_functions(DEFAULT_TAGS), brevity]
    weights = {**STAGE_WEIGHTS[arguments.stage], "brevity": arguments.brevity}
    kept: list[dict[str, Any]] = []
    if arguments.out is not None and arguments.out.exists():
        kept = [json.loads(line) for line in arguments.out.read_text(encoding="utf-8").splitlines()]
    print(
        "| seed | gate | step | strict | lenient | format | characters | all-fail groups | rows in the update |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        hard = generate(round(1000 * arguments.hard), seed=seed, split="train", steps=arguments.depth)
        rows = rows_of([*hard, *generate(1000 - len(hard), seed=seed, split="train")])
        for gate in (True, False):
            if any((point["seed"], point["gate"]) == (seed, gate) for point in kept):
                continue
            curve = Curve(arguments.problems, seed)
            trainer_of(
                "warmstart",
                Setting(
                    adapter,
                    problems_per_step=arguments.per_step,
                    learning_rate=arguments.rate,
                    micro_batch=16,
                    seed=seed,
                ),
                rows,
                steps=arguments.steps,
                rewards=functions,
                callbacks=[curve],
                signal=SignalConfig(outcome=OUTCOME, gate=gate, sampling=None),
                reward_weights=[weights[function.__name__] for function in functions],
                max_grad_norm=1.0,
            ).train()
            for point in curve.points:
                kept.append({"seed": seed, "gate": gate, **point})
                fail = f"{point['all_fail']:.0%}" if "all_fail" in point else ""
                share = f"{point['update_share']:.0%}" if "update_share" in point else ""
                print(
                    f"| {seed} | {'on' if gate else 'off'} | {point['step']} | {point['strict']:.1%} "
                    f"| {point['lenient']:.1%} | {point['format']:.1%} "
                    f"| {point['characters']:.0f} | {fail} | {share} |",
                    flush=True,
                )
            if arguments.out is not None:
                arguments.out.write_text(
                    "".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8"
                )
    if arguments.plot is not None:
        plot(kept, arguments.plot)
    return 0


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """Draw strict accuracy and format over steps, with the gate and without."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=True)
    for axes, measure, title in zip(
        panels, ("strict", "format"), ("right, in the exact format", "in the exact format"), strict=True
    ):
        for gate, name, colour in ((True, "gate on", "C0"), (False, "gate off", "C3")):
            for seed in sorted({point["seed"] for point in points}):
                curve = [p for p in points if (p["seed"], p["gate"]) == (seed, gate)]
                axes.plot(
                    [point["step"] for point in curve],
                    [100 * point[measure] for point in curve],
                    color=colour,
                    linestyle=("-", "--", ":")[seed % 3],
                    marker=".",
                    label=f"{name}, seed {seed}",
                )
        axes.set(title=title, xlabel="step", ylim=(0, 100))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("held-out completions, %")
    panels[0].legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
