"""Where a text says its final answer: the named paths of the lenient grade, in the order tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from warmstart.grading.notation import boxes
from warmstart.tags import MAX_CHARS, Parsed

_MAX_ANSWER = 1_000
_PHRASE = re.compile(r"\banswer(?:[ \t]*+(?:is|was|equals|[:=]))+", re.IGNORECASE)
_LABEL_A = re.compile(r"^[ \t]*+A:", re.MULTILINE)
_TOKEN = re.compile(
    r"(?:(?<![\w.)])[-+])?[$€£¥₹]?+(?:(?<![\d.])\.\d++|(?:[1-9]\d{0,2}+(?:,\d{3})+(?!,\d{3}|\d)|\d++)(?:\.\d++)?)"
    r"(?:/\d++)?(?:[ ]?+%)?",
    re.ASCII,
)
_WINDOW = 400
_BOX_WINDOW = 20_000


class Candidate(NamedTuple):
    """A place where a text may say its answer."""

    path: str
    text: str
    numbers: tuple[str, ...]
    """The numbers to fall back on when the text is not one value: at most one."""


def candidates(completion: str, parsed: Parsed) -> Iterator[Candidate]:
    """Yield the candidates in order: ``tags``, ``####``, ``A:``, ``phrase``, ``boxed``, ``last_number``.

    Of several answers on one path the last counts. Nothing is yielded for a text over `MAX_CHARS`.
    """
    if len(completion) > MAX_CHARS:
        return
    if parsed.answers:
        text = parsed.answers[-1][-_MAX_ANSWER:]
        yield Candidate("tags", text, _last_number(text))
    for path, start in (
        ("####", _after(completion, "####")),
        ("A:", _after_match(completion, _LABEL_A)),
        ("phrase", _after_match(completion, _PHRASE)),
    ):
        if start is not None:
            text = completion[start : start + _MAX_ANSWER].lstrip("*: \t\r\n").split("\n", 1)[0]
            first = _TOKEN.search(text)
            yield Candidate(path, text, (first[0],) if first else ())
    if found := boxes(completion[-_BOX_WINDOW:]):
        text = found[-1][2][-_MAX_ANSWER:]
        yield Candidate("boxed", text, _last_number(text))
    for number in _last_number(completion):
        yield Candidate("last_number", number, ())


def statement_start(text: str, path: str) -> int | None:
    """Return where the last statement of the answer on a path begins, or None for a path without a mark."""
    if path == "####":
        place = text.rfind("####")
        return place if place >= 0 else None
    if path == "boxed":
        found = boxes(text)
        return found[-1][0] if found else None
    pattern = {"A:": _LABEL_A, "phrase": _PHRASE}.get(path)
    matches = [] if pattern is None else list(pattern.finditer(text))
    return matches[-1].start() if matches else None


def _after(text: str, mark: str) -> int | None:
    at = text.rfind(mark)
    return None if at < 0 else at + len(mark)


def _after_match(text: str, pattern: re.Pattern[str]) -> int | None:
    end = None
    for match in pattern.finditer(text):
        end = match.end()
    return end


def _last_number(text: str) -> tuple[str, ...]:
    end = max(map(text.rfind, "0123456789")) + 1
    tokens = _TOKEN.findall(text[max(0, end - _WINDOW) : end + 2])
    return tuple(tokens[-1:])
