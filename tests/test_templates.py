from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from warmstart.errors import ModelError
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.templates.turns import opens_thinking

FAMILIES = [
    "qwen2.5-0.5b-instruct",
    "qwen3-0.6b",
    "deepseek-r1-distill-qwen",
    "deepseek-r1-distill-qwen-think",
]
TARGET = "<reasoning>\n40 + 2 = 42\n</reasoning>\n<answer>\n42\n</answer>"


@pytest.fixture
def tokenizer(request, shared_data):
    return AutoTokenizer.from_pretrained(shared_data / "tokenizers" / request.param)


@pytest.mark.parametrize("tokenizer", FAMILIES, indirect=True)
def test_the_prompt_ends_where_the_model_begins_and_no_thinking_is_opened_for_it(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    text = prompter.render("What is 40 + 2?")
    assert not text.rstrip().endswith("<think>")
    assert text.endswith(("<|im_start|>assistant\n", "<｜Assistant｜>"))
    assert "<reasoning>" in text
    assert "What is 40 + 2?" in text


@pytest.mark.parametrize("tokenizer", FAMILIES, indirect=True)
def test_prompt_and_target_come_back_from_the_tokens_byte_for_byte(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    question = "Zoë has 1,234 “pens” – how many?\n\tNaïve 数学?"
    assert tokenizer.decode(prompter.prompt_ids(question)) == prompter.render(question)
    assert prompter.target("40 + 2 = 42", "42") == TARGET
    ids = prompter.target_ids(TARGET)
    assert tokenizer.decode(ids[:-1]) == TARGET
    assert ids[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("tokenizer", FAMILIES, indirect=True)
def test_there_is_at_most_one_beginning_of_text_and_padding_is_not_the_end_of_turn(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    begin = tokenizer.convert_tokens_to_ids("<｜begin▁of▁sentence｜>")
    if begin is not None:
        assert prompter.prompt_ids("1 + 1?").count(begin) == 1
    assert tokenizer.pad_token_id != prompter.end_id


@pytest.mark.parametrize("tokenizer", ["deepseek-r1-distill-qwen-think"], indirect=True)
def test_the_later_r1_template_loses_its_opener_for_good(tokenizer, tmp_path) -> None:
    assert opens_thinking(tokenizer)
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert any("<think>" in change for change in prompter.changes)
    tokenizer.save_pretrained(tmp_path)
    assert not opens_thinking(AutoTokenizer.from_pretrained(tmp_path))


@pytest.mark.parametrize("tokenizer", FAMILIES[2:], indirect=True)
def test_r1_takes_the_instructions_in_the_users_turn(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.role == "user"
    assert [message["role"] for message in prompter.messages("1 + 1?")] == ["user"]


@pytest.mark.parametrize("tokenizer", FAMILIES[:2], indirect=True)
def test_qwen_takes_the_instructions_in_the_system_turn_and_adds_none_of_its_own(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.role == "system"
    assert "Alibaba" not in prompter.render("1 + 1?")


@pytest.mark.parametrize("tokenizer", ["qwen3-0.6b"], indirect=True)
def test_the_thinking_switch_of_qwen3_is_set_in_the_template(tokenizer, tmp_path) -> None:
    make_prompter(tokenizer, tags=DEFAULT_TAGS, enable_thinking=False)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = loaded.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<think>\n\n</think>\n\n")


@pytest.mark.parametrize("tokenizer", ["qwen2.5-0.5b-instruct"], indirect=True)
def test_another_end_token_can_be_named_and_an_unknown_one_is_refused(tokenizer) -> None:
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS, end_token="<|endoftext|>")
    assert tokenizer.decode([prompter.end_id]) == "<|endoftext|>"
    assert tokenizer.pad_token_id != prompter.end_id
    with pytest.raises(ModelError, match=r"model\.end_token '<nope>'"):
        make_prompter(tokenizer, tags=DEFAULT_TAGS, end_token="<nope>")
