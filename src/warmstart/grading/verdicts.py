r"""Is the answer right? A verdict and its reason, never a number.

``grade`` is strict about where the answer is and exact about its value; it is what training pays.
``grade_lenient`` finds the right answer anywhere in the text; it is what tells a model that cannot
solve the problem from one that does not know the format. ``judge`` compares a bare text with a gold.

A gold that is a number is compared with exact rationals in this process. Any other gold is
compared as text first and then, if it is mathematics, by Math-Verify (see `warmstart.grading.symbolic`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from warmstart.grading.extraction import Candidate, candidates
from warmstart.grading.notation import boxes, canonical, plain
from warmstart.grading.numbers import IMPOSSIBLE, NotANumber, Number, equal, read_number
from warmstart.grading.symbolic import DEFAULT_OPTIONS, MatchOptions, Outcome, default_pool
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, Parsed, Tags, has_word, parse

MAX_GOLD = 1_000
"""Longest gold answer, in characters; a worked solution before ``####`` does not count."""

MAX_ANSWER = 2_000
"""Longest answer that is compared with a gold that is no number, in characters."""

MAX_ANSWERS = 8
"""Most different answers that are compared; more of them are wrong."""

_NOT_FINITE = frozenset(sign + word for sign in ("", "+", "-") for word in ("nan", "inf", "infinity", "∞"))
_MATH = re.compile(r"[\\^{}=<>+*/√π∞≤≥±|()\[\]]|\d\s*+[,;]|\b(?:or|and)\b")
_WORDS_OR_CLOCK = re.compile(r"[^\W\d_]{2}|\d:\d")
_PROSE_CHARS = 80


class Judgement(NamedTuple):
    """What is said of one answer."""

    verdict: Verdict
    given: str | None
    """The answer as the model wrote it, stripped."""
    reason: str
    """Why, in plain words."""
    path: str
    """How it was compared: ``number``, ``text``, ``symbolic`` or ``none``."""


class Grade(NamedTuple):
    """What is said of one completion."""

    verdict: Verdict
    given: str | None
    reason: str
    path: str
    parsed: Parsed


class LenientGrade(NamedTuple):
    """What is said of the answer that a completion gives anywhere."""

    verdict: Verdict
    given: str | None
    path: str
    """Where it was found: see `warmstart.grading.extraction.candidates`; ``none`` when nowhere."""


class Gold(NamedTuple):
    """A gold answer, read once."""

    text: str
    number: Number | None
    is_math: bool
    problem: str | None
    """Why nothing can be graded against it."""


def grade(completion: str, gold: str, *, tags: Tags = DEFAULT_TAGS) -> Grade:
    """Return whether the completion answers correctly, inside its answer tags.

    No complete answer, or a blank one: NO_ANSWER. Several answers must all be right. A gold that
    cannot be graded, and a grader that failed or ran out of time: UNDECIDED. Any text gets a verdict.

    Raises:
        GraderError: If the gold is a formula and Math-Verify cannot be started.
    """
    return grade_parsed(parse(completion, tags), gold)


def grade_parsed(parsed: Parsed, gold: str) -> Grade:
    """Return the same as `grade`, for a completion that is parsed already."""
    known = read_gold(gold)
    if known.problem is not None:
        return Grade(Verdict.UNDECIDED, None, f"the gold answer is {known.problem}", "none", parsed)
    if not parsed.answers:
        return Grade(Verdict.NO_ANSWER, None, _why_no_answer(parsed), "none", parsed)
    if len(parsed.answers) == 1:
        return Grade(*_match(known, parsed.answers[0]), parsed)
    return Grade(*_match_all(known, list(dict.fromkeys(parsed.answers))), parsed)


def grade_lenient(completion: str, gold: str, *, tags: Tags = DEFAULT_TAGS) -> LenientGrade:
    """Return whether the completion gives the right answer anywhere.

    The first path that yields a value decides; see `warmstart.grading.extraction.candidates` for the paths.
    """
    known = read_gold(gold)
    if known.problem is not None:
        return LenientGrade(Verdict.UNDECIDED, None, "none")
    for candidate in candidates(completion, parse(completion, tags)):
        found = _match_leniently(known, candidate)
        if found is not None:
            return LenientGrade(found.verdict, found.given, candidate.path)
    return LenientGrade(Verdict.NO_ANSWER, None, "none")


def judge(gold: str, prediction: str, options: MatchOptions = DEFAULT_OPTIONS) -> Judgement:
    """Return whether a bare prediction, a value or a text that ends in one, equals the gold.

    Two numbers are compared exactly. Everything else is for Math-Verify, which looks for the answer in
    the texts with the options given.
    """
    known, given = read_gold(gold), prediction.strip()
    if not given:
        return Judgement(Verdict.NO_ANSWER, None, "the prediction is blank", "none")
    if known.number is not None and isinstance(read_number(given), Number):
        return _match(known, given)
    if known.problem is None and len(given) <= MAX_ANSWER and canonical(given) == canonical(known.text):
        return Judgement(Verdict.CORRECT, given, "the same text", "text")
    return _compare(_boxed_if_bare(gold, options), _boxed_if_bare(given, options), given, options)


