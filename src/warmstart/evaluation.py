"""Generate on held-out problems and grade: one row per completion, no averages here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from warmstart.grading import grade, grade_lenient
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem, Verdict
from warmstart.rollouts import Completion, generate
from warmstart.tags import Tags
from warmstart.templates import Prompter

Row = dict[str, Any]


def evaluate(
    model: PreTrainedModel,
    prompter: Prompter,
    problems: Sequence[Problem],
    *,
    split: str,
    samples: int,
    temperature: float,
    top_p: float,
    max_tokens: int,
    batch_size: int,
    seed: int,
    progress: Progress | None = None,
    label: str = "evaluating",
) -> list[Row]:
    """Return a graded row for one greedy and ``samples`` sampled completions of every problem.

    ``strict`` is a right answer in the exact format, ``lenient`` a right answer anywhere, ``format`` the
    exact format whatever the answer. The prompts are those of training.
    """
    prompts = [prompter.prompt_ids(problem.question) for problem in problems]
    rows: list[Row] = []
    show = progress or Quiet()
    with show.task(label, len(problems) * (1 + samples), "completions") as task:
        for mode, count, heat in (("greedy", 1, 0.0), ("sampled", samples, temperature)):
            if count == 0:
                continue
            groups = generate(
                model,
                prompter.tokenizer,
                prompts,
                samples=count,
                temperature=heat,
                top_p=top_p if heat else 1.0,
                max_tokens=max_tokens,
                batch_size=batch_size,
                seed=seed,
                on_progress=task.advance,
            )
            rows += [
                grade_row(
                    problem,
                    completion.after(prompter.prefill),
                    prompter.tags,
                    split=split,
                    mode=mode,
                    sample=sample,
                )
                for problem, group in zip(problems, groups, strict=True)
                for sample, completion in enumerate(group)
            ]
    return rows


def grade_row(
    problem: Problem, completion: Completion, tags: Tags, *, split: str, mode: str, sample: int
) -> Row:
    """Return everything that is kept of one completion."""
    judged = grade(completion.text, problem.gold, tags=tags)
    lenient = grade_lenient(completion.text, problem.gold, tags=tags)
    parsed = judged.parsed
    return {
        "problem_id": problem.id,
        "family": problem.family,
        "steps": problem.steps,
        "question": problem.question,
        "gold": problem.gold,
        "split": split,
        "mode": mode,
        "sample": sample,
        "text": completion.text,
        "verdict": str(judged.verdict),
        "lenient_verdict": str(lenient.verdict),
        "given": judged.given,
        "lenient_given": lenient.given,
        "strict": parsed.strict and judged.verdict is Verdict.CORRECT,
        "lenient": lenient.verdict is Verdict.CORRECT,
        "format": parsed.strict,
        "why_not_strict": "; ".join(reason.code for reason in parsed.why_not_strict),
        "tokens": completion.tokens,
        "finished": completion.is_finished,
    }
