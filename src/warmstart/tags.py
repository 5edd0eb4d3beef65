"""The two-block answer format: its tags, the parser that reads it, the text that asks for it.

The strict format is the whole text, outer white space aside::

    <reasoning>
    step by step
    </reasoning>
    <answer>
    42
    </answer>

Two readings live side by side and never mix. The *strict* one counts exact tags and exact line
breaks: it feeds the format rewards. The *tolerant* one forgives case, attributes and inner spaces
of a tag: it only decides which answers count for correctness. Both are linear in the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from warmstart.errors import DataError

MAX_CHARS = 200_000
"""Longest completion that is parsed, in characters. A longer one has the reason ``too_long``."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")

# White space, controls, format characters, surrogates, private use, and what is printed as nothing:
# fillers, the Braille blank, variation selectors, tag characters.
_BLANK = re.compile(
    r"[\s\x00-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    r"\U000e0000-\U0010ffff]*+"
)
_LETTER_OR_DIGIT = re.compile(r"[^\W_\u115f\u1160\u3164\uffa0]")


@dataclass(frozen=True)
class Tags:
    """The names of the two blocks.

    Raises:
        ValueError: If a name is not a plain word, or if the names cannot be told apart.
    """

    reasoning: str = "reasoning"
    answer: str = "answer"

    def __post_init__(self) -> None:
        for name in (self.reasoning, self.answer):
            if not _NAME.fullmatch(name):
                raise ValueError(f"tag name {name!r} is not a word of ASCII letters, digits, '_' and '-'")
        if self.answer.lower() in (self.reasoning.lower(), "think"):
            raise ValueError(f"answer tag {self.answer!r} cannot be told from a reasoning tag")

    @cached_property
    def exact(self) -> tuple[str, str, str, str]:
        """Return the four tags in the order in which the strict format has them."""
        return (f"<{self.reasoning}>", f"</{self.reasoning}>", f"<{self.answer}>", f"</{self.answer}>")

    @cached_property
    def frame(self) -> tuple[str, str, str]:
        """Return what stands before, between and after the two bodies in the strict format."""
        opener, closer, answer_opener, answer_closer = self.exact
        return f"{opener}\n", f"\n{closer}\n{answer_opener}\n", f"\n{answer_closer}"

    def wrap(self, reasoning: str, answer: str) -> str:
        """Return the two bodies in the strict format, as they are."""
        before, between, after = self.frame
        return f"{before}{reasoning}{between}{answer}{after}"

    @cached_property
    def scanner(self) -> re.Pattern[str]:
        """Return the pattern of a tag in any case, with attributes and inner spaces, but not ``<answer/>``.

        Every repeat of a character is possessive and ends at the next bracket, so that a scan is linear.
        """
        names = "|".join(dict.fromkeys((self.reasoning, self.answer, "think")))
        space = r"[ \t\r\n]"
        return re.compile(
            rf"<{space}*+(/?){space}*+({names})(?:{space}[^<>]*+)?(?<!/)>", re.IGNORECASE | re.ASCII
        )


DEFAULT_TAGS = Tags()


class Reason(NamedTuple):
    """One way in which a text misses the strict format."""

    code: str
    at: int
    """Offset into the completion, in characters."""
    message: str


class Parsed(NamedTuple):
    """What a completion holds, as far as format and grading care."""

    strict: bool
    """The text is exactly the strict format, and neither body is blank."""
    soft: bool
    """Each tag exactly once and in order, and a letter or digit in each body; white space is free."""
    tag_counts: tuple[int, int, int, int]
    """How often each exact tag occurs, in the order of `Tags.exact`."""
    tags_in_order: int
    """How many of the four occur exactly once, each after those counted before it."""
    outside: int
    """Characters outside the first reasoning block and the first answer block, white space left out."""
    answers: tuple[str, ...]
    """The non-blank answers that count, stripped: complete and not inside reasoning or ``<think>``."""
    answer_blocks: int
    """How many answers there are, blank ones included."""
    why_not_strict: tuple[Reason, ...]
    """Empty if and only if `strict`."""


def parse(completion: str, tags: Tags = DEFAULT_TAGS) -> Parsed:
    """Return what the completion holds. Never raises, takes time linear in its length.

    An answer inside an unclosed reasoning block does not count, nor does an unclosed answer. A
    closing reasoning tag that nothing opened means that the prompt opened it: all before it was
    reasoning. An answer tag inside an open answer starts another answer.
    """
    if len(completion) > MAX_CHARS:
        reason = Reason("too_long", MAX_CHARS, f"the text is longer than {MAX_CHARS:,} characters")
        return Parsed(False, False, (0, 0, 0, 0), 0, 0, (), 0, (reason,))
    return _parse_strict(completion, tags) or _parse_any(completion, tags)


