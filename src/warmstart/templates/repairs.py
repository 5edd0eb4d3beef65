"""What a tokenizer and its chat template do against the answer format, repaired on the tokenizer itself.

Everything that uses the tokenizer later (TRL, a server, the exported adapter) then sees the same. Each
function changes the tokenizer in place and returns what it changed, in words, for the log; it changes
nothing where there is nothing to repair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from warmstart.errors import ModelError
from warmstart.tags import Tags
from warmstart.templates.turns import (
    adds_begin,
    answered,
    asked,
    empty_block,
    open_block,
    rendered,
    turns,
    why_no_prompt,
    writes_begin,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PAD_CANDIDATES = ("<|endoftext|>", "<|fim_pad|>", "<|vision_pad|>", "<pad>", "[PAD]")
CHATML_MARKS = ("<|im_start|>", "<|im_end|>")
_CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
# A template may do anything with a turn; so the end is put into the turn before the template sees it.
_CLOSING = (
    "{%- set closed = namespace(turns=[]) %}"
    "{%- for turn in messages %}"
    "{%- if turn.role == 'assistant' and turn.content is string %}"
    "{%- set closed.turns = closed.turns + [dict(turn, content=turn.content + eos_token)] %}"
    "{%- else %}{%- set closed.turns = closed.turns + [turn] %}{%- endif %}"
    "{%- endfor %}"
    "{%- set messages = closed.turns %}"
)


def repair_template(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Give a tokenizer without a chat template ChatML, if it has ChatML's marks.

    Raises:
        ModelError: If it has none and its marks are not known, or if its template cannot be rendered.
    """
    if tokenizer.chat_template:
        if (why := why_no_prompt(tokenizer)) is not None:
            raise ModelError(why, "repair chat_template, or take the one that was published with the model")
        return []
    if not has_chatml(tokenizer):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template",
            "use the instruct model, or write a Jinja template with the marks this model was trained on into "
            "chat_template.jinja beside its tokenizer_config.json",
        )
    tokenizer.chat_template = _CHATML
    return ["there was no chat template; ChatML is set, because the tokenizer has its marks"]


