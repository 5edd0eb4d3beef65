"""How much of the evaluation the training has seen: exact, normalised, and by shared 8-grams of words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from warmstart.records import Problem

NGRAM = 8
"""Words; the length GPT-3 and open-r1 use to call a text contaminated."""
SHOWN = 20
"""Pairs that are kept, the worst first."""
_KINDS = ("exact", "normalised", "ngram")
_WORD = re.compile(r"\w+")

Text = tuple[str, str]
"""The id of a problem and a text of it that was trained on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A held-out problem and a training text that share words.

    Attributes:
        eval_id: The held-out problem.
        train_id: The problem whose text was trained on.
        shared: What they share.
        source: Which of the training texts.
        kind: ``exact``, ``normalised`` or ``ngram``.
        share: Of the held-out question's runs of eight words, those that occur somewhere in this source.
    """

    eval_id: str
    train_id: str
    shared: str
    source: str = "questions"
    kind: str = "exact"
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """What was found.

    Attributes:
        eval_problems: Held-out problems looked at.
        exact: Of them, those whose question was trained on to the letter.
        normalised: The same, letter case, punctuation and white space aside.
        ngram: Those that share eight words in a row with something trained on.
        pairs: A few of them, exact ones first, then by share.
        by_source: The three counts for each training source, and how many texts it has.
    """

    eval_problems: int
    exact: int
    normalised: int
    ngram: int
    pairs: tuple[Pair, ...]
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what overlap.json holds."""
        return {**asdict(self), "ngram_words": NGRAM}

    def describe(self) -> str:
        """Return one sentence."""
        if not (self.exact or self.normalised or self.ngram):
            return f"none of the {self.eval_problems} held-out problems shares its text or {NGRAM} words in a row with training"
        return (
            f"of {self.eval_problems} held-out problems {self.exact} are in the training data to the letter, "
            f"{self.normalised} but for case and punctuation, {self.ngram} share {NGRAM} words in a row with it"
        )


def sources_of(train: Sequence[Problem]) -> dict[str, list[Text]]:
    """Return what of the problems is trained on: their questions, and their rationales where there are any."""
    found = {"questions": [(problem.id, problem.question) for problem in train]}
    rationales = [(problem.id, problem.rationale) for problem in train if problem.rationale]
    return found | ({"rationales": rationales} if rationales else {})


def find_overlap(
    train: Sequence[Problem], held_out: Sequence[Problem], *, also: Mapping[str, Sequence[Text]] | None = None
) -> Overlap:
    """Return how far held-out questions occur in what is trained on; time and memory are linear in the text.

    Args:
        train: The training problems: questions and rationales.
        held_out: The problems of the evaluation.
        also: Further texts that are trained on, by the name of their source.
    """
    asked = [(problem, _words(problem.question)) for problem in held_out]
    hit: dict[str, set[int]] = {kind: set() for kind in _KINDS}
    by_source, pairs = {}, []
    for source, texts in {**sources_of(train), **(also or {})}.items():
        found = _Source(source, texts).look_up(asked)
        by_source[source] = {"texts": len(texts), **{kind: len(found[kind]) for kind in _KINDS}}
        for kind in _KINDS:
            hit[kind] |= found[kind].keys()
        for place in found["exact"].keys() | found["normalised"].keys() | found["ngram"].keys():
            kind = next(kind for kind in _KINDS if place in found[kind])
            pairs.append((_KINDS.index(kind), -found[kind][place].share, place, found[kind][place]))
    pairs.sort(key=lambda one: one[:3])
    counts = {kind: len(places) for kind, places in hit.items()}
    return Overlap(
        len(held_out), **counts, pairs=tuple(pair for *_, pair in pairs[:SHOWN]), by_source=by_source
    )


class _Source:
    """The texts of one source, ready to be looked up in."""

    def __init__(self, name: str, texts: Sequence[Text]) -> None:
        self.name = name
        words = [(identity, _words(text)) for identity, text in texts]
        self.exact = {text: identity for identity, text in texts}
        self.normal = {" ".join(tokens): identity for identity, tokens in words}
        self.grams = {gram: identity for identity, tokens in words for gram in _grams(tokens)}

    def look_up(self, asked: Sequence[tuple[Problem, list[str]]]) -> dict[str, dict[int, Pair]]:
        """Return for each kind the held-out problems by their place, each with what it shares."""
        found: dict[str, dict[int, Pair]] = {kind: {} for kind in _KINDS}
        for place, (problem, tokens) in enumerate(asked):
            grams = _grams(tokens)
            shared = [gram for gram in grams if gram in self.grams]
            share = len(shared) / len(grams) if grams else 1.0
            if (identity := self.exact.get(problem.question)) is not None:
                found["exact"][place] = self._pair(problem, identity, problem.question, "exact", 1.0)
            if (identity := self.normal.get(" ".join(tokens))) is not None:
                found["normalised"][place] = self._pair(
                    problem, identity, problem.question, "normalised", 1.0
                )
            if shared:
                found["ngram"][place] = self._pair(
                    problem, self.grams[shared[0]], " ".join(shared[0]), "ngram", share
                )
        return found

    def _pair(self, problem: Problem, identity: str, shared: str, kind: str, share: float) -> Pair:
        return Pair(problem.id, identity, shared, self.name, kind, share)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _grams(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(tokens[start : start + NGRAM]) for start in range(len(tokens) - NGRAM + 1)]
