"""What a tokenizer and its chat template do against the answer format, told from the tokenizer alone.

`inspect_template` looks at a tokenizer as it was loaded, `inspect_prompter` at what `templates` made of it:
after the repair nothing serious may be left.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from warmstart.diagnosis import Finding, finding, in_order
from warmstart.errors import DataError
from warmstart.records import Problem
from warmstart.tags import Tags
from warmstart.templates import plumbing_rules as rules
from warmstart.templates.plumbing_rules import INSIDE, changed, decoded
from warmstart.templates.prompter import Prompter
from warmstart.templates.turns import QUESTION, adds_begin, turns, why_no_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OF_THE_TOKENS = (
    rules.tags_skipped,
    rules.end_stays,
    rules.text_not_kept,
    rules.pad_is_end,
    rules.no_template,
)
_OF_THE_TEMPLATE = (
    rules.foreign_marks,
    rules.begun_turn,
    rules.opens_no_turn,
    rules.dropped_reasoning,
    rules.rewritten_turn,
    rules.rewritten_prompt,
    rules.ignored_system,
    rules.double_bos,
    rules.no_bos,
    rules.no_end,
    rules.other_end,
)
_AFTER_REPAIR = (
    rules.tags_skipped,
    rules.end_stays,
    rules.foreign_marks,
    rules.opens_no_turn,
    rules.pad_is_end,
    rules.no_end,
)


def inspect_template(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> list[Finding]:
    """Return what the tokenizer would do to prompts and targets in the given tags, as it was loaded.

    Without a chat template, or with one that cannot be rendered, that is the one thing to say of it.
    """
    can_render = tokenizer.chat_template and why_no_prompt(tokenizer) is None
    chosen = (*_OF_THE_TOKENS, *_OF_THE_TEMPLATE) if can_render else _OF_THE_TOKENS
    return in_order(found for rule in chosen if (found := rule(tokenizer, tags)) is not None)


def inspect_prompter(prompter: Prompter, problems: Sequence[Problem]) -> list[Finding]:
    """Return what still stands between the prompter and a faithful prompt and target.

    Args:
        prompter: Repaired.
        problems: A few of the run's; their prompts, and their rationales as targets, must come back from
            the tokens byte for byte. A problem with an empty line, spaces and a tab is always among them.
    """
    tokenizer, tags = prompter.tokenizer, prompter.tags
    found = [one for rule in _AFTER_REPAIR if (one := rule(tokenizer, tags)) is not None]
    left = turns(tokenizer).begun.removesuffix(prompter.prefill)
    if (begun := rules.begins_turn(left, tags)) is not None and begun.is_serious:
        found.append(begun)
    hard = Problem("with an empty line, spaces and a tab", f"{QUESTION}\n\n  Show\tit .", "42", INSIDE)
    for problem in (hard, *problems):
        amiss = _prompt_amiss(prompter, problem) or _target_amiss(prompter, problem)
        if amiss is not None:
            return in_order([*found, amiss])
    return in_order(found)


def _prompt_amiss(prompter: Prompter, problem: Problem) -> Finding | None:
    tokenizer = prompter.tokenizer
    ids, text = prompter.prompt_ids(problem.question), prompter.render(problem.question)
    begin = tokenizer.bos_token_id
    if begin is not None and ids[:2] == [begin, begin]:
        return finding(
            "double-bos",
            f"the prompt of {problem.id!r} begins with two {tokenizer.bos_token}",
            "take one {{ bos_token }} out of chat_template and save the tokenizer",
        )
    if adds_begin(tokenizer) and ids[:1] != [begin]:
        return finding(
            "bos-missing", f"the prompt of {problem.id!r} does not begin with {tokenizer.bos_token}"
        )
    if not _is_same(decoded(tokenizer, ids), text):
        return finding("text-not-kept", f"the prompt of {problem.id!r} changes on its way through the tokens")
    for message in prompter.messages(problem.question):
        role, said = message["role"], message["content"].strip()
        if said in text:
            continue
        if role == "assistant":
            return finding(
                "template-drops-reasoning",
                f"the exemplar is not in the prompt as it is: {changed(role, said, text)}",
                "show no exemplar, or set another prompt.reasoning_tag",
            )
        return finding("template-rewrites-text", changed(role, said, text))
    return None


def _target_amiss(prompter: Prompter, problem: Problem) -> Finding | None:
    target = _target(prompter, problem)
    if target is None:
        return None
    ids = prompter.target_ids(target)
    written = target.removeprefix(prompter.prefill)
    if not _is_same(decoded(prompter.tokenizer, ids[:-1]), written) or ids[-1] != prompter.end_id:
        return finding("text-not-kept", f"the target of {problem.id!r} changes on its way through the tokens")
    return None


def _target(prompter: Prompter, problem: Problem) -> str | None:
    try:
        return prompter.target(problem.rationale or INSIDE, problem.gold)
    except DataError:
        # A rationale that holds a tag is the data's fault; SFT reports it with the row.
        return None


def _is_same(given: str, text: str) -> bool:
    # Qwen's tokenizers compose letters and their accents (NFC); that changes no meaning.
    return given in (text, unicodedata.normalize("NFC", text))
