"""The six rewards, as functions that TRL's ``GRPOTrainer`` takes as they are.

Each has the signature ``f(prompts, completions, answer, **kwargs) -> list[float | None]`` and takes
strings and conversations alike. ``None`` says that the grader could not tell. Stock TRL then sums
the other terms as if this one were zero; `warmstart.GRPOTrainer` leaves the whole row out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from warmstart.grading.numbers import Number, read_number
from warmstart.grading.verdicts import Grade, LenientGrade, grade_lenient, grade_parsed
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, Parsed, Tags, parse

Message = Mapping[str, Any]
RewardFunction = Callable[..., list[float | None]]

TAG_REWARD = 0.125
"""What one tag earns; the four make half a point."""

OUTSIDE_PENALTY = 0.001
"""What one character outside the two blocks costs."""


@dataclass(frozen=True)
class RewardTerm:
    """One reward, held to the range it declares.

    Attributes:
        name: The name of the function in `reward_functions`.
        low: The least it pays.
        high: The most it pays, and what a perfect target earns.
        score: The reward of a parsed completion and its gold answer; None when it cannot be told.
        about: One sentence that says what it pays for.
    """

    name: str
    low: float
    high: float
    score: Callable[[Parsed, str | None], float | None]
    about: str

    def __call__(self, parsed: Parsed, gold: str | None) -> float | None:
        """Return the score.

        Raises:
            ValueError: If the score is outside the declared range.
        """
        value = self.score(parsed, gold)
        if value is not None and not self.low <= value <= self.high:
            raise ValueError(f"reward {self.name!r} returned {value}; declared [{self.low}, {self.high}]")
        return value


def _easy(parsed: Parsed, gold: str | None) -> float:
    return TAG_REWARD * sum(count > 0 for count in parsed.tag_counts)


def _xmlcount(parsed: Parsed, gold: str | None) -> float:
    return max(0.0, TAG_REWARD * parsed.tags_in_order - OUTSIDE_PENALTY * parsed.outside)


def _int(parsed: Parsed, gold: str | None) -> float:
    one_answer = parsed.answer_blocks == 1 and len(parsed.answers) == 1
    return 0.5 if one_answer and isinstance(read_number(parsed.answers[0]), Number) else 0.0


def _soft_format(parsed: Parsed, gold: str | None) -> float:
    return 0.5 if parsed.soft else 0.0


def _strict_format(parsed: Parsed, gold: str | None) -> float:
    return 0.5 if parsed.strict else 0.0


def _correctness(parsed: Parsed, gold: str | None) -> float | None:
    if gold is None:
        raise TypeError("correctness_reward_func needs the gold answers: a column 'answer' in the data set")
    verdict = grade_parsed(parsed, gold).verdict
    if verdict is Verdict.UNDECIDED:
        return None
    return 2.0 if verdict is Verdict.CORRECT else 0.0


TERMS = (
    RewardTerm(
        "easy_reward_func", 0.0, 0.5, _easy, "Pays 0.125 for each of the four tags that occurs at all."
    ),
    RewardTerm(
        "xmlcount_reward_func",
        0.0,
        0.5,
        _xmlcount,
        "Pays 0.125 for each tag that occurs once and in order, less 0.001 per character outside the blocks.",
    ),
    RewardTerm(
        "int_reward_func", 0.0, 0.5, _int, "Pays 0.5 for exactly one answer block that holds one number."
    ),
    RewardTerm(
        "soft_format_reward_func",
        0.0,
        0.5,
        _soft_format,
        "Pays 0.5 for each tag once and in order with a word in both bodies; white space is free.",
    ),
    RewardTerm(
        "strict_format_reward_func", 0.0, 0.5, _strict_format, "Pays 0.5 for exactly the strict format."
    ),
    RewardTerm("correctness_reward_func", 0.0, 2.0, _correctness, "Pays 2.0 for the right answer."),
)
"""The six terms, in the order of `reward_functions`."""

STAGE_WEIGHTS: dict[str, dict[str, float]] = {
    stage: dict(zip((term.name for term in TERMS), weights, strict=True))
    for stage, weights in {
        "shape": (1.0, 1.0, 1.0, 1.0, 0.0, 1.0),
        "format": (0.0, 1.0, 0.0, 1.0, 1.0, 1.0),
        "solve": (0.0, 0.0, 0.0, 0.0, 1.0, 1.0),
    }.items()
}
"""The weight of each term in each stage of the reward plan, by name."""


def reward_functions(tags: Tags = DEFAULT_TAGS) -> list[RewardFunction]:
    """Return the six reward functions for these tags, in the order of `TERMS` and under their names."""
    return [_function(term, tags) for term in TERMS]


class RewardBreakdown(NamedTuple):
    """Everything that is said of one completion."""

    grade: Grade
    lenient: LenientGrade
    rewards: dict[str, float | None]

    def total(self, weights: Mapping[str, float]) -> float | None:
        """Return the weighted sum of the rewards; None when one that has weight could not be told."""
        total = 0.0
        for name, weight in weights.items():
            reward = self.rewards[name]
            if weight and reward is None:
                return None
            total += weight * (reward or 0.0)
        return total

    def as_row(self) -> dict[str, Any]:
        """Return the row that ``warmstart score --json`` prints, ready for JSON."""
        parsed = self.grade.parsed
        return {
            "verdict": self.grade.verdict.value,
            "given": self.grade.given,
            "lenient": {
                "verdict": self.lenient.verdict.value,
                "given": self.lenient.given,
                "path": self.lenient.path,
            },
            "strict": parsed.strict,
            "soft": parsed.soft,
            "rewards": self.rewards,
            "why_not_strict": [reason._asdict() for reason in parsed.why_not_strict],
        }


def score(completion: str, gold: str, *, tags: Tags = DEFAULT_TAGS) -> RewardBreakdown:
    """Return the verdicts and the six rewards of one completion."""
    parsed = _parse(completion, tags)
    return RewardBreakdown(
        grade=grade_parsed(parsed, gold),
        lenient=grade_lenient(completion, gold, tags=tags),
        rewards={term.name: term(parsed, gold) for term in TERMS},
    )


def completion_text(completion: str | Sequence[Message]) -> str:
    """Return the text of a completion: itself, or the content of its last message.

    Content in parts, as TRL has it for vision models, is joined; parts that are no text are left out.
    """
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _function(term: RewardTerm, tags: Tags) -> RewardFunction:
    def reward(
        prompts: Sequence[Any],
        completions: Sequence[str | Sequence[Message]],
        answer: Sequence[Any] | None = None,
        **kwargs: object,
    ) -> list[float | None]:
        golds = [None] * len(completions) if answer is None else [_gold_text(gold) for gold in answer]
        texts = [
            _with_prefill(prompt, completion_text(completion), tags)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return [term(_parse(text, tags), gold) for text, gold in zip(texts, golds, strict=True)]

    reward.__name__ = reward.__qualname__ = term.name
    reward.__doc__ = f"{term.about}\n\nRange: {term.low} to {term.high}; one number per completion."
    return reward


def _gold_text(gold: object) -> str:
    """Return a cell of the answer column as text; a missing one as blank, which is undecided."""
    return "" if gold is None else str(gold)


# Six functions score the same completion one after the other.
_parse = lru_cache(maxsize=2048)(parse)


def _with_prefill(prompt: str | Sequence[Message], text: str, tags: Tags) -> str:
    """Return the completion with the opening reasoning tag that the prompt ends in, if it ends in it."""
    if not isinstance(prompt, str):
        last = prompt[-1] if prompt else {}
        prompt = completion_text([last]) if last.get("role") == "assistant" else ""
    opener = tags.exact[0]
    at = prompt.rfind(opener)
    if at < 0 or prompt[at:].strip() != opener or text.lstrip().startswith(opener):
        return text
    return prompt[at:] + text


(
    easy_reward_func,
    xmlcount_reward_func,
    int_reward_func,
    soft_format_reward_func,
    strict_format_reward_func,
    correctness_reward_func,
) = reward_functions()
