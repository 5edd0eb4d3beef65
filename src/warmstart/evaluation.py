"""Generate on held-out problems and grade: one row per completion, no averages here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from warmstart import ranks
from warmstart.grading.second_reading import read_again
from warmstart.grading.verdicts import grade, grade_lenient
from warmstart.progress import Progress, Quiet
from warmstart.records import Problem, Verdict
from warmstart.rollouts import Completion, generate
from warmstart.rollouts.server import AT_ONCE, Server, sample
from warmstart.runs.completion_log import CompletionLog
from warmstart.tags import Tags
from warmstart.templates.prompter import Prompter, Role, conversation

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is generated of every problem: a greedy completion and sampled ones.

    Attributes:
        samples: Sampled completions per problem.
        temperature: Of the samples.
        top_p: Of the samples.
        max_tokens: The cap of a completion.
        batch_size: Completions generated at once, and kept at once.
        seed: Of the samples.
    """

    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    batch_size: int
    seed: int


class Answerer(Protocol):
    """Whatever answers problems: a model in this process or a server."""

    @property
    def tags(self) -> Tags:
        """The answer format."""

    def cost(self, problem: Problem) -> int:
        """Return how long the prompt of a problem is; problems of like length are asked together."""

    def answer(
        self,
        problems: Sequence[tuple[int, Problem]],
        *,
        samples: int,
        temperature: float,
        wanted: Wanted,
        on_progress: Callable[[int], None],
    ) -> list[list[Completion]]:
        """Return ``samples`` completions of each problem, which comes with its place among all of them."""


@dataclass(frozen=True)
class InProcess:
    """A transformers model in this process, asked as it was trained."""

    model: PreTrainedModel
    prompter: Prompter

    @property
    def tags(self) -> Tags:
        """The answer format."""
        return self.prompter.tags

    def cost(self, problem: Problem) -> int:
        """Return the tokens of the prompt."""
        return len(self.prompter.prompt_ids(problem.question))

    def answer(
        self,
        problems: Sequence[tuple[int, Problem]],
        *,
        samples: int,
        temperature: float,
        wanted: Wanted,
        on_progress: Callable[[int], None],
    ) -> list[list[Completion]]:
        """Return the completions; their random draws are keyed by seed, place and sample."""
        groups = generate(
            self.model,
            self.prompter.tokenizer,
            [self.prompter.prompt_ids(problem.question) for _, problem in problems],
            samples=samples,
            temperature=temperature,
            top_p=wanted.top_p if temperature else 1.0,
            max_tokens=wanted.max_tokens,
            batch_size=wanted.batch_size,
            seed=wanted.seed,
            keys=[place for place, _ in problems],
            on_progress=on_progress,
        )
        return [[completion.after(self.prompter.prefill) for completion in group] for group in groups]


@dataclass(frozen=True)
class Served:
    """A model behind a server, asked in its chat template.

    Attributes:
        server: Which one.
        tags: The answer format.
        text: The instructions.
        role: The turn they stand in.
        exemplar: A question and its target, shown before every question.
        prefill: What the server's template writes of every completion.
        at_once: Requests that are open at a time.
    """

    server: Server
    tags: Tags
    text: str
    role: Role = "system"
    exemplar: tuple[str, str] | None = None
    prefill: str = ""
    at_once: int = AT_ONCE

    def cost(self, problem: Problem) -> int:
        """Return 0: a server orders its work itself."""
        return 0

    def answer(
        self,
        problems: Sequence[tuple[int, Problem]],
        *,
        samples: int,
        temperature: float,
        wanted: Wanted,
        on_progress: Callable[[int], None],
    ) -> list[list[Completion]]:
        """Return the completions; each request has a seed of its own, of seed, place and sample."""
        groups = sample(
            self.server,
            [
                conversation(problem.question, text=self.text, role=self.role, exemplar=self.exemplar)
                for _, problem in problems
            ],
            samples=samples,
            temperature=temperature,
            top_p=wanted.top_p if temperature else 1.0,
            max_tokens=wanted.max_tokens,
            seed=wanted.seed,
            keys=[place for place, _ in problems],
            at_once=self.at_once,
            on_progress=on_progress,
        )
        return [[completion.after(self.prefill) for completion in group] for group in groups]


