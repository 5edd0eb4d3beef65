"""The rules on chat templates and tokenizers: one cause each, told from the tokenizer alone.

Each takes a tokenizer as it is and the tags of the format, and returns its finding or None. All but
`no_template`, `pad_is_end`, `tags_skipped`, `end_stays` and `text_not_kept` need a template that can be rendered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmstart.diagnosis import Finding, Severity, finding
from warmstart.tags import Tags
from warmstart.templates.repairs import CHATML_MARKS, has_chatml
from warmstart.templates.turns import (
    LATER,
    QUESTION,
    THINKING_OPENER,
    adds_begin,
    answered,
    asked,
    empty_block,
    open_block,
    rendered,
    turns,
    went_on,
    why_no_prompt,
    why_no_system,
    writes_begin,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSIDE = "forty and two make forty-two\n\n  40 + 2 = 42 ,\tas asked"
"""Reasoning with what templates and tokenizers like to change: an empty line, spaces, a tab."""
_MARK = re.compile(r"<[|｜][^<>|｜\n]{1,40}[|｜]>|<(?:start|end)_of_turn>|\[/?INST\]|<<SYS>>")
"""How model families mark turns."""
_SHOWN = 40
_ALIKE = 8
"""Characters from which on two texts that begin alike are taken for the same turn."""


def no_template(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """There is no chat template, or one that cannot be rendered."""
    if tokenizer.chat_template:
        why = why_no_prompt(tokenizer)
        cure = "repair chat_template, or take the one that was published with the model"
        return None if why is None else finding("template-missing", why, cure)
    if has_chatml(tokenizer):
        return finding(
            "template-missing",
            "the tokenizer has no chat template, and it has the marks of ChatML",
            "warmstart sets ChatML and saves it with the adapter",
        )
    return finding("template-missing", "the tokenizer has no chat template and no marks that name one")


def foreign_marks(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The template writes marks of turns that are no tokens here, and leaves those alone that are.

    Marks that are plain text by design (Zephyr's) belong to tokenizers without others.
    """
    text = rendered(tokenizer, asked(), add_generation_prompt=True)
    marks = list(dict.fromkeys(_MARK.findall(text)))
    foreign = [mark for mark in marks if len(tokenizer(mark, add_special_tokens=False)["input_ids"]) > 1]
    if not foreign or not has_chatml(tokenizer) or CHATML_MARKS[0] in text:
        return None
    return finding(
        "template-foreign",
        f"the template writes {', '.join(foreign[:3])}, which are no tokens of this tokenizer, and never its "
        f"{CHATML_MARKS[0]}",
    )


