from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from warmstart.cli import app
from warmstart.cli.painting import Painter
from warmstart.config.schema import load_recipe, recipe_text, resolved
from warmstart.models import load_base, load_tokenizer
from warmstart.rollouts import generate
from warmstart.rollouts.streaming import stream_text
from warmstart.runs.directory import RunDir
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter

PIECES = [
    "<rea",
    "soning>",
    "<reasoning>",
    "</reasoning>",
    "<",
    "answer>",
    "<answer>",
    "</answer>",
    "4 < 5",
    "\n",
    "数",
]


def _painted(pieces):
    painter = Painter(DEFAULT_TAGS)
    return [part for piece in pieces for part in painter.feed(piece)] + list(painter.rest())


def test_tags_reasoning_and_answer_are_told_apart_however_the_text_is_cut() -> None:
    text = "a<reasoning>\n1 < 2\n</reasoning>\n<answer>\n12\n</answer>"
    for size in (1, 3, 7, len(text)):
        parts = _painted([text[at : at + size] for at in range(0, len(text), size)])
        assert "".join(shown for _, shown in parts) == text
        assert [shown for kind, shown in parts if kind == "tag"] == list(DEFAULT_TAGS.exact)
        assert "".join(shown for kind, shown in parts if kind == "answer") == "\n12\n"
        assert "".join(shown for kind, shown in parts if kind == "reasoning") == "\n1 < 2\n"
        assert "".join(shown for kind, shown in parts if kind == "text") == "a\n"


@settings(max_examples=50)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=12))
def test_nothing_of_a_text_is_lost_or_added(pieces) -> None:
    assert "".join(shown for _, shown in _painted(pieces)) == "".join(pieces)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_streamed_completion_is_the_one_that_is_generated(temperature) -> None:
    model, prompter = load_base("tiny"), make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)
    prompt = prompter.prompt_ids("Ana has 3 boxes of 4 pens. How many pens does Ana have?")
    pieces = list(
        stream_text(model, prompter.tokenizer, prompt, temperature=temperature, max_tokens=40, seed=3)
    )
    assert len(pieces) > 5
    if not temperature:
        ((whole,),) = generate(model, prompter.tokenizer, [prompt], max_tokens=40, batch_size=1)
        assert "".join(pieces) == whole.text


def _run_dir(folder):
    recipe = load_recipe("tiny", ["grpo.max_completion_tokens=48"])
    return RunDir.create_or_resume(folder, json.loads(json.dumps(resolved(recipe))), recipe_text("tiny"))


def test_chat_shows_what_the_model_writes_and_the_verdict_when_the_right_answer_is_given(tmp_path) -> None:
    run = _run_dir(tmp_path / "run")
    asked = "Ana has 3 boxes of 4 pens. How many pens does Ana have? #### 12\n\n"
    shown = CliRunner().invoke(app, ["chat", str(run.path), "--stage", "base"], input=asked)
    assert shown.exit_code == 0, shown.output
    assert "right is 12" in shown.output
    assert "format: <reasoning> is missing" in shown.output


def test_chat_says_when_there_is_no_trained_model_yet(tmp_path) -> None:
    run = _run_dir(tmp_path / "run")
    refused = CliRunner().invoke(app, ["chat", str(run.path), "--question", "1 + 1?"])
    assert refused.exception.message.endswith("does not hold an adapter yet")