def evaluate(
    answerer: Answerer,
    splits: Mapping[str, Sequence[Problem]],
    wanted: Wanted,
    *,
    log: CompletionLog | None = None,
    of: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    label: str = "evaluating",
) -> list[Row]:
    """Return a graded row for one greedy and the sampled completions of every problem.

    ``strict`` is a right answer in the exact format, ``lenient`` a right answer anywhere, ``format`` the
    exact format whatever the answer. With a log every batch is on disk before the next one begins, and
    what is there already is not generated again; the rows returned are then those of the log.

    Args:
        answerer: Who is asked; the prompts are those of training.
        splits: Problems by the name of their split: ``eval``, ``unseen``.
        wanted: What is generated.
        log: Where the rows go.
        of: What decides the completions beside ``wanted`` and the problems: model, adapter, prompt.
        progress: Shows what goes on.
        label: What the bar says.
    """
    show = progress or Quiet()
    rows: list[Row] = []
    if log is not None:
        what = {**(of or {}), "wanted": _described(wanted), "problems": _identity(splits)}
        if ranks.count() > 1:
            # A batch is one of all processes together: another number of them would cut the problems up anew.
            what["processes"] = ranks.count()
        found = ranks.from_main(partial(log.begin, what))
        if found:
            show.say(f"{label}: {found} batches are there already")
    total = sum(map(len, splits.values())) * (1 + wanted.samples)
    with show.task(label, total, "completions") as task:
        for name, split, samples, heat, chunk in _chunks(answerer, splits, wanted):
            known = None if log is None else ranks.from_main(partial(log.read, name))
            if known is None:
                groups = answerer.answer(
                    chunk, samples=samples, temperature=heat, wanted=wanted, on_progress=task.advance
                )
                graded = partial(_graded, chunk, groups, answerer.tags, split=split, mode=_mode(heat))
                known = ranks.from_main(graded if log is None else partial(_kept, log, name, graded))
            else:
                task.advance(len(known))
            rows += known
    if log is not None:
        ranks.from_main(log.finish)
    return rows


def _graded(
    chunk: Sequence[tuple[int, Problem]],
    groups: Sequence[Sequence[Completion]],
    tags: Tags,
    *,
    split: str,
    mode: str,
) -> list[Row]:
    return [
        grade_row(problem, completion, tags, split=split, mode=mode, sample=sample)
        for (_, problem), group in zip(chunk, groups, strict=True)
        for sample, completion in enumerate(group)
    ]


def _kept(log: CompletionLog, name: str, graded: Callable[[], list[Row]]) -> list[Row]:
    rows = graded()
    log.write(name, rows)
    return rows


def _chunks(
    answerer: Answerer, splits: Mapping[str, Sequence[Problem]], wanted: Wanted
) -> Iterator[tuple[str, str, int, float, list[tuple[int, Problem]]]]:
    """Yield what is generated at once: its name, split, samples, temperature, and the problems with their places.

    Problems of like length stand together, so that little is spent on padding; a problem's samples too.
    """
    for split, problems in splits.items():
        places = sorted(enumerate(problems), key=lambda one: (answerer.cost(one[1]), one[0]))
        for samples, heat in ((1, 0.0), (wanted.samples, wanted.temperature)):
            size = max(1, wanted.batch_size * ranks.count() // max(1, samples))
            for start in range(0, len(places) if samples else 0, size):
                name = f"{split}-{_mode(heat)}-{start // size:06d}"
                yield name, split, samples, heat, places[start : start + size]


def _mode(temperature: float) -> str:
    return "sampled" if temperature else "greedy"


def _described(wanted: Wanted) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in wanted.__slots__}


def _identity(splits: Mapping[str, Sequence[Problem]]) -> dict[str, str]:
    return {
        split: hashlib.sha256(repr([(p.id, p.question, p.gold) for p in problems]).encode()).hexdigest()
        for split, problems in splits.items()
    }


def grade_row(
    problem: Problem, completion: Completion, tags: Tags, *, split: str, mode: str, sample: int
) -> Row:
    """Return everything that is kept of one completion; columns as in `completion_log.COLUMNS`."""
    judged = grade(completion.text, problem.gold, tags=tags)
    lenient = grade_lenient(completion.text, problem.gold, tags=tags)
    again = read_again(completion.text, problem.gold, tags)
    parsed, verdict = judged.parsed, judged.verdict
    is_checked = again.right is not None and verdict in (Verdict.CORRECT, Verdict.WRONG)
    if is_checked:
        verdict = Verdict.CORRECT if again.right else Verdict.WRONG
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
        "verdict": str(verdict),
        "lenient_verdict": str(lenient.verdict),
        "given": judged.given,
        "lenient_given": lenient.given,
        "strict": again.format and verdict is Verdict.CORRECT,
        "lenient": lenient.verdict is Verdict.CORRECT,
        "format": again.format,
        "why_not_strict": "; ".join(reason.code for reason in parsed.why_not_strict),
        "reward_verdict": str(judged.verdict),
        "reward_strict": parsed.strict and judged.verdict is Verdict.CORRECT,
        "checked": is_checked,
        "tokens": completion.tokens,
        "finished": completion.is_finished,
        "truncated": completion.is_truncated,
    }
