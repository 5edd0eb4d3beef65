"""How much of the evaluation the training has seen: exact, normalised, and by shared 8-grams of words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from warmstart.records import Problem

NGRAM = 8
"""Words; the length GPT-3 and open-r1 use to call a text contaminated."""
_SHOWN = 5
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pair:
    """A held-out problem and a training problem that share text."""

    eval_id: str
    train_id: str
    shared: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """What was found.

    Attributes:
        eval_problems: Held-out problems looked at.
        exact: Of them, those whose question is a training question to the letter.
        normalised: The same, letter case, punctuation and white space aside.
        ngram: Those that share eight words in a row with a training question.
        pairs: A few of them, exact ones first.
    """

    eval_problems: int
    exact: int
    normalised: int
    ngram: int
    pairs: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what overlap.json holds."""
        return asdict(self)

    def describe(self) -> str:
        """Return one sentence."""
        if not (self.exact or self.normalised or self.ngram):
            return f"none of the {self.eval_problems} held-out problems shares its text or {NGRAM} words in a row with training"
        return (
            f"of {self.eval_problems} held-out problems {self.exact} are in the training data to the letter, "
            f"{self.normalised} but for case and punctuation, {self.ngram} share {NGRAM} words in a row with it"
        )


def find_overlap(train: Sequence[Problem], held_out: Sequence[Problem]) -> Overlap:
    """Return how far held-out questions occur in training questions; time and memory are linear in the text."""
    exact = {problem.question: problem.id for problem in train}
    words = {problem.id: _words(problem.question) for problem in train}
    normal = {" ".join(tokens): identity for identity, tokens in words.items()}
    grams = {gram: identity for identity, tokens in words.items() for gram in _grams(tokens)}
    exactly, normally, partly = 0, 0, 0
    pairs: list[tuple[int, Pair]] = []
    for problem in held_out:
        tokens = _words(problem.question)
        shared = next((gram for gram in _grams(tokens) if gram in grams), None)
        found = (exact.get(problem.question), normal.get(" ".join(tokens)), grams[shared] if shared else None)
        exactly += found[0] is not None
        normally += found[1] is not None
        partly += found[2] is not None
        for kind, identity in enumerate(found):
            if identity is not None:
                text = problem.question if kind < 2 or shared is None else " ".join(shared)
                pairs.append((kind, Pair(problem.id, identity, text)))
                break
    pairs.sort(key=lambda pair: pair[0])
    return Overlap(len(held_out), exactly, normally, partly, tuple(pair for _, pair in pairs[:_SHOWN]))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + NGRAM]) for start in range(len(tokens) - NGRAM + 1)]