def _parse_strict(completion: str, tags: Tags) -> Parsed | None:
    """Return the reading of a text in the strict format that holds no other tag, else None.

    The common case, and a short cut only: `_parse_any` says the same of such a text.
    """
    text = completion.strip()
    before, between, after = tags.frame
    middle = text.find(between, len(before))
    start = middle + len(between)
    if middle < 0 or not (text.startswith(before) and text.endswith(after, start)):
        return None
    reasoning, answer = text[len(before) : middle], text[start : -len(after)]
    soft = has_word(reasoning) and has_word(answer)
    if not soft and (is_blank(reasoning) or is_blank(answer)):
        return None
    if "\r" in text or len(tags.scanner.findall(text)) != 4:
        return None
    return Parsed(True, soft, (1, 1, 1, 1), 4, 0, (answer.strip(),), 1, ())


def _parse_any(completion: str, tags: Tags) -> Parsed:
    counts = tuple(completion.count(tag) for tag in tags.exact)
    in_order = _tags_in_order(completion, tags)
    finder = _AnswerFinder(completion, tags)
    soft = in_order == 4 and all(map(has_word, _bodies(completion, tags)))
    why = _why_not_strict(completion, tags, in_order)
    return Parsed(
        strict=not why,
        soft=soft,
        tag_counts=(counts[0], counts[1], counts[2], counts[3]),
        tags_in_order=in_order,
        outside=_count_outside(completion, tags),
        answers=tuple(answer.strip() for answer in finder.answers if not is_blank(answer)),
        answer_blocks=len(finder.answers),
        why_not_strict=why,
    )


def render_target(reasoning: str, answer: str, tags: Tags = DEFAULT_TAGS) -> str:
    r"""Return the strict text that holds the reasoning and the answer, each stripped.

    ``\r\n`` becomes ``\n``. The result is strict and soft, so it earns every format reward in full.

    Raises:
        DataError: If a body is blank, has no letter or digit, or contains one of the tags.
    """
    bodies = [body.replace("\r\n", "\n").strip() for body in (reasoning, answer)]
    text = tags.wrap(*bodies)
    parsed = parse(text, tags)
    if parsed.strict and parsed.soft and parsed.answers == (bodies[1],):
        return text
    if parsed.why_not_strict:
        why = parsed.why_not_strict[0].message
    else:
        why = "a body has no letter or digit" if not parsed.soft else "a body contains a tag"
    raise DataError(
        f"cannot write a target in the strict format: {why}",
        "Drop the row, or clean its rationale and answer.",
    )


def instructions(tags: Tags = DEFAULT_TAGS) -> str:
    """Return the system prompt that asks for the format."""
    example = tags.wrap("step-by-step explanation", "final numeric answer")
    return f"Respond in the following format:\n{example}"


def is_blank(text: str) -> bool:
    """Return whether the text has nothing but white space and invisible characters."""
    return _BLANK.fullmatch(text) is not None


def has_word(text: str) -> bool:
    """Return whether the text has a letter or a digit that can be seen."""
    return _LETTER_OR_DIGIT.search(text) is not None


def _tags_in_order(text: str, tags: Tags) -> int:
    found = end = 0
    for tag in tags.exact:
        at = text.find(tag)
        if at >= end and text.find(tag, at + 1) < 0:
            found, end = found + 1, at + len(tag)
    return found


def _bodies(text: str, tags: Tags) -> tuple[str, str]:
    """Return the two bodies of a text that has each tag once and in order."""
    opener, closer, answer_opener, answer_closer = tags.exact
    return (
        text[text.find(opener) + len(opener) : text.find(closer)],
        text[text.find(answer_opener) + len(answer_opener) : text.find(answer_closer)],
    )


def _count_outside(text: str, tags: Tags) -> int:
    """Return how many characters are in neither block; an unclosed block runs to the end of the text."""
    outside, end = 0, 0
    for start, stop in sorted(_block(text, *tags.exact[i : i + 2]) for i in (0, 2)):
        outside += _count_visible(text[end:start])
        end = max(end, stop)
    return outside + _count_visible(text[end:])


def _block(text: str, opener: str, closer: str) -> tuple[int, int]:
    start = text.find(opener)
    if start < 0:
        return len(text), len(text)
    stop = text.find(closer, start)
    return start, len(text) if stop < 0 else stop + len(closer)