def begun_turn(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The prompt writes the beginning of the completion."""
    return begins_turn(turns(tokenizer).begun, tags)


def begins_turn(begun: str, tags: Tags) -> Finding | None:
    """Return the finding about what a prompt writes of the completion, if it writes anything."""
    if not begun.strip():
        return None
    closed, opener = empty_block(begun), open_block(begun)
    if closed == tags.reasoning:
        return finding(
            "template-begins-turn",
            f"the prompt ends in {begun!r}: the {tags.exact[0]} block of the format is closed, and empty, before "
            "the model writes",
            "set prompt.enable_thinking=true, or another prompt.reasoning_tag",
        )
    if closed is not None:
        return finding(
            "template-begins-turn",
            f"the prompt ends in {begun!r}",
            f"nothing to do with {tags.exact[0]}: it tells the model not to think before it",
            level=Severity.NOTE,
        )
    if opener is not None:
        after = "" if opener == THINKING_OPENER else f" ({begun!r})"
        return finding(
            "template-opens-thinking",
            f"the prompt ends in {opener}{after}: the model goes on inside it and never writes {tags.exact[0]}",
        )
    return finding(
        "template-begins-turn",
        f"the prompt ends in {begun[:_SHOWN]!r}, which no answer of the model's in a conversation begins with",
    )


def opens_no_turn(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The prompt does not end in the mark that opens the model's turn, or ends in another one."""
    around = turns(tokenizer)
    code, ending = "template-opens-no-turn", around.prompt[-_SHOWN:]
    if around.missing:
        return finding(
            code, f"the prompt ends in {ending!r}, without the {around.missing!r} that opens the model's turn"
        )
    if around.has_other_mark:
        return finding(
            code,
            f"the prompt ends in {ending!r}, and in a conversation {around.marks[0][-_SHOWN:]!r} opens the "
            "model's turn",
            "make chat_template write the same mark where add_generation_prompt is true",
            level=Severity.WARNING,
        )
    return None


def dropped_reasoning(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """What a turn holds in the reasoning tags is gone; a note for tags that are not in use."""
    for used in (tags, Tags("think", "answer")):
        if not _drops(tokenizer, used):
            continue
        return finding(
            "template-drops-reasoning",
            f"what an assistant's turn holds in {used.exact[0]} is gone after rendering",
            "warmstart tokenises targets without the template"
            if used == tags
            else f"nothing to do with {tags.exact[0]}; it would matter with {used.exact[0]}",
            level=Severity.BROKEN if used == tags else Severity.NOTE,
        )
    return None


def _drops(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> bool:
    # One word in any case: a template that changes the reasoning has not dropped it.
    target, word = tags.wrap(INSIDE, "42"), INSIDE.split()[0]
    return any(word not in rendered(tokenizer, messages(target)).lower() for messages in (answered, went_on))


def rewritten_turn(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """Anything the template does to a target that does not take its reasoning away."""
    if _drops(tokenizer, tags):
        return None
    code, cure = "template-rewrites-text", "warmstart tokenises targets without the template"
    target = tags.wrap(INSIDE, "42")
    for messages in (answered, went_on):
        text = rendered(tokenizer, messages(target))
        if target not in text:
            return finding(code, changed("assistant", target, text), cure)
    around = turns(tokenizer)
    extra = (around.opening or "").removeprefix(around.prompt)
    if around.opening != around.prompt and extra != around.opening and extra.strip():
        return finding(
            code,
            f"in training text the model's last turn begins with {extra!r}, which the prompt does not end in",
            cure,
            level=Severity.WARNING,
        )
    if f"  {target}  " not in rendered(tokenizer, answered(f"  {target}  ")):
        return finding(
            code,
            "white space around an assistant's turn is taken off",
            "nothing to do: a target has none",
            level=Severity.NOTE,
        )
    return None


def rewritten_prompt(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The turns of the prompt are not in it as they were said: no repair of targets helps there."""
    turn = tags.wrap(INSIDE, "42")
    conversation = [{"role": "user", "content": f"{QUESTION}\n{turn}"}]
    if why_no_system(tokenizer) is None:
        conversation.insert(0, {"role": "system", "content": f"{LATER}\n{turn}"})
    text = rendered(tokenizer, conversation, add_generation_prompt=True)
    for message in conversation:
        if message["content"] not in text:
            return finding("template-rewrites-text", changed(message["role"], message["content"], text))
    return None


def ignored_system(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The instructions cannot stand in the system turn."""
    why = why_no_system(tokenizer)
    if why is None:
        return None
    return finding("template-ignores-system", why, "the instructions go into the user's turn")


def double_bos(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The template writes the beginning-of-text token, and the tokenizer would add another."""
    begin = tokenizer.bos_token_id
    if begin is None:
        return None
    ids = list(tokenizer(rendered(tokenizer, asked(), add_generation_prompt=True))["input_ids"])
    if ids[:2] != [begin, begin]:
        return None
    return finding(
        "double-bos",
        f"the template writes {tokenizer.bos_token} and the tokenizer adds another",
        "warmstart tokenises the rendered prompt without special tokens",
    )


def no_bos(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """Nothing writes the beginning-of-text token into a prompt; a warning where nothing ever does."""
    begin = tokenizer.bos_token
    if begin is None or writes_begin(tokenizer):
        return None
    if adds_begin(tokenizer):
        return finding(
            "bos-missing",
            f"the tokenizer begins a text with {begin}, and a rendered prompt, which is tokenised without "
            "special tokens, has none",
            "warmstart lets the template write it",
        )
    if begin in (tokenizer.eos_token, tokenizer.pad_token):
        return None
    return finding(
        "bos-missing",
        f"the tokenizer names {begin} as its beginning of text, and neither it nor the template writes it",
        "if the model was trained with it, begin chat_template with {{ bos_token }} and save the tokenizer",
        level=Severity.WARNING,
    )


def pad_is_end(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """There is no padding token, or it ends the turn."""
    pad, end = tokenizer.pad_token, tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        return finding(
            "pad-is-end",
            f"there is no padding token, and {end!r}, which ends the turn, is often taken for it",
        )
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return None
    return finding("pad-is-end", f"{pad!r} ends the turn and pads, so the end would be masked from the loss")


def no_end(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """Nothing ends the model's turn in training text."""
    closing = turns(tokenizer).closing
    if tokenizer.eos_token is None:
        written = (closing or "").strip()
        cure = f"warmstart takes {written!r}, which the template writes" if written else "set model.end_token"
        return finding("end-missing", "the tokenizer names no end-of-turn token", cure)
    if closing is None or closing.strip():
        return None
    return finding(
        "end-missing",
        f"the template writes {closing!r} after the model's turn: SFT on it never teaches {tokenizer.eos_token}",
        f"warmstart ends every target with {tokenizer.eos_token} and lets the template write it",
    )


def other_end(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The template ends turns with another token than the tokenizer's."""
    after = (turns(tokenizer).closing or "").strip()
    if not after or tokenizer.eos_token is None or after.startswith(str(tokenizer.eos_token)):
        return None
    return finding(
        "end-token-differs",
        f"the template ends a turn with {after[:_SHOWN]!r}, the tokenizer with {tokenizer.eos_token!r}",
    )


def tags_skipped(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """A completion is decoded without special tokens; a tag that is one never reaches a reward."""
    target = tags.wrap(INSIDE, "42")
    ids = tokenizer(target, add_special_tokens=False)["input_ids"]
    kept = str(tokenizer.decode(ids, skip_special_tokens=True))
    lost = [tag for tag in tags.exact if tag in decoded(tokenizer, ids) and tag not in kept]
    if not lost:
        return None
    return finding(
        "tags-skipped",
        f"{', '.join(lost)} {'is a special token' if len(lost) == 1 else 'are special tokens'}, and completions "
        "are decoded without special tokens: no reward would see it",
    )


def end_stays(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """The end of turn is no special token: decoding leaves it in what a reward reads."""
    end = tokenizer.eos_token
    if end is None or end not in tokenizer.decode([tokenizer.eos_token_id], skip_special_tokens=True):
        return None
    return finding(
        "text-not-kept",
        f"{end!r} ends the turn and is no special token: it stays in the text of every completion, after "
        f"{tags.exact[3]}",
        "name a special token with model.end_token",
    )


def text_not_kept(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    """Whether a target comes back from its tokens, decoded as rewards get it."""
    target = tags.wrap(INSIDE, "42")
    ids = tokenizer(target, add_special_tokens=False)["input_ids"]
    exact, seen = decoded(tokenizer, ids), str(tokenizer.decode(ids, skip_special_tokens=False))
    if exact != target:
        return finding("text-not-kept", changed("assistant", target, exact).replace("rendered", "decoded"))
    if seen != target:
        return finding(
            "text-not-kept",
            changed("assistant", target, seen).replace("rendered", "decoded"),
            "warmstart sets clean_up_tokenization_spaces=false",
        )
    return None


def decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Return the text of the tokens, nothing left out or cleaned up."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def changed(role: str, said: str, text: str) -> str:
    """Return a sentence about where ``text`` stops saying what the turn of ``role`` said."""
    kept = next(count for count in range(len(said), -1, -1) if said[:count] in text)
    if kept < min(_ALIKE, len(said)):
        return f"the {role} turn is not in the rendered text: {said[:_SHOWN]!r} is gone or changed throughout"
    at = text.index(said[:kept]) + kept
    before = said[max(0, kept - 12) : kept]
    return (
        f"the {role} turn is changed: after {before!r} it says {said[kept : kept + 12]!r}, "
        f"the rendered text {text[at : at + 12]!r}"
    )
