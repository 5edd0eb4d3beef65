"""Findings about real tokenizers, before and after the repair."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from warmstart.data.synthetic import generate
from warmstart.models import load_tokenizer
from warmstart.tags import DEFAULT_TAGS, Tags, parse
from warmstart.templates.plumbing import inspect_prompter, inspect_template
from warmstart.templates.prompter import make_prompter
from warmstart.templates.turns import opens_thinking

R1 = ["template-drops-reasoning", "template-ignores-system", "double-bos"]
EXPECTED = {
    "qwen2.5-0.5b-instruct": [],
    "qwen3-0.6b": ["template-drops-reasoning", "template-rewrites-text"],
    "deepseek-r1-distill-qwen": R1,
    "deepseek-r1-distill-qwen-think": ["template-opens-thinking", *R1],
}
PROBLEMS = generate(4, seed=0, split="train")


def _tokenizer(shared_data, name):
    return AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name)


def _codes(findings):
    return [found.code for found in findings]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_family_gets_its_own_findings_and_none_after_the_repair(shared_data, name) -> None:
    tokenizer = _tokenizer(shared_data, name)
    found = [code for code in _codes(inspect_template(tokenizer, DEFAULT_TAGS)) if code != "pad-is-end"]
    assert found == EXPECTED[name]
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert inspect_prompter(prompter, PROBLEMS) == []


@pytest.mark.parametrize("name", ["deepseek-r1-distill-qwen", "deepseek-r1-distill-qwen-think"])
def test_a_tokenizer_that_pads_with_its_end_is_told_and_repaired(shared_data, name) -> None:
    tokenizer = _tokenizer(shared_data, name)
    assert "pad-is-end" in _codes(inspect_template(tokenizer, DEFAULT_TAGS))
    make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert "pad-is-end" not in _codes(inspect_template(tokenizer, DEFAULT_TAGS))


def test_the_dropped_reasoning_is_broken_with_think_tags_and_a_note_with_others(shared_data) -> None:
    def severity(tags):
        findings = inspect_template(_tokenizer(shared_data, "deepseek-r1-distill-qwen"), tags)
        return next(str(f.severity) for f in findings if f.code == "template-drops-reasoning")

    assert severity(Tags("think", "answer")) == "broken"
    assert severity(DEFAULT_TAGS) == "note"


@pytest.mark.parametrize("thinking", [True, False])
def test_qwen3_with_and_without_thinking_is_clean_after_the_repair(shared_data, thinking) -> None:
    prompter = make_prompter(
        _tokenizer(shared_data, "qwen3-0.6b"), tags=DEFAULT_TAGS, enable_thinking=thinking
    )
    assert inspect_prompter(prompter, PROBLEMS) == []


def test_a_base_whose_template_ends_turns_with_another_token_is_told(shared_data) -> None:
    # Qwen2.5's base models: the same files, with the end of text as the end token.
    tokenizer = _tokenizer(shared_data, "qwen2.5-0.5b-instruct")
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.pad_token = "<|endoftext|>"
    assert _codes(inspect_template(tokenizer, DEFAULT_TAGS)) == ["pad-is-end", "end-token-differs"]
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert inspect_prompter(prompter, PROBLEMS) == []
    assert prompter.tokenizer.decode([prompter.end_id]) == "<|endoftext|>"


def test_the_repaired_template_is_saved_with_the_tokenizer(shared_data, tmp_path) -> None:
    prompter = make_prompter(_tokenizer(shared_data, "deepseek-r1-distill-qwen-think"), tags=DEFAULT_TAGS)
    prompter.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert not opens_thinking(again)
    assert "template-opens-thinking" not in _codes(inspect_template(again, DEFAULT_TAGS))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_prefilled_prompt_ends_in_the_opener_and_the_target_goes_on_from_there(shared_data, name) -> None:
    prompter = make_prompter(_tokenizer(shared_data, name), tags=DEFAULT_TAGS).prefilled("<reasoning>\n")
    assert prompter.render("1 + 1?").endswith("<reasoning>\n")
    target = prompter.target("1 + 1 = 2", "2")
    ids = prompter.target_ids(target)
    assert prompter.prefill + prompter.tokenizer.decode(ids[:-1]) == target
    assert parse(target).strict


def test_an_exemplar_stands_as_a_turn_of_its_own_before_the_question() -> None:
    from dataclasses import replace

    prompter = make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    shown = replace(prompter, exemplar=("1 + 1?", prompter.target("1 + 1 = 2", "2")))
    roles = [message["role"] for message in shown.messages("2 + 2?")]
    assert roles == ["system", "user", "assistant", "user"]
    assert shown.render("2 + 2?").index("1 + 1 = 2") < shown.render("2 + 2?").index("2 + 2?")


def test_check_says_what_the_template_does_and_that_nothing_is_left(shared_data) -> None:
    import json

    from typer.testing import CliRunner

    from warmstart.cli import app

    name = "deepseek-r1-distill-qwen-1.5b-gsm8k"
    folder = shared_data / "tokenizers" / "deepseek-r1-distill-qwen-think"
    command = ["check", name, "--template", "--set", f"model.name={folder}"]
    plain = CliRunner().invoke(app, command)
    assert plain.exit_code == 0, plain.output
    assert "template-opens-thinking" in plain.output
    assert "prompt and target come back byte for byte" in plain.output
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)["template"]
    assert found["after"] == []
    assert found["before"][0]["code"] == "template-opens-thinking"
    assert "<think>" not in found["prompt"]
