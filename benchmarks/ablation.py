"""What each part of the trainer is worth: a step with everything, and with each part switched off in turn.

    python benchmarks/ablation.py [--run RUN] [--rounds 3] [--steps 5] [--short]

All arms start from the same warm start with a learning rate of zero and take turns in one process. Quoted
are the median seconds of a step and its ratio to everything; "mixed" is the share of groups with right and
wrong answers, "update" the share of rows that went through the update. The sampler and the gate change
what is learnt rather than what a step costs: docs/log.md has their learning curves.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace

from arms import OUTCOME, Setting, StepTimes, parser, rows_of, trainer_of, warm_adapter
from step import Logs
from warmstart.data.synthetic import generate
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.signal_config import SignalConfig


def main() -> int:
    """Measure every arm and print the table."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--short", action="store_true", help="one round of two steps")
    arguments = options.parse_args()
    rounds, steps = (1, 2) if arguments.short else (arguments.rounds, arguments.steps)
    problems = generate(1000, seed=7, split="train")
    rows = rows_of(problems)
    sampling = ProblemSampling(strata=[(problem.family, problem.steps) for problem in problems])
    whole = SignalConfig(outcome=OUTCOME, sampling=sampling)
    arms = {
        "everything": ("warmstart", whole),
        "without the sampler": ("warmstart", replace(whole, sampling=None)),
        "without live rows only": ("warmstart", replace(whole, live_rows_only=False)),
        "without shared prompts": ("warmstart", replace(whole, share_prompts=False)),
        "without fast rollouts": ("warmstart", replace(whole, fast_rollouts=False)),
        "without the gate": ("warmstart", replace(whole, gate=False)),
        "stock TRL": ("stock", whole),
    }
    base = Setting(warm_adapter(arguments.run), problems_per_step=8, micro_batch=16)
    found: dict[str, list[tuple[float, float | None, float]]] = {name: [] for name in arms}
    for seed in range(rounds):
        for name, (arm, signal) in arms.items():
            times, logs = StepTimes(), Logs()
            trainer_of(
                arm,
                replace(base, seed=seed),
                rows,
                steps=steps + 1,
                callbacks=[times, logs],
                signal=signal,
            ).train()
            mixed = [line.get("signal/mixed_share") for line in logs.lines[1:]]
            updated = [line.get("signal/update_share", 1.0) for line in logs.lines[1:]]
            found[name].append(
                (
                    statistics.median(times.steps[1:]),
                    None if None in mixed else statistics.mean(mixed),
                    statistics.mean(updated),
                )
            )
    fastest = statistics.median(step for step, _, _ in found["everything"])
    print("| | step s | of everything's | mixed | update |\n|---|---|---|---|---|")
    for name, turns in found.items():
        step = statistics.median(seconds for seconds, _, _ in turns)
        shares = [mixed for _, mixed, _ in turns]
        mixed = "" if None in shares else f"{statistics.mean(shares):.0%}"
        updated = statistics.mean(share for _, _, share in turns)
        print(f"| {name} | {step:.2f} | {step / fastest:.2f} × | {mixed} | {updated:.0%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
