from __future__ import annotations

import bitsandbytes
import pytest
import torch

from warmstart.data.synthetic import generate
from warmstart.errors import DataError, TrainingError
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.progress import Quiet
from warmstart.records import Problem
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.sft import check_rows, show_example, supervise, train_sft

PENS = Problem("p1", "Ana has 3 boxes of 4 pens. How many pens?", "12", "There are 3*4=12 pens.")


@pytest.fixture
def prompter():
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


def test_only_the_target_and_its_end_of_turn_carry_loss(prompter) -> None:
    (row,) = supervise(prompter, [PENS], max_tokens=500).rows
    supervised = [
        token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100
    ]
    target = "<reasoning>\nThere are 3*4=12 pens.\n</reasoning>\n<answer>\n12\n</answer>"
    assert prompter.tokenizer.decode(supervised) == target + prompter.tokenizer.eos_token
    prompt = row["input_ids"][: len(row["input_ids"]) - len(supervised)]
    assert prompter.tokenizer.decode(prompt) == prompter.render(PENS.question)


def test_the_example_shows_the_supervised_part_in_brackets(prompter) -> None:
    (row,) = supervise(prompter, [PENS], max_tokens=500).rows
    shown = show_example(prompter, row)
    assert shown.startswith(prompter.render(PENS.question) + "⟦<reasoning>")
    assert shown.endswith("</answer><|im_end|>⟧")


def test_a_row_that_would_be_cut_is_left_out_and_counted(prompter) -> None:
    long = Problem("long", "How many?", "1", "word " * 200 + "1")
    supervised = supervise(prompter, [PENS] * 100 + [long], max_tokens=150)
    assert (len(supervised.rows), supervised.cut) == (100, 1)


def test_more_than_one_percent_cut_rows_are_refused(prompter) -> None:
    long = Problem("long", "How many?", "1", "word " * 200 + "1")
    with pytest.raises(DataError, match="2 of 102 SFT targets are longer than 150 tokens"):
        supervise(prompter, [PENS] * 100 + [long] * 2, max_tokens=150)


def test_a_problem_without_a_rationale_is_named(prompter) -> None:
    with pytest.raises(DataError, match="'p2' has no rationale"):
        supervise(prompter, [Problem("p2", "?", "1")], max_tokens=500)


def test_a_target_that_would_not_earn_full_marks_is_refused(prompter) -> None:
    with pytest.raises(DataError, match=r"'p3': .*<answer> occurs more than once"):
        supervise(prompter, [Problem("p3", "?", "1", "It is <answer>2</answer>.")], max_tokens=500)
    with pytest.raises(DataError, match="'p4' would not earn full marks"):
        supervise(prompter, [Problem("p4", "?", "nan", "It is no number.")], max_tokens=500)


def test_padding_that_ends_the_turn_is_refused(prompter) -> None:
    rows = supervise(prompter, [PENS], max_tokens=500).rows
    check_rows(prompter, rows)
    prompter.tokenizer.pad_token = prompter.tokenizer.eos_token
    with pytest.raises(TrainingError, match="would not learn to stop"):
        check_rows(prompter, rows)


def test_qlora_trains_an_adapter_on_a_four_bit_base_and_the_loss_falls(prompter, tmp_path) -> None:
    base = load_base("tiny", quantization="nf4")
    assert isinstance(base.model.layers[0].self_attn.q_proj, bitsandbytes.nn.Linear4bit)
    assert base.config.quantization_config.bnb_4bit_use_double_quant
    frozen = base.model.layers[0].mlp.up_proj.weight.detach().clone()
    model = add_adapter(base, rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)
    lines: list[dict] = []
    facts = train_sft(
        model,
        prompter,
        supervise(prompter, generate(32, seed=0, split="train"), max_tokens=500).rows,
        folder=tmp_path / "adapter",
        steps=6,
        batch_size=8,
        micro_batch=4,
        learning_rate=5e-3,
        warmup_ratio=0.0,
        gradient_checkpointing=False,
        seed=0,
        trl={},
        progress=Quiet(),
        sink=lines.append,
    )
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert facts["rows"] == 32
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "adapter" / "chat_template.jinja").is_file()
    assert torch.equal(model.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight, frozen)