def check_gold(gold: str) -> str | None:
    """Return why nothing can be graded against the gold, or None when it is fine.

    A worked solution that ends in ``#### N`` is fine. Meant for loading data: a row with a reason is
    dropped or reported, never trained on. Whether Math-Verify can read a formula is not tried here.
    """
    return read_gold(gold).problem


@lru_cache(maxsize=16_384)
def read_gold(gold: str) -> Gold:
    """Return the gold answer as it is compared; of a worked solution what follows its last ``####``."""
    text = gold.rpartition("####")[2].strip()
    if "####" in gold:
        text = text.split("\n", 1)[0].strip()
    number = read_number(text)
    if isinstance(number, Number):
        return Gold(text, number, False, None)
    is_math = _MATH.search(text) is not None or _WORDS_OR_CLOCK.search(text) is None
    return Gold(text, None, is_math, _gold_problem(text, number, is_math))


def _gold_problem(text: str, reading: NotANumber, is_math: bool) -> str | None:
    if not text:
        return "empty"
    if len(text) > MAX_GOLD:
        return f"longer than {MAX_GOLD:,} characters"
    if not has_word(text):
        return "without a letter or digit"
    if reading in IMPOSSIBLE:
        return f"not a value: {reading.reason}"
    if plain(text).casefold().strip(" $") in _NOT_FINITE:
        return "not finite"
    if not is_math and len(text) > _PROSE_CHARS:
        return "a long text without a final '#### N' line"
    return None


def _match(gold: Gold, given: str) -> Judgement:
    """Return what is said of one answer to a gold that can be graded."""
    if gold.number is not None:
        reading = read_number(given)
        if isinstance(reading, NotANumber):
            return Judgement(Verdict.WRONG, given, reading.reason, "number")
        if equal(gold.number, reading):
            return Judgement(Verdict.CORRECT, given, "the same value", "number")
        return Judgement(Verdict.WRONG, given, "another value", "number")
    if len(given) > MAX_ANSWER:
        return Judgement(Verdict.WRONG, given, f"longer than {MAX_ANSWER:,} characters", "text")
    if canonical(given) == canonical(gold.text):
        return Judgement(Verdict.CORRECT, given, "the same text", "text")
    if not gold.is_math:
        return Judgement(Verdict.WRONG, given, "another text", "text")
    return _compare(_boxed(gold.text), _boxed(given), given, DEFAULT_OPTIONS)


def _match_all(gold: Gold, answers: list[str]) -> Judgement:
    """Return what is said of several answers: CORRECT when all are."""
    if len(answers) > MAX_ANSWERS:
        return Judgement(Verdict.WRONG, answers[-1], f"{len(answers)} different answers", "none")
    judgements = [_match(gold, answer) for answer in answers]
    for verdict in (Verdict.WRONG, Verdict.UNDECIDED):
        for judgement in judgements:
            if judgement.verdict is verdict:
                return judgement._replace(reason=f"several answers: {judgement.reason}")
    return judgements[-1]


def _match_leniently(gold: Gold, candidate: Candidate) -> Judgement | None:
    """Return what is said of a candidate, or None when it holds no value."""
    if gold.number is None:
        return None if candidate.path == "last_number" else _match(gold, candidate.text.strip())
    for text in (candidate.text, *candidate.numbers):
        if isinstance(read_number(text), Number):
            return _match(gold, text.strip())
    return None


def _why_no_answer(parsed: Parsed) -> str:
    if parsed.why_not_strict and parsed.why_not_strict[0].code == "too_long":
        return "the text is too long"
    if parsed.answer_blocks:
        return "the answer is blank"
    return "there is no complete answer outside the reasoning"


def _compare(gold: str, given: str, answer: str, options: MatchOptions) -> Judgement:
    outcome = default_pool().compare(gold, given, options)
    verdict, reason = _OUTCOMES[outcome]
    return Judgement(verdict, answer, reason, "symbolic")


_OUTCOMES = {
    Outcome.EQUAL: (Verdict.CORRECT, "the same value"),
    Outcome.DIFFERENT: (Verdict.WRONG, "another value"),
    Outcome.UNREADABLE: (Verdict.WRONG, "not one formula"),
    Outcome.GOLD_UNREADABLE: (Verdict.UNDECIDED, "Math-Verify cannot read the gold answer"),
    Outcome.TIMEOUT: (Verdict.UNDECIDED, "Math-Verify ran out of time"),
    Outcome.CRASHED: (Verdict.UNDECIDED, "the Math-Verify process died"),
    Outcome.FAILED: (Verdict.UNDECIDED, "Math-Verify failed"),
}


def _boxed(text: str) -> str:
    r"""Return the formula as ``\boxed{…}``, so that Math-Verify takes the whole of it and nothing else."""
    found = boxes(text)
    inner = found[0][2] if len(found) == 1 else text
    return rf"\boxed{{{_upright(inner).strip().strip('$')}}}"


def _boxed_if_bare(text: str, options: MatchOptions) -> str:
    is_marked = "$" in text or any(mark in text for mark in (r"\(", r"\[", "box"))
    return _upright(text) if is_marked or not options.latex else _boxed(text)


def _upright(text: str) -> str:
    """Return the text with an upright e as a plain one; of ``1 - 1/e`` Math-Verify else reads the 1 only."""
    return text.replace(r"\mathrm{e}", "e")
