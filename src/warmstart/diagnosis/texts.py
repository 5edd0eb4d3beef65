"""What a completion looks like that did not end: cut off while it still had something to say, or not."""

from __future__ import annotations

import re

from warmstart.tags import DEFAULT_TAGS, Tags

_LONGEST_PERIOD = 100
"""Characters; a longer passage is not taken for a loop however often it comes."""
_LEAST = (3, 24)
"""A passage repeats itself from this many times and this many characters on."""
_LEAST_COUNTED = (10, 200)
"""The same where numbers change: steps of a sum have one form too, but hardly ten in a row."""
EARLY = 0.8
"""A final answer that ends before this share of the text had room after it to end the turn."""

_DIGITS = re.compile(r"\d+")
_ANSWER = re.compile(
    r"####[ \t]*\S+|\\boxed\{[^{}\n]*\}"
    r"|^[ \t*]*(?:(?:so|thus|therefore|hence),?[ ])?(?:the[ ])?(?:final[ ])?answer(?:[ ]is|:)[ \t]*\S+",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9_-]{0,30})>")
_NEXT_TURN = re.compile(
    r"<\|im_start\|>|<\|im_end\|>|<\|endoftext\|>"
    r"|^(?:question|problem|user|human|assistant|q)[ \t]*(?::|\d|$)",
    re.IGNORECASE | re.MULTILINE,
)


def is_looping(text: str) -> bool:
    """Return whether the end of a text repeats itself, to the letter or but for a counter.

    ``"and so on and so on and so on"`` loops; so does ``"Step 7: we add. Step 8: we add. …"`` after ten steps.
    """
    tail = text.rstrip()
    return _is_periodic(tail, *_LEAST) or _is_periodic(_DIGITS.sub("0", tail[-4000:]), *_LEAST_COUNTED)


def _is_periodic(text: str, times: int, characters: int) -> bool:
    for period in range(1, _LONGEST_PERIOD + 1):
        span = max(times * period, characters)
        if span > len(text):
            return False
        if text[-span:-period] == text[period - span :]:
            return True
    return False


def answer_end(text: str, tags: Tags = DEFAULT_TAGS) -> int | None:
    r"""Return where the first complete final answer of a text ends, in characters; None without one.

    A closed answer block, ``#### 42``, a closed ``\boxed{}``, or a line that says "the answer is 42". None
    of them counts inside a reasoning or ``<think>`` block that is still open: there a model tries answers out.
    """
    ends = [match.end() for match in _ANSWER.finditer(text)]
    thought_until, open_at, depth = 0, len(text) + 1, ""
    for match in tags.scanner.finditer(text):
        closes, name = match[1] == "/", match[2].lower()
        if name == tags.answer.lower():
            if closes and not depth:
                ends.append(match.end())
        elif not closes and not depth:
            said = min((end for end in ends if thought_until < end <= match.start()), default=None)
            if said is not None:
                return said
            depth, open_at = name, match.start()
        elif closes and name == (depth or name):
            # A closing tag that nothing opened: the prompt opened it, and all before it was thought.
            depth, open_at, thought_until = "", len(text) + 1, match.end()
            ends = [end for end in ends if end > thought_until]
    return min((end for end in ends if thought_until < end <= open_at), default=None)


def runs_on(text: str, tags: Tags = DEFAULT_TAGS) -> bool:
    """Return whether a text that did not end its turn had said all it had to say.

    It repeats itself, begins another turn, or gave its final answer well before its end. A question
    restated at the beginning is no other turn.
    """
    if is_looping(text) or _NEXT_TURN.search(text, len(text) // 4):
        return True
    end = answer_end(text, tags)
    return end is not None and end <= EARLY * len(text)


def closed_blocks(text: str) -> frozenset[str]:
    """Return the names of the tags that a text both opens and closes, in small letters."""
    found = {"": set[str](), "/": set[str]()}
    for match in _TAG.finditer(text):
        found[match[1]].add(match[2].lower())
    return frozenset(found[""] & found["/"])
