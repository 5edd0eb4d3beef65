"""From a problem to the tokens a model sees, and from a worked solution to the tokens it should write.

One `Prompter` serves SFT, GRPO and evaluation, so that they cannot disagree about the prompt. What a
model family's chat template does against the answer format is repaired on the tokenizer itself, so
that everything that uses the tokenizer later (TRL, a server, the exported adapter) sees the same:

- a template that opens ``<think>`` for the model (R1-distill): the opener is taken out;
- a template with a thinking switch (Qwen3): the switch is set in the template;
- a template without a place for instructions (R1-distill): they go into the user's turn;
- a tokenizer whose padding is its end of turn (R1-distill): another existing token pads;
- a template that leaves out the beginning of the text, the mark of the model's turn or its end: it writes
  them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from jinja2.exceptions import TemplateError

from warmstart.errors import ModelError
from warmstart.tags import Tags, instructions, render_target
from warmstart.templates import repairs
from warmstart.templates.turns import SYSTEM, Message, asked, rendered, why_no_system

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["system", "user"]


@dataclass(frozen=True)
class Prompter:
    """How a problem is put to one model.

    Attributes:
        tokenizer: With its chat template and padding token already repaired.
        tags: The answer format.
        text: The instructions that ask for the format.
        role: The turn the instructions stand in.
        changes: What was changed on the tokenizer, in words, for the log.
        exemplar: A question and its target, shown before every question (one-shot).
        prefill: What the template writes of every completion; see `prefilled`.
    """

    tokenizer: PreTrainedTokenizerBase
    tags: Tags
    text: str
    role: Role
    changes: tuple[str, ...] = ()
    exemplar: tuple[str, str] | None = None
    prefill: str = ""

    def messages(self, question: str) -> list[Message]:
        """Return the conversation that asks ``question``, up to the model's turn."""
        return conversation(question, text=self.text, role=self.role, exemplar=self.exemplar)

    def prefilled(self, text: str) -> Prompter:
        """Return a prompter whose template begins every completion with ``text``.

        The template does it, as R1's does with its own opener, so that training, serving and everything
        else that renders a prompt agree; what a model then writes is graded with ``text`` before it.
        The tokenizer is changed in place.
        """
        repairs.write_at_end_of_prompt(self.tokenizer, text)
        return replace(self, prefill=text)

    def render(self, question: str) -> str:
        """Return the prompt as text, exactly as the model gets it."""
        return rendered(self.tokenizer, self.messages(question), add_generation_prompt=True)

    def prompt_ids(self, question: str) -> list[int]:
        """Return the prompt's tokens, with the template's own beginning-of-text token and no second one."""
        return _encode(self.tokenizer, self.render(question))

    def target(self, rationale: str, answer: str) -> str:
        """Return the text the model should write, without the end-of-turn token."""
        return render_target(rationale, answer, self.tags)

    def target_ids(self, target: str) -> list[int]:
        """Return the tokens of ``target``, what the prefill already wrote left out; the last ends the turn."""
        return [*_encode(self.tokenizer, target.removeprefix(self.prefill)), self.end_id]

    @property
    def end_id(self) -> int:
        """The token that ends the model's turn."""
        return int(self.tokenizer.eos_token_id)


def conversation(
    question: str, *, text: str, role: Role, exemplar: tuple[str, str] | None = None
) -> list[Message]:
    """Return the turns that ask ``question``: instructions, a worked example if there is one, the question."""
    asked = [question] if exemplar is None else [exemplar[0], question]
    if role == "user":
        asked[0] = f"{text}\n\n{asked[0]}"
    turns: list[Message] = [{"role": "user", "content": turn} for turn in asked]
    if exemplar is not None:
        turns.insert(1, {"role": "assistant", "content": exemplar[1]})
    return turns if role == "user" else [{"role": "system", "content": text}, *turns]


def make_prompter(
    tokenizer: PreTrainedTokenizerBase,
    *,
    tags: Tags,
    text: str | None = None,
    role: Literal["auto", "system", "user"] = "auto",
    enable_thinking: bool | None = None,
    end_token: str | None = None,
) -> Prompter:
    """Return the prompter for ``tokenizer``, which is repaired in place.

    Args:
        tokenizer: As loaded.
        tags: The answer format.
        text: The instructions; by default `tags.instructions`.
        role: Where they stand; ``auto`` takes the system turn where the template has one.
        enable_thinking: Qwen3's switch, set in the template for good; None leaves it.
        end_token: The end-of-turn token, if it is not the tokenizer's (an instruct token that a base
            model never learnt, say).

    Raises:
        ModelError: If there is no chat template and none is known, no usable padding or end token, if the
            template writes of the completion what cannot be taken out, or if ``role`` is ``system`` and the
            template has no such turn.
    """
    changes = [
        *repairs.repair_template(tokenizer),
        *repairs.repair_end(tokenizer, end_token),
        *repairs.repair_padding(tokenizer),
        *repairs.repair_decoding(tokenizer),
        *repairs.repair_begin(tokenizer),
        *repairs.set_thinking(tokenizer, enable_thinking),
        *repairs.take_out_begun(tokenizer, tags, enable_thinking),
        *repairs.open_turn(tokenizer),
        *repairs.close_turn(tokenizer),
    ]
    # Left padding, because generation goes on from the right end of every row.
    tokenizer.padding_side = "left"
    if role == "system":
        _check_system(tokenizer)
    chosen: Role = role if role != "auto" else "user" if why_no_system(tokenizer) else "system"
    if chosen == "user":
        changes.append("the instructions stand in the user's turn")
    return Prompter(tokenizer, tags, instructions(tags) if text is None else text, chosen, tuple(changes))


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # Rendered text already holds the beginning-of-text token; the tokenizer would add it again.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _check_system(tokenizer: PreTrainedTokenizerBase) -> None:
    try:
        text = rendered(tokenizer, [{"role": "system", "content": SYSTEM}, *asked()])
    except TemplateError:
        text = ""
    if SYSTEM not in text:
        raise ModelError(
            f"prompt.role is system, and {why_no_system(tokenizer)}",
            "set prompt.role=user, or leave it out",
        )
