"""Faults planted into the templates of real tokenizers: each is named, and repaired where it can be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tokenizers import normalizers
from transformers import AddedToken, AutoTokenizer
from typer.testing import CliRunner

from warmstart.cli import app
from warmstart.data.synthetic import generate
from warmstart.errors import ModelError
from warmstart.records import Problem
from warmstart.tags import DEFAULT_TAGS, Tags
from warmstart.templates.plumbing import inspect_prompter, inspect_template
from warmstart.templates.prompter import make_prompter
from warmstart.templates.turns import answered, rendered, turns

QWEN, QWEN3 = "qwen2.5-0.5b-instruct", "qwen3-0.6b"
R1, R1_THINK = "deepseek-r1-distill-qwen", "deepseek-r1-distill-qwen-think"
PROBLEMS = generate(4, seed=0, split="train")
TARGET = DEFAULT_TAGS.wrap("40 + 2\n\n  = 42", "42")
THINK = Tags("think", "answer")

QWEN_TURN = r"'<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n'"
QWEN_ASKS = r"{{- '<|im_start|>assistant\n' }}"
R1_ASKS = "{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜>'}}{% endif %}"
_KEPT = ("chat_template", "eos_token", "pad_token", "padding_side", "clean_up_tokenization_spaces")
_loaded: dict[str, tuple[object, dict[str, object]]] = {}


@pytest.fixture
def load(shared_data):
    """Return a tokenizer by name, as loaded; one whose vocabulary a test changes must be ``fresh``."""

    def loader(name, *, old=None, new="", fresh=False):
        if fresh or name not in _loaded:
            tokenizer = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / name)
            if not fresh:
                _loaded[name] = (tokenizer, {key: getattr(tokenizer, key) for key in _KEPT})
        if not fresh:
            tokenizer, kept = _loaded[name]
            for key, value in kept.items():
                setattr(tokenizer, key, value)
        if old is not None:
            assert old in tokenizer.chat_template
            tokenizer.chat_template = tokenizer.chat_template.replace(old, new)
        return tokenizer

    return loader


def _codes(findings):
    return [found.code for found in findings]


def _found(tokenizer, code, tags=DEFAULT_TAGS):
    return next(found for found in inspect_template(tokenizer, tags) if found.code == code)


def _is_clean(prompter) -> bool:
    """Nothing is left, and a target with an empty line and spaces comes back byte for byte."""
    ids = prompter.target_ids(TARGET)
    assert prompter.tokenizer.decode(ids[:-1]) == TARGET.removeprefix(prompter.prefill)
    assert ids[-1] == prompter.end_id
    return inspect_prompter(prompter, PROBLEMS) == []


# -- the beginning of the text -------------------------------------------------------------------


def test_a_template_without_the_beginning_that_its_tokenizer_adds_is_told_and_writes_it(
    load, tmp_path
) -> None:
    tokenizer = load(R1, old="{{bos_token}}")
    assert "<｜begin▁of▁sentence｜>" in _found(tokenizer, "bos-missing").evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert _is_clean(prompter)
    assert prompter.prompt_ids("1 + 1?")[:2] == [151646, 151644]
    assert any("begins every prompt" in change for change in prompter.changes)
    tokenizer.save_pretrained(tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        prompter.messages("1 + 1?"), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert ids == prompter.prompt_ids("1 + 1?")


def test_a_beginning_that_nothing_writes_is_a_warning_with_what_to_do(load) -> None:
    tokenizer = load(R1, old="{{bos_token}}", fresh=True)
    tokenizer.add_bos_token = False
    found = _found(tokenizer, "bos-missing")
    assert str(found.severity) == "warning"
    assert "if the model was trained with it" in found.advice


def test_a_template_that_writes_the_beginning_twice_is_in_the_way(load) -> None:
    prompter = make_prompter(
        load(R1, old="{{bos_token}}", new="{{bos_token}}{{bos_token}}"), tags=DEFAULT_TAGS
    )
    (found,) = inspect_prompter(prompter, PROBLEMS)
    assert found.code == "double-bos"
    assert "chat_template" in found.advice


@pytest.mark.parametrize("name", [QWEN, QWEN3])
def test_a_family_that_knows_no_beginning_misses_none(load, name) -> None:
    assert "bos-missing" not in _codes(inspect_template(load(name), DEFAULT_TAGS))


# -- what the prompt writes of the completion -----------------------------------------------------


@pytest.mark.parametrize(
    "asks",
    [
        r"'<｜Assistant｜><think>'",
        r"'<｜Assistant｜><think>\n'",
        r"'<｜Assistant｜><think>\n\n'",
        r"'<｜Assistant｜> <think>\n'",
        r"'<｜Assistant｜>' + '<think>' + '\n'",
        r"'<｜Assistant｜>'}}{{'<think>'}}{{'\n\n'",
        r"'<｜Assistant｜><reasoning>\n'",
    ],
)
def test_any_opener_is_told_and_nothing_of_it_stays(load, asks) -> None:
    plain = make_prompter(load(R1), tags=DEFAULT_TAGS)
    wanted, training = plain.render("1 + 1?"), rendered(plain.tokenizer, answered(TARGET))
    tokenizer = load(R1, old=R1_ASKS, new=R1_ASKS.replace("'<｜Assistant｜>'", asks))
    assert _codes(inspect_template(tokenizer, DEFAULT_TAGS))[0] == "template-opens-thinking"
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.render("1 + 1?") == wanted
    assert rendered(tokenizer, answered(TARGET)) == training
    assert _is_clean(prompter)


def test_an_opener_that_no_string_holds_is_cut_off_the_prompt_for_good(load, tmp_path) -> None:
    opened = r"{{- '<|im_start|>assistant\n' }}{%- set t = '<think>' %}{{- t + '\n' }}"
    prompter = make_prompter(load(QWEN, old=QWEN_ASKS, new=opened), tags=DEFAULT_TAGS)
    wanted = prompter.render("1 + 1?")
    assert wanted.endswith("<|im_start|>assistant\n")
    assert _is_clean(prompter)
    prompter.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert rendered(again, prompter.messages("1 + 1?"), add_generation_prompt=True) == wanted
    assert _is_clean(prompter.prefilled("<reasoning>\n"))


def test_a_text_put_into_the_models_mouth_is_told_and_taken_out(load) -> None:
    tokenizer = load(QWEN, old=QWEN_ASKS, new=r"{{- '<|im_start|>assistant\nSure, here it is:\n' }}")
    assert "'Sure, here it is:\\n'" in _found(tokenizer, "template-begins-turn").evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.render("1 + 1?").endswith("<|im_start|>assistant\n")
    assert _is_clean(prompter)


def test_qwen3_without_thinking_contradicts_a_format_that_thinks(load) -> None:
    prompter = make_prompter(load(QWEN3), tags=THINK, enable_thinking=False)
    (found,) = inspect_prompter(prompter, PROBLEMS)
    assert (found.code, str(found.severity)) == ("template-begins-turn", "broken")
    assert "'<think>\\n\\n</think>\\n\\n'" in found.evidence
    assert "prompt.enable_thinking=true" in found.advice
    assert inspect_prompter(make_prompter(load(QWEN3), tags=THINK, enable_thinking=True), PROBLEMS) == []


def test_an_empty_block_of_thoughts_stays_before_another_format_and_goes_before_its_own(load) -> None:
    default = "{%- if enable_thinking is defined and enable_thinking is false %}"
    always = {"old": default, "new": "{%- if true %}"}
    assert str(_found(load(QWEN3, **always), "template-begins-turn").severity) == "note"
    kept = make_prompter(load(QWEN3, **always), tags=DEFAULT_TAGS)
    assert kept.render("1 + 1?").endswith("</think>\n\n")
    assert _is_clean(kept)
    assert str(_found(load(QWEN3, **always), "template-begins-turn", THINK).severity) == "broken"
    gone = make_prompter(load(QWEN3, **always), tags=THINK)
    assert gone.render("1 + 1?").endswith("<|im_start|>assistant\n")
    assert inspect_prompter(gone, PROBLEMS) == []


# -- the model's turn ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asks"), [(QWEN, QWEN_ASKS), (QWEN3, QWEN_ASKS), (R1, "{{'<｜Assistant｜>'}}{% endif %}")]
)
def test_a_prompt_that_does_not_open_the_models_turn_is_told_and_opens_it(load, name, asks) -> None:
    wanted = make_prompter(load(name), tags=DEFAULT_TAGS).render("1 + 1?")
    tokenizer = load(name, old=asks, new="{% endif %}" if "endif" in asks else "")
    assert "opens the model's turn" in _found(tokenizer, "template-opens-no-turn").evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.render("1 + 1?") == wanted
    assert _is_clean(prompter)


def test_a_prompt_that_opens_the_turn_of_somebody_else_is_warned_of(load) -> None:
    tokenizer = load(QWEN, old=QWEN_ASKS, new=r"{{- '<|im_start|>user\n' }}")
    found = _found(tokenizer, "template-opens-no-turn")
    assert str(found.severity) == "warning"
    assert "<|im_start|>assistant" in found.evidence


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (
            QWEN,
            QWEN_TURN,
            QWEN_TURN.replace("'<|im_end|>'", "('' if message.role == 'assistant' else '<|im_end|>')"),
        ),
        (R1, "'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'", "'<｜Assistant｜>' + content"),
    ],
)
def test_a_template_that_never_ends_the_models_turn_is_told_and_ends_it(
    load, tmp_path, name, old, new
) -> None:
    tokenizer = load(name, old=old, new=new)
    found = _found(tokenizer, "end-missing")
    assert f"never teaches {tokenizer.eos_token}" in found.evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert _is_clean(prompter)
    tokenizer.save_pretrained(tmp_path)
    text = rendered(AutoTokenizer.from_pretrained(tmp_path), answered(TARGET))
    assert text.rstrip().endswith(TARGET + tokenizer.eos_token)


def test_a_tokenizer_without_an_end_token_takes_the_one_its_template_writes(load) -> None:
    tokenizer = load(QWEN)
    tokenizer.eos_token = None
    assert "'<|im_end|>'" in _found(tokenizer, "end-missing").advice
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert tokenizer.eos_token == "<|im_end|>"
    assert _is_clean(prompter)


@pytest.mark.parametrize("name", [QWEN, QWEN3, R1, R1_THINK])
def test_no_family_is_said_to_leave_its_turns_open_or_to_begin_them_twice(load, name) -> None:
    around = turns(load(name))
    assert around.missing == ""
    assert not around.has_other_mark
    assert around.begun == ("<think>\n" if name == R1_THINK else "")


# -- what the turns say --------------------------------------------------------------------------


def test_a_template_that_drops_the_system_turn_gets_the_instructions_in_the_users(load) -> None:
    said = r"{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    tokenizer = load(QWEN, old=said)
    assert "not in the rendered prompt" in _found(tokenizer, "template-ignores-system").evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.role == "user"
    assert prompter.text in prompter.render("1 + 1?")
    assert _is_clean(prompter)
    with pytest.raises(ModelError, match=r"prompt\.role is system, and the system turn is not"):
        make_prompter(load(QWEN, old=said), tags=DEFAULT_TAGS, role="system")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (r" | replace('\n\n', '\n')", r"the user turn is changed: after 'e forty-two\n' it says '\n  40"),
        (r" | replace('\n', '\r\n')", r"the rendered text '\r\n"),
        (" | replace('  ', ' ')", "the user turn is changed"),
        (" | upper", "the user turn is not in the rendered text"),
    ],
)
def test_a_template_that_changes_what_the_prompt_says_is_in_the_way(load, change, says) -> None:
    tokenizer = load(
        QWEN, old=QWEN_TURN, new=QWEN_TURN.replace("message.content", f"(message.content{change})")
    )
    findings = inspect_template(tokenizer, DEFAULT_TAGS)
    assert any(found.code == "template-rewrites-text" and says in found.evidence for found in findings)
    left = inspect_prompter(make_prompter(tokenizer, tags=DEFAULT_TAGS), PROBLEMS)
    assert _codes(left) == ["template-rewrites-text"]
    assert left[0].is_serious


def test_a_template_that_changes_only_the_models_turns_changes_no_target(load) -> None:
    new = QWEN_TURN.replace(
        "message.content",
        r"(message.content | replace('\n\n', '\n') if message.role == 'assistant' else message.content)",
    )
    tokenizer = load(QWEN, old=QWEN_TURN, new=new)
    found = _found(tokenizer, "template-rewrites-text")
    assert "the assistant turn is changed" in found.evidence
    assert found.advice == "warmstart tokenises targets without the template"
    assert _is_clean(make_prompter(tokenizer, tags=DEFAULT_TAGS))


def test_white_space_taken_off_a_turn_is_a_note_because_no_target_has_any(load) -> None:
    tokenizer = load(
        QWEN, old=QWEN_TURN, new=QWEN_TURN.replace("message.content", "(message.content | trim)")
    )
    assert str(_found(tokenizer, "template-rewrites-text").severity) == "note"
    assert _is_clean(make_prompter(tokenizer, tags=DEFAULT_TAGS))


def test_reasoning_cut_out_of_every_turn_is_told_and_no_target_loses_it(load) -> None:
    cut = "(message.content.split('</reasoning>')[-1] if message.role == 'assistant' else message.content)"
    tokenizer = load(QWEN, old=QWEN_TURN, new=QWEN_TURN.replace("message.content", cut))
    assert str(_found(tokenizer, "template-drops-reasoning").severity) == "broken"
    assert _is_clean(make_prompter(tokenizer, tags=DEFAULT_TAGS))


def test_qwen3_puts_an_empty_block_before_the_last_turn_of_training_text(load) -> None:
    found = _found(load(QWEN3), "template-rewrites-text")
    assert "'<think>\\n\\n</think>\\n\\n'" in found.evidence
    assert str(found.severity) == "warning"


def test_an_exemplar_whose_reasoning_the_template_drops_is_in_the_way(load) -> None:
    for tags, left in ((THINK, ["template-drops-reasoning"]), (DEFAULT_TAGS, [])):
        prompter = make_prompter(load(QWEN3), tags=tags)
        shown = replace(prompter, exemplar=("1 + 1?", prompter.target("1 + 1 = 2", "2")))
        assert _codes(inspect_prompter(shown, PROBLEMS)) == left


# -- the tokens ----------------------------------------------------------------------------------


def test_tags_that_decoding_skips_are_in_the_way(load) -> None:
    tokenizer = load(QWEN3, fresh=True)
    tokenizer.add_tokens([AddedToken("<think>", special=True, normalized=False)], special_tokens=True)
    assert "<think> is a special token" in _found(tokenizer, "tags-skipped", THINK).evidence
    assert "tags-skipped" in _codes(inspect_prompter(make_prompter(tokenizer, tags=THINK), PROBLEMS))
    assert "tags-skipped" not in _codes(inspect_template(tokenizer, DEFAULT_TAGS))


def test_an_end_that_decoding_leaves_in_the_text_is_in_the_way(load) -> None:
    prompter = make_prompter(load(QWEN), tags=DEFAULT_TAGS, end_token="</tool_call>")
    (found,) = inspect_prompter(prompter, PROBLEMS)
    assert found.code == "text-not-kept"
    assert "'</tool_call>' ends the turn and is no special token" in found.evidence
    assert "model.end_token" in found.advice


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.Replace("</", " </"),
        normalizers.Lowercase(),
        normalizers.Prepend(" "),
        normalizers.Strip(),
    ],
    ids=["spaces before a tag", "lower case", "a space in front", "outer white space off"],
)
def test_a_tokenizer_that_changes_a_text_is_in_the_way(load, normalizer) -> None:
    tokenizer = load(QWEN, fresh=True)
    tokenizer.backend_tokenizer.normalizer = normalizer
    left = inspect_prompter(make_prompter(tokenizer, tags=DEFAULT_TAGS), PROBLEMS)
    assert _codes(left) == ["text-not-kept"]


def test_letters_that_the_tokenizer_composes_are_no_fault(load) -> None:
    decomposed = Problem("accents", "Zoe\u0308 has 2 pens, how many?", "2", "Zoe\u0308 has 2")
    assert inspect_prompter(make_prompter(load(QWEN), tags=DEFAULT_TAGS), [decomposed]) == []


def test_a_decoder_that_takes_out_spaces_is_told_and_set_right(load) -> None:
    tokenizer = load(QWEN, fresh=True)
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    assert "clean_up_tokenization_spaces" in _found(tokenizer, "text-not-kept").advice
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert tokenizer.decode(tokenizer("40 , 2 .")["input_ids"]) == "40 , 2 ."
    assert _is_clean(prompter)


# -- no template ---------------------------------------------------------------------------------


def test_a_qwen_base_without_a_template_gets_chatml_and_ends_turns_with_its_own_token(load) -> None:
    tokenizer = load(QWEN)
    tokenizer.chat_template = None
    tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"
    assert "marks of ChatML" in _found(tokenizer, "template-missing").evidence
    prompter = make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert prompter.render("1 + 1?") == (
        f"<|im_start|>system\n{prompter.text}<|im_end|>\n"
        "<|im_start|>user\n1 + 1?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert _is_clean(prompter)
    assert tokenizer.decode([prompter.end_id]) == "<|endoftext|>"


def test_a_tokenizer_without_a_template_or_known_marks_is_refused_with_what_to_write(load) -> None:
    tokenizer = load(R1)
    tokenizer.chat_template = None
    assert "chat_template.jinja" in _found(tokenizer, "template-missing").advice
    with pytest.raises(ModelError, match="no chat template") as refused:
        make_prompter(tokenizer, tags=DEFAULT_TAGS)
    assert "chat_template.jinja" in refused.value.hint


def test_a_template_that_cannot_be_rendered_is_told_and_refused(load) -> None:
    tokenizer = load(QWEN)
    tokenizer.chat_template += "{% if %}"
    found = _found(tokenizer, "template-missing")
    assert "TemplateSyntaxError" in found.evidence
    with pytest.raises(ModelError, match="cannot be rendered: TemplateSyntaxError"):
        make_prompter(tokenizer, tags=DEFAULT_TAGS)


# -- the command ---------------------------------------------------------------------------------


def _check(folder, *options: str):
    command = ["check", "deepseek-r1-distill-qwen-1.5b-gsm8k", "--template", "--set", f"model.name={folder}"]
    return CliRunner().invoke(app, [*command, *options])


def test_check_shows_the_cause_before_it_refuses_a_tokenizer_without_a_template(load, tmp_path) -> None:
    tokenizer = load(R1)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    shown = _check(tmp_path)
    assert shown.exit_code != 0
    assert "broken: template-missing:" in shown.output


def test_check_says_that_qwen3_without_thinking_is_in_the_way_of_think_tags(shared_data) -> None:
    shown = _check(
        shared_data / "tokenizers" / QWEN3,
        *("--set", "prompt.enable_thinking=false", "--set", "prompt.reasoning_tag=think"),
    )
    assert "left: broken: template-begins-turn" in shown.output
    assert "the template is in the way" in shown.output


def test_check_names_a_planted_fault_in_json_before_and_after(load, tmp_path) -> None:
    tokenizer = load(
        QWEN, old=QWEN_TURN, new=QWEN_TURN.replace("message.content", "(message.content | upper)")
    )
    tokenizer.save_pretrained(tmp_path)
    template = json.loads(_check(tmp_path, "--json").stdout)["template"]
    assert "template-rewrites-text" in [found["code"] for found in template["before"]]
    assert [found["code"] for found in template["after"]] == ["template-rewrites-text"]


def test_a_template_of_another_family_is_named_and_left_to_its_owner(load) -> None:
    """Llama's marks are no tokens of Qwen's; Qwen's own template, and R1's, write marks that are."""
    llama = (
        "{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' "
        "+ message.content + '<|eot_id|>' }}{% endfor %}"
    )
    tokenizer = load(QWEN)
    tokenizer.chat_template = llama
    found = inspect_template(tokenizer, DEFAULT_TAGS)
    assert found[0].code == "template-foreign"
    assert "<|start_header_id|>" in found[0].evidence
    for name in (QWEN, QWEN3, R1, R1_THINK):
        assert "template-foreign" not in _codes(inspect_template(load(name), DEFAULT_TAGS))


def test_a_plain_template_written_on_purpose_is_not_foreign(load) -> None:
    tokenizer = load(QWEN)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    assert "template-foreign" not in _codes(inspect_template(tokenizer, DEFAULT_TAGS))
