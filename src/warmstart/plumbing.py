"""What a tokenizer and its chat template do against the answer format, told from the tokenizer alone.

`inspect_template` looks at a tokenizer as it was loaded, `inspect_prompter` at what `templates` made of it:
after the repair nothing may be left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from warmstart.diagnosis import Finding, Severity, finding, in_order
from warmstart.errors import DataError
from warmstart.records import Problem
from warmstart.tags import Tags
from warmstart.templates import THINKING_OPENER, Prompter, opens_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION = "What is 40 + 2?"
_INSIDE = "forty and two make forty-two"
_SYSTEM = "warmstart-system-probe"


def inspect_template(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> list[Finding]:
    """Return what the tokenizer would do to prompts and targets in the given tags, as it was loaded.

    A tokenizer without a chat template has nothing to inspect; `templates.make_prompter` refuses it.
    """
    if not tokenizer.chat_template:
        return []
    rules = (_opener, _dropped_reasoning, _ignored_system, _double_bos, _pad_is_end, _other_end)
    return in_order(found for rule in rules if (found := rule(tokenizer, tags)) is not None)


def inspect_prompter(prompter: Prompter, problems: Sequence[Problem]) -> list[Finding]:
    """Return what still stands between the prompter and a faithful prompt and target.

    Args:
        prompter: Repaired.
        problems: A few of the run's; their prompts, and their rationales as targets, must come back from
            the tokens byte for byte.
    """
    tokenizer, found = prompter.tokenizer, []
    if opens_thinking(tokenizer) and not prompter.prefill.startswith(THINKING_OPENER):
        found.append(finding("template-opens-thinking", f"prompts still end in {THINKING_OPENER}"))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == prompter.end_id:
        found.append(finding("pad-is-end", f"{tokenizer.pad_token!r} pads and ends the turn"))
    for problem in problems:
        ids, text = prompter.prompt_ids(problem.question), prompter.render(problem.question)
        begin = tokenizer.bos_token_id
        if begin is not None and ids[:2] == [begin, begin]:
            found.append(
                finding("double-bos", f"the prompt of {problem.id} begins with two {tokenizer.bos_token}")
            )
            break
        if _decoded(tokenizer, ids) != text:
            found.append(
                finding("text-not-kept", f"the prompt of {problem.id} changes on its way through the tokens")
            )
            break
        target = _target(prompter, problem)
        if target is None:
            continue
        answer = prompter.target_ids(target)
        if _decoded(tokenizer, answer[:-1]) != target or answer[-1] != prompter.end_id:
            found.append(
                finding("text-not-kept", f"the target of {problem.id} changes on its way through the tokens")
            )
            break
    return in_order(found)


def _target(prompter: Prompter, problem: Problem) -> str | None:
    try:
        return prompter.target(problem.rationale or _INSIDE, problem.gold)
    except DataError:
        # A rationale that holds a tag is the data's fault; SFT reports it with the row.
        return None


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: Any) -> str:  # noqa: ANN401
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _asked() -> list[dict[str, str]]:
    return [{"role": "user", "content": _QUESTION}]


def _opener(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    if not opens_thinking(tokenizer):
        return None
    return finding(
        "template-opens-thinking",
        f"the prompt ends in {THINKING_OPENER}: the model goes on inside it and never writes {tags.exact[0]}",
    )


def _dropped_reasoning(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    for used in (tags, Tags("think", "answer")):
        target = used.wrap(_INSIDE, "42")
        messages = [*_asked(), {"role": "assistant", "content": target}]
        later = [*messages, {"role": "user", "content": "Are you sure?"}]
        if _INSIDE in _rendered(tokenizer, messages) and _INSIDE in _rendered(tokenizer, later):
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


def _ignored_system(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    code, cure = "template-ignores-system", "the instructions go into the user's turn"
    try:
        text = _rendered(tokenizer, [{"role": "system", "content": _SYSTEM}, *_asked()])
    except TemplateError as error:
        return finding(code, f"the template refuses a system turn: {error}", cure)
    if _SYSTEM not in text:
        return finding(code, "the system turn is not in the rendered prompt", cure)
    head = text[: text.index(_SYSTEM)].replace(str(tokenizer.bos_token or ""), "").strip()
    if not head:
        return finding(code, "the system turn stands in the prompt without any mark", cure)
    return None


def _double_bos(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    begin = tokenizer.bos_token_id
    if begin is None:
        return None
    ids = list(tokenizer(_rendered(tokenizer, _asked(), add_generation_prompt=True))["input_ids"])
    if ids[:2] != [begin, begin]:
        return None
    return finding(
        "double-bos",
        f"the template writes {tokenizer.bos_token} and the tokenizer adds another",
        "warmstart tokenises the rendered prompt without special tokens",
    )


def _pad_is_end(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return None
    return finding("pad-is-end", f"{tokenizer.eos_token!r} ends the turn and pads")


def _other_end(tokenizer: PreTrainedTokenizerBase, tags: Tags) -> Finding | None:
    text = _rendered(tokenizer, [*_asked(), {"role": "assistant", "content": _INSIDE}])
    after = text[text.rindex(_INSIDE) + len(_INSIDE) :].strip() if _INSIDE in text else ""
    if not after or after.startswith(str(tokenizer.eos_token)):
        return None
    return finding(
        "end-token-differs",
        f"the template ends a turn with {after!r}, the tokenizer with {tokenizer.eos_token!r}",
    )
