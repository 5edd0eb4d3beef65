r"""A second reading of a completion, by another path than the rewards': held-out results rest on it.

Training pays by `warmstart.tags.parse` and `warmstart.grading.verdicts.grade`; a policy that has found a hole in
them would be graded right by them too. So evaluation reads the format line by line, and an answer that is
a plain number digit by digit, with no code of theirs. An answer in any other dress it cannot tell; such
completions keep the grader's verdict and are counted as unchecked. Where the two readings differ, this
one is the result and the difference is counted and shown.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from warmstart.tags import DEFAULT_TAGS, Tags

MAX_CHARS = 200_000
"""Longer texts are in no format."""
_PLAIN_NUMBER = re.compile(r"(-?)[$€£]?((?:[1-9]\d{0,2}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?)\.?", re.ASCII)


class SecondReading(NamedTuple):
    """What the other path says."""

    format: bool
    """The text is exactly the strict format."""
    right: bool | None
    """Its answer is the gold; None when this path cannot tell, and always outside the format."""


def read_again(completion: str, gold: str, tags: Tags = DEFAULT_TAGS) -> SecondReading:
    """Return format and correctness of a completion as this path sees them."""
    answer = formatted_answer(completion, tags)
    if answer is None:
        return SecondReading(False, None)
    return SecondReading(True, same_answer(gold.rpartition("####")[2], answer))


def formatted_answer(completion: str, tags: Tags = DEFAULT_TAGS) -> str | None:
    """Return the answer of a text in the strict format, found line by line; None of any other text."""
    if len(completion) > MAX_CHARS or "\r" in completion:
        return None
    lines = completion.strip().split("\n")
    wanted = [f"<{tags.reasoning}>", f"</{tags.reasoning}>", f"<{tags.answer}>", f"</{tags.answer}>"]
    marks = [number for number, line in enumerate(lines) if line in wanted]
    if [lines[number] for number in marks] != wanted:
        return None
    first, turn, after, last = marks
    if first != 0 or after != turn + 1 or last != len(lines) - 1:
        return None
    bodies = ["\n".join(lines[first + 1 : turn]), "\n".join(lines[after + 1 : last])]
    if any(_is_empty(body) or any(tag in body for tag in wanted) for body in bodies):
        return None
    return bodies[1].strip()


def same_answer(gold: str, given: str) -> bool | None:
    """Return whether two plain numbers are one, or two texts the same to the letter; None: cannot tell."""
    wanted, found = _plain_number(gold), _plain_number(given)
    if wanted is not None and found is not None:
        return wanted == found
    # Two forms of one formula differ to the letter: only "the same" can be told of them.
    return True if gold.strip() == given.strip() != "" and wanted is None and found is None else None


def _plain_number(text: str) -> Fraction | None:
    match = _PLAIN_NUMBER.fullmatch(text.strip())
    return None if match is None else Fraction(match[1] + match[2].replace(",", ""))


def _is_empty(body: str) -> bool:
    return not any(char.isprintable() and not char.isspace() for char in body)
