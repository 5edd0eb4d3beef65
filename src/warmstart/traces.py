"""A model's own solutions as SFT targets: the worked part of a text whose answer is right.

This is what the self warm start trains on (rejection sampling as in STaR, arXiv:2203.14465, for the
format alone): no teacher, no gold rationales, and little drift, because the model wrote it itself.
"""

from __future__ import annotations

import re

from warmstart.grading.extraction import statement_start
from warmstart.grading.verdicts import grade_lenient
from warmstart.records import Verdict
from warmstart.tags import DEFAULT_TAGS, Tags, has_word, parse

_MARKUP_LINE = re.compile(r"^[ \t]*</?[A-Za-z_][\w-]*>[ \t]*$\n?", re.MULTILINE)
"""A line that holds one tag of any name: the dress of a solution, not its reasoning."""
_SENTENCE_END = (". ", "! ", "? ", "\n")


def worked_part(text: str, gold: str, tags: Tags = DEFAULT_TAGS) -> str | None:
    """Return the reasoning of a right solution, without its closing statement of the answer.

    None when the lenient grader does not find the gold answer in the text, or when nothing that could
    teach a step is left: no letter or digit, or a stray tag of the format.

    Args:
        text: What the model wrote, in whatever form.
        gold: The gold answer.
        tags: The format the reasoning is going to stand in.
    """
    judged = grade_lenient(text, gold, tags=tags)
    if judged.verdict is not Verdict.CORRECT:
        return None
    parsed = parse(text, tags)
    if parsed.answer_blocks:
        head = text[: text.find(tags.exact[2])] if tags.exact[2] in text else text
    else:
        head = _before_the_statement(text, judged.path)
    for mark in tags.exact:
        head = head.replace(mark, "\n")
    reasoning = _MARKUP_LINE.sub("", head).strip()
    return reasoning if has_word(reasoning) and not parse(reasoning, tags).answer_blocks else None


def _before_the_statement(text: str, path: str) -> str:
    """Return the text up to the sentence or line in which the answer is stated, or all of it."""
    place = statement_start(text, path)
    if place is None:
        return text
    starts = [text.rfind(end, 0, place) + len(end) for end in _SENTENCE_END if end in text[:place]]
    head = text[: max(starts, default=0)]
    # A text that is nothing but its answer keeps it: there is no other step to learn from.
    return head if has_word(head) else text
