"""What a completion looks like that did not end: cut off while it still had something to say, or not."""

from __future__ import annotations

import re
import zlib

from warmstart.tags import DEFAULT_TAGS, Tags

TAIL = 400
"""Characters at the end of a completion in which repetition is looked for."""
_LONGEST_PERIOD = 100
_LOOP_RATIO = 0.15
"""A tail that zlib packs below this share of its size repeats itself. Worked solutions of 400 characters
pack to 0.3 … 0.6, "Step 7: … Step 8: …" with nothing else changing to about 0.1."""
EARLY = 0.8
"""A final answer that ends before this share of the text had room after it to end the turn."""

_ANSWER = re.compile(
    r"####[ \t]*\S+|\\boxed\{[^{}\n]*\}"
    r"|^[ \t*]*(?:(?:so|thus|therefore|hence),?[ ])?(?:the[ ])?(?:final[ ])?answer(?:[ ]is|:)[ \t]*\S+",
    re.IGNORECASE | re.MULTILINE,
)
_NEXT_TURN = re.compile(
    r"<\|im_start\|>|<\|im_end\|>|<\|endoftext\|>"
    r"|^(?:question|problem|user|human|assistant|q)[ \t]*(?::|\d|$)",
    re.IGNORECASE | re.MULTILINE,
)


def is_looping(text: str) -> bool:
    """Return whether the end of a text repeats itself, to the letter or but for a counter.

    Shorter than two periods of 10 characters, a text is not called looping.
    """
    tail = text.rstrip()[-TAIL:]
    if len(tail) < 20:
        return False
    longest = min(_LONGEST_PERIOD, len(tail) // 3)
    if any(tail[period:] == tail[:-period] for period in range(1, longest + 1)):
        return True
    raw = tail.encode("utf-8", "surrogatepass")
    return len(tail) == TAIL and len(zlib.compress(raw, 9)) < _LOOP_RATIO * len(raw)


def answer_end(text: str, tags: Tags = DEFAULT_TAGS) -> int | None:
    r"""Return where the first complete final answer of a text ends, in characters; None without one.

    A closed answer block, ``#### 42``, a closed ``\boxed{}``, or a line that says "the answer is 42". None
    of them counts inside a reasoning or ``<think>`` block that is still open: there a model tries answers out.
    """
    ends = [match.end() for match in _ANSWER.finditer(text)]
    open_at = 0
    depth = ""
    for match in tags.scanner.finditer(text):
        closes, name = match[1] == "/", match[2].lower()
        if name == tags.answer.lower():
            if closes and not depth:
                ends.append(match.end())
        elif not closes and not depth:
            depth, open_at = name, match.start()
        elif closes and name == (depth or name):
            # A closing tag that nothing opened: the prompt opened it.
            # What was said inside was said while thinking.
            ends = [end for end in ends if not open_at < end <= match.start()]
            depth = ""
    if depth:
        ends = [end for end in ends if end <= open_at]
    return min(ends, default=None)


def runs_on(text: str, tags: Tags = DEFAULT_TAGS) -> bool:
    """Return whether a text that did not end its turn had said all it had to say.

    It repeats itself, begins another turn, or gave its final answer well before its end. A question
    restated at the beginning is no other turn.
    """
    if is_looping(text) or _NEXT_TURN.search(text, len(text) // 4):
        return True
    end = answer_end(text, tags)
    return end is not None and end <= EARLY * len(text)
