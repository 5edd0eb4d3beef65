"""What must hold for any text a model can write: said once, for atheris, for hypothesis and for the corpus."""

from __future__ import annotations

import json
import re
from unittest.mock import patch

from warmstart import tags
from warmstart.grading import verdicts as grading
from warmstart.grading.numbers import Number, equal, read_number
from warmstart.grading.symbolic import Outcome
from warmstart.grading.verdicts import check_gold, grade, grade_lenient, grade_parsed, read_gold
from warmstart.records import Verdict
from warmstart.rewards.functions import TERMS, score
from warmstart.tags import DEFAULT_TAGS, is_blank, parse
from warmstart.visible import segments, visible

STRICT = re.compile(r"<reasoning>\n(.*)\n</reasoning>\n<answer>\n(.*)\n</answer>", re.DOTALL)
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def text_of(data: bytes) -> str:
    """Return the text that the bytes are; any bytes are one, and any text has its bytes."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def of_parse(data: bytes) -> None:
    """Hold the parser, the rewards of the format and what is shown to their promises."""
    text = text_of(data)
    parsed = parse(text)
    assert parsed == tags._parse_any(text, DEFAULT_TAGS), "the short cut reads another format"
    assert parsed.strict == (not parsed.why_not_strict) == _is_strict(text)
    assert all(0 <= reason.at <= len(text) and reason.message for reason in parsed.why_not_strict)
    assert parsed.tag_counts == tuple(map(text.count, DEFAULT_TAGS.exact))
    assert 0 <= parsed.tags_in_order <= 4
    assert 0 <= parsed.outside <= len(text)
    assert len(parsed.answers) <= parsed.answer_blocks
    for answer in parsed.answers:
        assert answer == answer.strip()
        assert answer in text
        assert not is_blank(answer)
    for term in TERMS:
        paid = term(parsed, "12")
        assert paid is None or term.low <= paid <= term.high, term.name
    shown = visible(text)
    assert not STEERS.search(shown)
    assert (
        "".join(piece.text for piece in segments(shown, {"reasoning": "reasoning", "answer": "answer"}))
        == shown
    )


def _is_strict(text: str) -> bool:
    found = STRICT.fullmatch(text.strip())
    once = all(text.count(tag) == 1 for tag in DEFAULT_TAGS.exact)
    return bool(found) and once and not any(map(is_blank, found.groups())) and "\r" not in text.strip()


class _Different:
    """In place of the processes of Math-Verify, which are killed and not fuzzed."""

    def compare(self, *asked: object) -> Outcome:
        return Outcome.DIFFERENT


def of_grade(data: bytes) -> None:
    """Hold the grader to its promises: a gold, a NUL, a completion."""
    first, _, second = data.partition(b"\0")
    gold, text = text_of(first), text_of(second)
    with patch.object(grading, "default_pool", _Different):
        graded = grade(text, gold)
        assert isinstance(graded.verdict, Verdict)
        assert graded == grade_parsed(parse(text), gold)
        assert graded.reason
        assert (graded.given is None) == (graded.verdict is Verdict.NO_ANSWER or check_gold(gold) is not None)
        lenient = grade_lenient(text, gold)
        assert isinstance(lenient.verdict, Verdict)
        row = json.loads(json.dumps(score(text, gold).as_row()))
        assert row["verdict"] == graded.verdict
        known = read_gold(gold)
        if known.problem is not None:
            assert graded.verdict is lenient.verdict is Verdict.UNDECIDED
        elif parse(f"<answer>{known.text}</answer>").answers == (known.text,):
            assert grade(f"<answer>{known.text}</answer>", gold).verdict is Verdict.CORRECT
    number = read_number(text)
    if isinstance(number, Number):
        assert equal(number, number)


CLAIMS = {"parse": of_parse, "grade": of_grade}
