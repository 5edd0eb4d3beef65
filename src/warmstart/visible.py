"""What models wrote, made fit to be looked at: everything visible, nothing interpreted, nothing endless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Segment(NamedTuple):
    """A piece of a completion: a tag (``reasoning`` or ``answer``) or plain text (``""``)."""

    kind: str
    text: str


def visible(text: str) -> str:
    """Return the text with every character that cannot be seen spelt out.

    NUL becomes ``␀``, a right-to-left override ``[U+202E]``; line breaks and tabs stay.
    """
    return text.translate({ord(char): _spelt(char) for char in set(text) if _is_invisible(char)})


def shortened(text: str, head: int, tail: int = 0) -> str:
    """Return the first ``head`` and last ``tail`` characters, and how many are left out between."""
    if len(text) <= head + tail:
        return text
    return f"{text[:head]}\n[… {len(text) - head - tail:,} characters left out …]\n{text[len(text) - tail :]}"


def _is_invisible(char: str) -> bool:
    return char not in "\n\t" and unicodedata.category(char) in _INVISIBLE


def _spelt(char: str) -> str:
    code = ord(char)
    return chr(0x2400 + code) if code < 0x20 else f"[U+{code:04X}]"


def segments(text: str, tags: Mapping[str, str]) -> list[Segment]:
    """Return the text cut at its exact tags.

    Args:
        text: As `visible` returns it.
        tags: The names of the blocks, by what they are: ``{"reasoning": "think", "answer": "answer"}``.
    """
    kinds = {f"<{slash}{name}>": kind for kind, name in tags.items() for slash in ("", "/")}
    cut = re.split("(" + "|".join(map(re.escape, kinds)) + ")", text)
    return [Segment(kinds.get(piece, ""), piece) for piece in cut if piece]


def tag_names(resolved: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the blocks of a run, the package's own where its recipe names none."""
    found = resolved.get("prompt", {})
    return {kind: str(found.get(f"{kind}_tag", kind)) for kind in ("reasoning", "answer")}
