"""What a chat template writes around the turns of a conversation, told by rendering it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]

QUESTION = "What is 40 + 2?"
REPLY = "forty and two make forty-two"
LATER = "Are you sure?"
SYSTEM = "warmstart-system-probe"
THINKING_OPENER = "<think>"

_OPEN_BLOCK = re.compile(r"<([A-Za-z][A-Za-z0-9_-]*)>\s*\Z")
_CLOSED_BLOCK = re.compile(r"\s*<([A-Za-z][A-Za-z0-9_-]*)>\s*</\1>\s*\Z")


def rendered(tokenizer: PreTrainedTokenizerBase, messages: list[Message], **options: Any) -> str:  # noqa: ANN401
    """Return the conversation as the tokenizer's chat template writes it."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def asked() -> list[Message]:
    """Return the conversation that puts `QUESTION`."""
    return [{"role": "user", "content": QUESTION}]


def answered(reply: str = REPLY) -> list[Message]:
    """Return the conversation in which ``reply`` is the last turn, as in training text."""
    return [*asked(), {"role": "assistant", "content": reply}]


def went_on(reply: str = REPLY) -> list[Message]:
    """Return the conversation in which ``reply`` is an earlier turn."""
    return [*answered(reply), {"role": "user", "content": LATER}]


@dataclass(frozen=True, slots=True)
class Turns:
    """What stands around the model's turn; every text begins right after the question.

    Attributes:
        prompt: What the prompt ends in.
        bare: The same without asking for the model's turn (``add_generation_prompt=False``).
        opening: What comes before the model's turn when it is the last; None if the turn is not there.
        earlier_opening: The same when the conversation goes on.
        closing: What comes after the model's turn when it is the last; None if the turn is not there.
    """

    prompt: str
    bare: str
    opening: str | None
    earlier_opening: str | None
    closing: str | None

    @property
    def marks(self) -> tuple[str, ...]:
        """Return how a turn of the model is opened, the shortest form first, without a block of thoughts."""
        known = (self.earlier_opening, self.opening)
        cut = [text.partition(THINKING_OPENER)[0] for text in known if text is not None]
        return tuple(sorted({text for text in cut if text.strip()}, key=len))

    @property
    def begun(self) -> str:
        """Return what the prompt already writes of the completion; empty if nothing."""
        for mark in self.marks:
            if self.prompt.startswith(mark):
                return self.prompt.removeprefix(mark)
            if self.prompt.startswith(mark.rstrip()):
                return self.prompt.removeprefix(mark.rstrip()).lstrip()
        block = _OPEN_BLOCK.search(self.prompt)
        return "" if block is None else block[0]

    @property
    def missing(self) -> str:
        """Return the mark of the model's turn that the prompt leaves out; empty if it opens the turn."""
        if self.prompt != self.bare or self._has_mark:
            return ""
        return next((m.removeprefix(self.prompt) for m in self.marks if m.startswith(self.prompt)), "")

    @property
    def has_other_mark(self) -> bool:
        """Return whether the prompt opens the model's turn with another mark than the text of a conversation."""
        is_part = any(mark.startswith(self.prompt) for mark in self.marks)
        return bool(self.marks) and not (self._has_mark or is_part)

    @property
    def _has_mark(self) -> bool:
        return any(self.prompt.startswith(mark.rstrip()) for mark in self.marks)


def turns(tokenizer: PreTrainedTokenizerBase) -> Turns:
    """Return what the template writes around the model's turn."""
    prompt = _after(rendered(tokenizer, asked(), add_generation_prompt=True), QUESTION) or ""
    bare = _after(rendered(tokenizer, asked()), QUESTION) or ""
    last = _after(rendered(tokenizer, answered()), QUESTION)
    earlier = _after(rendered(tokenizer, went_on()), QUESTION)
    return Turns(prompt, bare, _before(last, REPLY), _before(earlier, REPLY), _after(last, REPLY))


def opens_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the template writes ``<think>`` for the model at the end of the prompt."""
    return open_block(turns(tokenizer).begun) == THINKING_OPENER


def open_block(text: str) -> str | None:
    """Return the opening tag that ``text`` ends in, white space aside; None if it ends in no such tag."""
    found = _OPEN_BLOCK.search(text)
    return None if found is None else f"<{found[1]}>"


def empty_block(text: str) -> str | None:
    """Return the name of the tag if ``text`` is one empty block and white space, else None."""
    found = _CLOSED_BLOCK.fullmatch(text)
    return None if found is None else found[1]


def why_no_prompt(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return why the template cannot render a question or a conversation; None if it can."""
    try:
        rendered(tokenizer, asked(), add_generation_prompt=True)
        rendered(tokenizer, went_on())
        rendered(tokenizer, answered())
    except TemplateError as error:
        return f"the chat template cannot be rendered: {type(error).__name__}: {error}"
    return None


def why_no_system(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return why instructions cannot stand in the system turn; None if they can.

    R1-distill puts a system text in front of the first turn without any mark, and its makers advise
    against one; other templates drop or refuse it.
    """
    try:
        text = rendered(tokenizer, [{"role": "system", "content": SYSTEM}, *asked()])
    except TemplateError as error:
        return f"the template refuses a system turn: {error}"
    if SYSTEM not in text:
        return "the system turn is not in the rendered prompt"
    head = text[: text.index(SYSTEM)].replace(str(tokenizer.bos_token or ""), "")
    return None if head.strip() else "the system turn stands in the prompt without any mark"


def adds_begin(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the tokenizer by itself puts its beginning-of-text token before a text."""
    begin = tokenizer.bos_token_id
    return begin is not None and list(tokenizer("a")["input_ids"])[:1] == [begin]


def writes_begin(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the template begins the prompt with the beginning-of-text token."""
    text = rendered(tokenizer, asked(), add_generation_prompt=True)
    return tokenizer.bos_token is not None and text.startswith(str(tokenizer.bos_token))


def _after(text: str | None, part: str) -> str | None:
    if text is None or part not in text:
        return None
    return text[text.index(part) + len(part) :]


def _before(text: str | None, part: str) -> str | None:
    if text is None or part not in text:
        return None
    return text[: text.index(part)]
