"""Every family with its real tokenizer: prompts, targets, stop tokens, and a probe, SFT and GRPO on random weights."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from tiny_models import is_base, save_random_model
from warmstart import pipeline
from warmstart.cli import app
from warmstart.config.families import advice, family_of
from warmstart.config.schema import load_recipe, recipe_text
from warmstart.models import load_base, stop_ids
from warmstart.pipeline import load_prompter, probe_recipe, run
from warmstart.progress import Quiet
from warmstart.records import Problem
from warmstart.tags import parse
from warmstart.templates.plumbing import inspect_prompter
from warmstart.templates.turns import open_block, turns

R1 = "deepseek-r1-distill-qwen-1.5b-gsm8k"
R1_THINK = "deepseek-r1-distill-qwen-1.5b-think-gsm8k"
FIRST, LATER = "deepseek-r1-distill-qwen", "deepseek-r1-distill-qwen-think"
CASES = {
    "qwen2.5 instruct": ("qwen2.5-1.5b-gsm8k", "qwen2.5-0.5b-instruct", []),
    "qwen2.5 base": ("qwen2.5-1.5b-base-gsm8k", "qwen2.5-0.5b-instruct", []),
    "qwen3, thinking off": ("qwen3-0.6b-gsm8k", "qwen3-0.6b", []),
    "qwen3, thinking on, its own tags": (
        "qwen3-0.6b-gsm8k",
        "qwen3-0.6b",
        ["prompt.enable_thinking=true", "prompt.reasoning_tag=think"],
    ),
    "r1, first template": (R1, FIRST, []),
    "r1, later template": (R1, LATER, []),
    "r1, first template, its own tags": (R1_THINK, FIRST, []),
    "r1, later template, its own tags": (R1_THINK, LATER, []),
}
ENDS = {"qwen2.5 instruct": 151645, "qwen2.5 base": 151643, "qwen3": 151645, "r1": 151643}
HARD = Problem(
    "hard",
    "Zoë has 1,234 “pens”\n\n  and\tÅke 2 – how many?\u00a0数学",
    "1236",
    "1,234 + 2 = 1,236;\n\n\tso  “1236” — naïve, but\u00a0right.",
)


@pytest.fixture(params=CASES, scope="module")
def family(request, shared_data, tmp_path_factory):
    """The family's name and a prompter made as a run makes it, from the real tokenizer."""
    recipe_name, tokenizer_name, changes = CASES[request.param]
    folder = shared_data / "tokenizers" / tokenizer_name
    if is_base(load_recipe(recipe_name).model.name):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"
        folder = tmp_path_factory.mktemp("base")
        tokenizer.save_pretrained(folder)
    return request.param, load_prompter(load_recipe(recipe_name, [*changes, f"model.name={folder}"]))


def test_prompt_and_target_survive_byte_for_byte_and_the_model_writes_the_whole_format(family) -> None:
    name, prompter = family
    assert inspect_prompter(prompter, [HARD]) == []
    tokenizer = prompter.tokenizer
    prompt, target = prompter.render(HARD.question), prompter.target(HARD.rationale, HARD.gold)
    assert HARD.question in prompt
    assert tokenizer.decode(prompter.prompt_ids(HARD.question)) == prompt
    ids = prompter.target_ids(target)
    assert tokenizer.decode(ids[:-1]) == target
    assert parse(tokenizer.decode(ids, skip_special_tokens=True), prompter.tags).strict
    assert open_block(turns(tokenizer).begun) is None, "nothing is opened for the model"
    assert target.startswith("<think>\n" if "its own tags" in name else "<reasoning>\n")
    assert prompter.role == ("user" if name.startswith("r1") else "system")


def test_the_end_of_turn_is_the_one_the_model_knows_is_taught_and_does_not_pad(family) -> None:
    name, prompter = family
    expected = next(end for kind, end in ENDS.items() if name.startswith(kind))
    assert prompter.end_id == expected
    assert prompter.tokenizer.pad_token_id != expected
    assert prompter.target_ids("x")[-1] == expected


def test_the_repaired_template_is_the_one_that_is_saved(family, tmp_path) -> None:
    _, prompter = family
    prompter.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    shown = again.apply_chat_template(prompter.messages("1 + 1?"), tokenize=False, add_generation_prompt=True)
    assert shown == prompter.render("1 + 1?")
    assert again.pad_token_id == prompter.tokenizer.pad_token_id


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_probe_and_steps_of_sft_and_grpo_go_through(case, shared_data, tmp_path) -> None:
    recipe_name, tokenizer, own = CASES[case]
    name = load_recipe(recipe_name).model.name
    model = save_random_model(name, shared_data, tmp_path / "model", tokenizer_name=tokenizer)
    changes = [
        *own, f"model.name={model}", f"data.path={shared_data / 'gsm8k'}", "data.train_problems=24", "eval.problems=4",
        "eval.batch_size=16", "sft.problems=12", "probe.cure=gold-warm-start", "probe.problems=8", "probe.completions=2",
        "sft.steps=2", "sft.check_every=0", "sft.batch_size=2", "sft.micro_batch=1", "lora.rank=4", "grpo.steps=2",
        "grpo.problems_per_step=1", "grpo.group_size=4", "grpo.micro_batch=4",
    ]  # fmt: skip
    # Random weights never stop by themselves: a low cap keeps the test short; SFT needs room for its targets.
    whole, short = (
        load_recipe(recipe_name, [*changes, *more]) for more in ([], ["grpo.max_completion_tokens=12"])
    )
    found = probe_recipe(short, None)
    assert str(found.diagnosis.decision) in ("FIX", "STOP"), "random weights do not write the format"
    folder = run(whole, tmp_path / "run", recipe_yaml=recipe_text(recipe_name), until="data")
    assert pipeline.sft(pipeline.Run(whole, folder, Quiet(), force=True))["steps"] == 2
    assert pipeline.grpo(pipeline.Run(short, folder, Quiet()))["steps"] == 2
    saved = AutoTokenizer.from_pretrained(folder.grpo_adapter)
    assert open_block(turns(saved).begun) is None
    expected = next(end for kind, end in ENDS.items() if case.startswith(kind))
    assert expected in stop_ids(load_base(str(model)), saved)


def test_a_family_is_told_by_its_name() -> None:
    assert family_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B").name == "DeepSeek-R1-Distill-Qwen"
    assert family_of("Qwen/Qwen3-0.6B").name == "Qwen3"
    assert family_of("tiny") is None
    assert is_base("Qwen/Qwen2.5-1.5B")


@pytest.mark.parametrize(
    ("recipe", "override", "words"),
    [
        (R1, "eval.temperature=1.0", "advise temperature 0.6 and top-p 0.95"),
        (R1, "prompt.role=system", "advise against a system prompt"),
        (R1, "grpo.max_completion_tokens=512", "cuts it off"),
        ("qwen3-0.6b-gsm8k", "prompt.enable_thinking=null", "prompt.enable_thinking=false"),
        ("qwen2.5-1.5b-base-gsm8k", "model.end_token=<|im_end|>", "never learnt"),
    ],
)
def test_check_says_where_a_recipe_leaves_the_makers_advice(recipe, override, words) -> None:
    assert list(advice(load_recipe(R1))) == []
    shown = CliRunner().invoke(app, ["check", recipe, "--set", override]).stdout
    assert f"{words}" in shown
    assert "note: " in shown
