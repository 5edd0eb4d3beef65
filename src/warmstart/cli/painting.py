"""A completion in colours while it is written: tags, reasoning and answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from warmstart.tags import Tags

Part = Literal["tag", "reasoning", "answer", "text"]


class Painter:
    """Cuts a text that comes in pieces into tags and what stands in them; a tag is never cut in two."""

    def __init__(self, tags: Tags) -> None:
        opener, closer, answer_opener, answer_closer = tags.exact
        self._after: dict[str, Part] = {
            opener: "reasoning", closer: "text", answer_opener: "answer", answer_closer: "text",
        }  # fmt: skip
        self._part: Part = "text"
        self._waiting = ""

    def feed(self, piece: str) -> Iterator[tuple[Part, str]]:
        """Yield what can be shown now, each part with what it is."""
        self._waiting += piece
        while self._waiting:
            at = self._waiting.find("<")
            if at < 0:
                yield self._take(len(self._waiting))
                return
            if at:
                yield self._take(at)
            tag = next((tag for tag in self._after if self._waiting.startswith(tag)), None)
            if tag is not None:
                self._waiting = self._waiting[len(tag) :]
                self._part = self._after[tag]
                yield "tag", tag
            elif any(tag.startswith(self._waiting) for tag in self._after):
                return
            else:
                yield self._take(1)

    def rest(self) -> Iterator[tuple[Part, str]]:
        """Yield what was held back, once nothing more comes."""
        if self._waiting:
            yield self._take(len(self._waiting))

    def _take(self, count: int) -> tuple[Part, str]:
        shown, self._waiting = self._waiting[:count], self._waiting[count:]
        return self._part, shown