def has_chatml(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether both marks of ChatML are tokens."""
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    return all(mark in vocabulary for mark in CHATML_MARKS)


def repair_end(tokenizer: PreTrainedTokenizerBase, end_token: str | None) -> list[str]:
    """Set the end-of-turn token to ``end_token``, or where there is none, to the one the template writes.

    Raises:
        ModelError: If ``end_token`` is no token, or if none is named anywhere.
    """
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    if end_token is not None and end_token not in vocabulary:
        raise ModelError(
            f"model.end_token {end_token!r} is not a token of this model",
            "leave it out to use the tokenizer's own",
        )
    if end_token is None and tokenizer.eos_token is None:
        end_token = (turns(tokenizer).closing or "").strip()
        if end_token not in vocabulary:
            raise ModelError(
                "the tokenizer names no end-of-turn token, and its template writes none",
                "name the token that ends the model's turns with model.end_token",
            )
    if end_token is None or end_token == tokenizer.eos_token:
        return []
    was = tokenizer.eos_token
    tokenizer.eos_token = end_token
    return [f"the end of turn is {end_token} instead of {was}"]


def repair_padding(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Pad with an existing token that is not the end of turn.

    A padding token is masked from the loss: the model would never learn to stop.

    Raises:
        ModelError: If there is no other token for it.
    """
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


def repair_decoding(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Keep decoding from taking out spaces before punctuation: rewards must see what was sampled."""
    if not tokenizer.clean_up_tokenization_spaces:
        return []
    tokenizer.clean_up_tokenization_spaces = False
    return ["decoding no longer takes out spaces (clean_up_tokenization_spaces)"]


def repair_begin(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Let the template write the beginning-of-text token that the tokenizer adds to any other text.

    Rendered prompts are tokenised without special tokens, by TRL and here: what the template leaves out
    is not there.
    """
    if not adds_begin(tokenizer) or writes_begin(tokenizer):
        return []
    tokenizer.chat_template = "{{- bos_token }}" + str(tokenizer.chat_template)
    return [f"the template left {tokenizer.bos_token} out; it begins every prompt now"]


def set_thinking(tokenizer: PreTrainedTokenizerBase, enable_thinking: bool | None) -> list[str]:
    """Set Qwen3's switch in the template for good; None leaves it."""
    if enable_thinking is None:
        return []
    value = str(enable_thinking).lower()
    tokenizer.chat_template = f"{{%- set enable_thinking = {value} -%}}{tokenizer.chat_template}"
    return [f"the template's thinking switch is set to {value}"]


def take_out_begun(tokenizer: PreTrainedTokenizerBase, tags: Tags, enable_thinking: bool | None) -> list[str]:
    """Take out what the prompt writes of the completion: the model is to write the whole format itself.

    An empty block of thoughts stays where ``enable_thinking=False`` asked for it, and where the format
    has another name for its reasoning: it is how such models are told not to think.

    Raises:
        ModelError: If the template cannot be kept from writing it.
    """
    begun = turns(tokenizer).begun
    if not begun.strip():
        return []
    closed = empty_block(begun)
    if closed is not None and (enable_thinking is False or closed != tags.reasoning):
        return []
    template = str(tokenizer.chat_template)
    training = rendered(tokenizer, answered())
    prompt = rendered(tokenizer, asked(), add_generation_prompt=True).removesuffix(begun)
    for changed in (*_without(template, begun), _cutting(template, begun)):
        tokenizer.chat_template = changed
        if (
            rendered(tokenizer, answered()) == training
            and rendered(tokenizer, asked(), add_generation_prompt=True) == prompt
        ):
            opener = open_block(begun)
            what = f"opened {opener} for the model" if opener else f"wrote {begun!r} for the model"
            return [f"the template {what}; that is taken out and the template saved"]
    tokenizer.chat_template = template
    raise ModelError(
        f"the chat template ends the prompt with {begun!r} and it could not be taken out",
        "take it out of chat_template by hand and save the tokenizer beside the weights",
    )


def _without(template: str, text: str) -> list[str]:
    """Return the template without ``text``, for each way in which a string in it may be written."""
    escaped = text.replace("\n", "\\n")
    return [
        head + tail
        for written in dict.fromkeys((escaped, text))
        for head, found, tail in [template.rpartition(written)]
        if found
    ]


def _cutting(template: str, text: str) -> str:
    """Return a template that writes what ``template`` does and cuts ``text`` off the end of a prompt."""
    return (
        f"{{% set whole %}}{template}{{% endset %}}"
        f"{{%- set begun = '{quoted(text)}' %}}"
        "{{- whole[:(whole | length) - (begun | length)]"
        " if add_generation_prompt and whole.endswith(begun) else whole }}"
    )


def open_turn(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Let the prompt open the model's turn where the template leaves that out."""
    missing = turns(tokenizer).missing
    if not missing:
        return []
    write_at_end_of_prompt(tokenizer, missing)
    return [f"the prompt did not open the model's turn; it ends in {missing!r} now"]


def close_turn(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Let the template end the model's turns where it writes nothing after them."""
    closing = turns(tokenizer).closing
    if closing is None or closing.strip():
        return []
    tokenizer.chat_template = _CLOSING + str(tokenizer.chat_template)
    return [f"the template did not end the model's turn; it writes {tokenizer.eos_token} after it now"]


def write_at_end_of_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Let the template end every prompt in ``text``."""
    tokenizer.chat_template = (
        f"{tokenizer.chat_template}{{%- if add_generation_prompt %}}{{{{- '{quoted(text)}' }}}}{{%- endif %}}"
    )


def quoted(text: str) -> str:
    """Return ``text`` as it stands between single quotes in a template."""
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
