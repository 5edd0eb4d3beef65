"""A small measurement of the model while it trains: sampled completions of problems that are not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart import ranks
from warmstart.diagnosis import Evaluation
from warmstart.estimates import bootstrap_rate
from warmstart.grading.verdicts import grade, grade_lenient
from warmstart.learning_signal import live_groups
from warmstart.records import Problem, Verdict
from warmstart.rollouts import Completion, generate
from warmstart.templates.prompter import Prompter

SAMPLES = 4
"""Completions per problem, at temperature 1."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was measured at one step: shares of sampled completions, and of live groups.

    Attributes:
        step: The training step.
        format: In the exact format.
        lenient: Right anywhere.
        live: Groups of four in which some are right in the exact format and some are not.
        strict_P: Of each problem, right in the exact format.
    """

    step: int
    format: float
    lenient: float
    live: float
    strict_P: tuple[float, ...] = ()

    def evaluation(self) -> Evaluation:
        """Return the strict accuracy with its interval over problems, as the diagnosis takes it."""
        return Evaluation(step=self.step, strict=bootstrap_rate(self.strict_P))


@dataclass(frozen=True, slots=True)
class Checker:
    """The problems that are measured on and how they are put."""

    problems: Sequence[Problem]
    prompter: Prompter
    cap: int
    batch_size: int | None = None
    """Completions generated at once; None: all."""

    def measure(self, model: Any, step: int) -> Check:  # noqa: ANN401
        """Return the check of ``model`` as it is at ``step``, which also seeds the sampling."""
        groups = generate(
            model,
            self.prompter.tokenizer,
            [self.prompter.prompt_ids(problem.question) for problem in self.problems],
            samples=SAMPLES,
            temperature=1.0,
            max_tokens=self.cap,
            batch_size=self.batch_size or len(self.problems) * SAMPLES,
            seed=step,
        )
        # Graded once: a grader that runs out of time on one process alone would part their ways.
        return ranks.from_main(lambda: self._graded(groups, step))

    def _graded(self, groups: Sequence[Sequence[Completion]], step: int) -> Check:
        tags = self.prompter.tags
        rows = [
            [
                (grade(text, problem.gold, tags=tags), grade_lenient(text, problem.gold, tags=tags))
                for text in (completion.after(self.prompter.prefill).text for completion in group)
            ]
            for problem, group in zip(self.problems, groups, strict=True)
        ]
        right_P_K = np.array(
            [[float(g.verdict is Verdict.CORRECT and g.parsed.strict) for g, _ in row] for row in rows]
        )
        return Check(
            step=step,
            format=float(np.mean([[g.parsed.strict for g, _ in row] for row in rows])),
            lenient=float(np.mean([[loose.verdict is Verdict.CORRECT for _, loose in row] for row in rows])),
            live=float(live_groups(right_P_K).mean()),
            strict_P=tuple(float(value) for value in right_P_K.mean(axis=1)),
        )