def _count_visible(text: str) -> int:
    return len("".join(text.split()))


class _AnswerFinder:
    """Walks over the tolerant tags once and keeps the answers that count."""

    def __init__(self, text: str, tags: Tags) -> None:
        self.answers: list[str] = []
        self._text = text
        self._starts: list[tuple[int, int]] = []  # the open answer: where each of its opening tags is
        self._inside: list[str] = []  # the open reasoning blocks, outermost first
        self._seen: set[str] = set()  # the kinds of reasoning block opened so far
        answer = tags.answer.lower()
        for mark in tags.scanner.finditer(text):
            name = mark[2].lower()
            if name == answer:
                self._answer_tag(mark)
            elif mark[1]:
                self._close_reasoning(name)
            else:
                self._open_reasoning(name)

    def _answer_tag(self, mark: re.Match[str]) -> None:
        if self._inside:
            return
        if not mark[1]:
            self._starts.append(mark.span())
        elif self._starts:
            ends = [start for start, _ in self._starts[1:]] + [mark.start()]
            pieces = zip(self._starts, ends, strict=True)
            self.answers += [self._text[start:end] for (_, start), end in pieces]
            self._starts.clear()

    def _open_reasoning(self, name: str) -> None:
        self._seen.add(name)
        if not self._starts and name not in self._inside:
            self._inside.append(name)

    def _close_reasoning(self, name: str) -> None:
        if name in self._inside:
            del self._inside[self._inside.index(name) :]
        elif name not in self._seen:
            self._seen.add(name)
            self._starts.clear()
            self.answers.clear()


def _why_not_strict(text: str, tags: Tags, in_order: int) -> tuple[Reason, ...]:
    reasons = [reason for tag in tags.exact for reason in _tag_reasons(text, tag)]
    if in_order == 4:
        reasons += _joint_reasons(text, tags)
    elif not any(reason.code in ("tag_missing", "tag_repeated") for reason in reasons):
        reasons.append(_order_reason(text, tags))
    if (at := text.find("\r", len(text) - len(text.lstrip()), len(text.rstrip()))) >= 0:
        reasons.append(Reason("carriage_return", at, "lines must end in LF alone"))
    return tuple(sorted(reasons, key=lambda reason: reason.at))


def _tag_reasons(text: str, tag: str) -> list[Reason]:
    """Return what is wrong with one tag taken alone: its number and the line break at its inner side."""
    at = text.find(tag)
    if at < 0:
        return [Reason("tag_missing", len(text), f"{tag} is missing")]
    again = text.find(tag, at + len(tag))
    if again >= 0:
        return [Reason("tag_repeated", again, f"{tag} occurs more than once")]
    end = at + len(tag)
    if tag[1] == "/" and text[at - 1 : at] != "\n":
        return [Reason("newline_missing", at, f"no line break right before {tag}")]
    if tag[1] != "/" and text[end : end + 1] != "\n":
        return [Reason("newline_missing", end, f"no line break right after {tag}")]
    return []


def _order_reason(text: str, tags: Tags) -> Reason:
    places = [text.find(tag) for tag in tags.exact]
    late = next(i for i in range(1, 4) if places[i] < places[i - 1])
    return Reason("tag_order", places[late], f"{tags.exact[late]} comes before {tags.exact[late - 1]}")


def _joint_reasons(text: str, tags: Tags) -> list[Reason]:
    """Return what is wrong around and inside the blocks of a text that has each tag once and in order."""
    opener, closer, answer_opener, answer_closer = tags.exact
    first, second = text.find(opener), text.find(answer_opener)
    gap = text.find(closer) + len(closer)
    tail = text.find(answer_closer) + len(answer_closer)
    reasons = []
    if text[:first].strip():
        at = len(text) - len(text.lstrip())
        reasons.append(Reason("text_before", at, f"there is text before {opener}"))
    if text[gap:second] != "\n":
        message = f"between {closer} and {answer_opener} there must be one line break and nothing else"
        reasons.append(Reason("between_blocks", gap, message))
    if text[tail:].strip():
        at = tail + len(text[tail:]) - len(text[tail:].lstrip())
        reasons.append(Reason("text_after", at, f"there is text after {answer_closer}"))
    for at, tag, body in zip((first, second), (opener, answer_opener), _bodies(text, tags), strict=True):
        if is_blank(body):
            reasons.append(Reason("blank_body", at + len(tag), f"there is nothing in the {tag} block"))
    return reasons
