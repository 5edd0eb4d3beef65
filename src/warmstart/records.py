"""The values that travel between the layers: plain, frozen, free of behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a grader can say of one completion. "Could not tell" is never "wrong"."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    """There is nothing to grade: no answer, a blank one, or one that was cut off."""
    UNDECIDED = "undecided"
    """The grader failed or ran out of time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its gold answer.

    Attributes:
        id: Unique within its data set and stable between runs.
        question: What the model is asked.
        gold: The final answer as text, for instance ``"72"``.
        rationale: A worked solution without its final-answer line, if the data has one.
        family: The kind of problem, if known (``synthetic`` knows it).
        steps: The number of calculation steps, if known.
    """

    id: str
    question: str
    gold: str
    rationale: str | None = None
    family: str | None = None
    steps: int | None = None
