"""Does the watch name what goes wrong in the course of GRPO, and stay quiet in healthy runs?

    python benchmarks/planted_courses.py [--run RUN] [--seeds 3] [--only NAME]

Every course is a real run of `warmstart.GRPOTrainer` from the warm tiny model with one setting changed;
`SignalWatch` looks on and may not stop it. Named first means: the first finding that is more than a note.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from arms import OUTCOME, Setting, parser, rows_of, trainer_of, warm_adapter
from warmstart.data.synthetic import generate
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.signal_config import SignalConfig
from warmstart.training.watch import SignalWatch

RATE = 1.5e-3
"""The recipe's own learning rate."""


@dataclass(frozen=True)
class Course:
    """One run: what is changed, for how many steps, and what must be named first (None: nothing)."""

    name: str
    expected: str | None
    steps: int
    rate: float = RATE
    group_size: int = 8
    temperature: float = 1.0
    trl: dict[str, Any] = field(default_factory=dict)
    uniform: bool = False


COURSES = [
    Course("rate ten times too large", "rate-too-large", 25, rate=10 * RATE),
    Course("rate thirty times too large", "rate-too-large", 20, rate=30 * RATE),
    Course("TRL's default rate of 1e-6", "rate-too-small", 55, rate=1e-6),
    Course("temperature of almost nothing", "sampling-degenerate", 8, temperature=0.02),
    Course("healthy", None, 30),
    Course("healthy, groups of 4", None, 30, group_size=4),
    Course("healthy, uniform problems", None, 30, uniform=True),
    Course("healthy, rate a third lower", None, 30, rate=1e-3),
    Course("healthy, KL penalty", None, 20, trl={"beta": 0.02}),
    Course("healthy, GRPO's own loss", None, 20, trl={"loss_type": "grpo"}),
]


def first_named(course: Course, setting: Setting, seed: int) -> str | None:
    """Return the first finding of a run that is more than a note, with its step."""
    watch = SignalWatch(stop=False, say=lambda line: None)
    trainer_of(
        "warmstart",
        setting,
        rows_of(generate(1000, seed=seed, split="train")),
        steps=course.steps,
        callbacks=[watch],
        signal=SignalConfig(
            outcome=OUTCOME,
            on_rollouts=watch.see,
            sampling=None if course.uniform else ProblemSampling(),
        ),
        temperature=course.temperature,
        max_grad_norm=1.0,
        **course.trl,
    ).train()
    named = [event for event in watch.events if event["severity"] != "note"]
    return f"{named[0]['code']} at step {named[0]['step']}" if named else None


def main() -> int:
    """Run every course and print what was named; return 1 if one was named wrongly."""
    options = parser(__doc__ or "")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--only", default="")
    arguments = options.parse_args()
    adapter, wrong = warm_adapter(arguments.run), 0
    print("| course | expected first | named first |\n|---|---|---|")
    for course in COURSES:
        if arguments.only not in course.name:
            continue
        named = [
            first_named(
                course,
                Setting(
                    adapter,
                    group_size=course.group_size,
                    learning_rate=course.rate,
                    micro_batch=16,
                    seed=seed,
                ),
                seed,
            )
            for seed in range(arguments.seeds)
        ]
        wrong += sum((one or "nothing").split(" at ")[0] != (course.expected or "nothing") for one in named)
        print(
            f"| {course.name} | `{course.expected or 'nothing'}` | {'; '.join(one or 'nothing' for one in named)} |",
            flush=True,
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
