"""From a problem to the tokens a model sees, and from a worked solution to the tokens it should write.

One `Prompter` serves SFT, GRPO and evaluation, so that they cannot disagree about the prompt. What a
model family's chat template does against the answer format is repaired on the tokenizer itself, so
that everything that uses the tokenizer later (TRL, a server, the exported adapter) sees the same:

- a template that opens ``<think>`` for the model (R1-distill): the opener is taken out;
- a template with a thinking switch (Qwen3): the switch is set in the template;
- a template without a place for instructions (R1-distill): they go into the user's turn;
- a tokenizer whose padding is its end of turn (R1-distill): another existing token pads, because a
  padding token is masked from the loss and the model would never learn to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from warmstart.errors import ModelError
from warmstart.tags import Tags, instructions, render_target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["system", "user"]
Message = dict[str, str]

THINKING_OPENER = "<think>"
_PROBE = "What is 1 + 1?"
_PAD_CANDIDATES = ("<|endoftext|>", "<|fim_pad|>", "<|vision_pad|>", "<pad>", "[PAD]")


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
        asked = [question] if self.exemplar is None else [self.exemplar[0], question]
        if self.role == "user":
            asked[0] = f"{self.text}\n\n{asked[0]}"
        turns: list[Message] = [{"role": "user", "content": text} for text in asked]
        if self.exemplar is not None:
            turns.insert(1, {"role": "assistant", "content": self.exemplar[1]})
        return turns if self.role == "user" else [{"role": "system", "content": self.text}, *turns]

    def prefilled(self, text: str) -> Prompter:
        """Return a prompter whose template begins every completion with ``text``.

        The template does it, as R1's does with its own opener, so that training, serving and everything
        else that renders a prompt agree; what a model then writes is graded with ``text`` before it.
        The tokenizer is changed in place.
        """
        quoted = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        self.tokenizer.chat_template = f"{self.tokenizer.chat_template}{{%- if add_generation_prompt %}}{{{{- '{quoted}' }}}}{{%- endif %}}"
        return replace(self, prefill=text)

    def render(self, question: str) -> str:
        """Return the prompt as text, exactly as the model gets it."""
        return str(
            self.tokenizer.apply_chat_template(
                self.messages(question), tokenize=False, add_generation_prompt=True
            )
        )

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
        ModelError: If there is no chat template, no usable padding token, an unknown end token, or the
            template opens ``<think>`` in a way that cannot be taken out.
    """
    changes: list[str] = []
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template",
            "use the instruct model, or set tokenizer.chat_template and save the tokenizer beside the weights",
        )
    if end_token is not None:
        if tokenizer.convert_tokens_to_ids(end_token) in (None, tokenizer.unk_token_id):
            raise ModelError(
                f"model.end_token {end_token!r} is not a token of this model",
                "leave it out to use the tokenizer's own",
            )
        if end_token != tokenizer.eos_token:
            changes.append(f"the end of turn is {end_token} instead of {tokenizer.eos_token}")
            tokenizer.eos_token = end_token
    changes += _repair_padding(tokenizer)
    if enable_thinking is not None:
        tokenizer.chat_template = (
            f"{{%- set enable_thinking = {str(enable_thinking).lower()} -%}}" + tokenizer.chat_template
        )
        changes.append(f"the template's thinking switch is set to {str(enable_thinking).lower()}")
    changes += _remove_opener(tokenizer)
    # Left padding, because generation goes on from the right end of every row.
    tokenizer.padding_side = "left"
    chosen: Role = _role(tokenizer) if role == "auto" else role
    if chosen == "user":
        changes.append("the instructions stand in the user's turn")
    return Prompter(tokenizer, tags, instructions(tags) if text is None else text, chosen, tuple(changes))


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # Rendered text already holds the beginning-of-text token; the tokenizer would add it again.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _repair_padding(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return []
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    for candidate in _PAD_CANDIDATES:
        if candidate in vocabulary and vocabulary[candidate] != tokenizer.eos_token_id:
            tokenizer.pad_token = candidate
            return [f"padding is {candidate}, because {tokenizer.eos_token} ends the turn"]
    raise ModelError(
        f"the tokenizer pads with its end-of-turn token {tokenizer.eos_token!r} and has no other token for it",
        f"add one of {', '.join(_PAD_CANDIDATES)} to the tokenizer",
    )


def _prompt(tokenizer: PreTrainedTokenizerBase) -> str:
    messages = [{"role": "user", "content": _PROBE}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def opens_thinking(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the template writes ``<think>`` for the model at the end of the prompt."""
    return _prompt(tokenizer).rstrip().endswith(THINKING_OPENER)


def _remove_opener(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    if not opens_thinking(tokenizer):
        return []
    template = str(tokenizer.chat_template)
    for written in (THINKING_OPENER + "\\n", THINKING_OPENER + "\n", THINKING_OPENER):
        head, found, tail = template.rpartition(written)
        if found:
            tokenizer.chat_template = head + tail
            if not opens_thinking(tokenizer):
                return [
                    f"the template opened {THINKING_OPENER} for the model; the opener is taken out and the template saved"
                ]
    tokenizer.chat_template = template
    raise ModelError(
        f"the chat template ends the prompt with {THINKING_OPENER} and it could not be taken out",
        "edit the template by hand, or set prompt.reasoning_tag to think",
    )


def _role(tokenizer: PreTrainedTokenizerBase) -> Role:
    # R1-distill puts a system text in front of the first turn without any mark, and its makers advise
    # against one; other templates may drop or refuse it.
    marker = "warmstart-system-probe"
    messages = [{"role": "system", "content": marker}, {"role": "user", "content": _PROBE}]
    from jinja2.exceptions import TemplateError

    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError:
        return "user"
    if "<｜User｜>" in text or marker not in text:
        return "user"
    return "system"
