"""The probe on the tiny base: what stock-TRL users call, and what the command line says."""

from __future__ import annotations

import json
import random

import pytest
import trl
from datasets import Dataset
from typer.testing import CliRunner

from warmstart import SignalWatch, probe
from warmstart.cli import app
from warmstart.data import DataSplits
from warmstart.data.synthetic import generate
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.pipeline.probing import data_findings
from warmstart.probing.probe import ProbeSettings
from warmstart.rewards.functions import correctness_reward_func, reward_functions, strict_format_reward_func
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.grpo import prompt_rows

SMALL = ProbeSettings(problems=24, completions=4, cap=112, batch_size=96)
REWARDS = [strict_format_reward_func, correctness_reward_func]


@pytest.fixture(scope="module")
def base():
    return load_base("tiny")


@pytest.fixture(scope="module")
def prompter():
    return make_prompter(load_tokenizer("tiny"), tags=DEFAULT_TAGS)


@pytest.fixture(scope="module")
def rows(prompter):
    return prompt_rows(prompter, generate(24, seed=3, split="train"))


def test_the_tiny_base_is_a_cold_start_that_can_be_cured(base, prompter, rows) -> None:
    found = probe(base, prompter.tokenizer, rows, REWARDS, settings=SMALL)
    assert str(found.diagnosis.decision) == "FIX"
    assert found.diagnosis.findings[0].code == "no-format"
    assert found.facts.signal()["lenient"] > 0.3
    written = found.to_dict()
    assert written["rates"]["format"]["below"] == pytest.approx(3 / 96)
    assert json.loads(json.dumps(written)) == written
    assert set(found.solve_rates) == {row["problem_id"] for row in rows}
    assert found.lengths["p50"] <= found.lengths["p95"] <= found.lengths["advised_cap"]


def test_prompts_may_be_texts_too(base, prompter, rows) -> None:
    texts = [{**row, "prompt": prompter.render(row["question"])} for row in rows]
    settings = ProbeSettings(problems=8, completions=2, cap=64)
    chat = probe(base, prompter.tokenizer, rows, REWARDS, settings=settings)
    text = probe(base, prompter.tokenizer, texts, REWARDS, settings=settings)
    assert chat.facts.texts == text.facts.texts


def test_shuffled_golds_are_named_and_not_called_too_hard(base, prompter) -> None:
    problems = generate(48, seed=3, split="train")
    golds = [problem.gold for problem in problems]
    random.Random(0).shuffle(golds)
    rows = [{**row, "answer": gold} for row, gold in zip(prompt_rows(prompter, problems), golds, strict=True)]
    found = probe(
        base, prompter.tokenizer, rows, REWARDS, settings=ProbeSettings(problems=48, completions=8, cap=112)
    )
    assert found.diagnosis.findings[0].code == "gold-contradicted"
    assert str(found.diagnosis.decision) == "STOP"


def test_a_reward_that_raises_comes_first(base, prompter, rows) -> None:
    def broken(completions, **kwargs):
        raise KeyError("gold")

    found = probe(base, prompter.tokenizer, rows, [broken, correctness_reward_func], settings=SMALL)
    assert found.diagnosis.findings[0].code == "reward-raises"
    assert str(found.diagnosis.decision) == "STOP"


def test_a_missing_gold_column_comes_first(base, prompter, rows) -> None:
    def always(completions, **kwargs):
        return [0.0] * len(completions)

    bare = [{"prompt": row["prompt"]} for row in rows]
    found = probe(base, prompter.tokenizer, bare, [always], settings=SMALL)
    assert found.diagnosis.findings[0].code == "column-missing"


def test_a_short_cap_is_named(base, prompter, rows) -> None:
    settings = ProbeSettings(problems=24, completions=4, cap=16)
    found = probe(base, prompter.tokenizer, rows, REWARDS, settings=settings)
    assert found.diagnosis.findings[0].code == "truncated"


def test_the_command_says_fix_with_exit_three_and_writes_json(tmp_path) -> None:
    plot = tmp_path / "forecast.html"
    result = CliRunner().invoke(
        app,
        [
            "probe",
            "tiny",
            "--json",
            "--plot",
            str(plot),
            "--set",
            "probe.problems=16",
            "--set",
            "probe.completions=4",
        ],
    )
    assert result.exit_code == 3, result.output
    found = json.loads(result.stdout)
    assert found["verdict"] == "FIX"
    assert found["findings"][0]["code"] == "no-format"
    assert [f["group_size"] for f in found["forecast"]] == [2, 4, 8, 16, 32, 64]
    assert (
        found["rewards"] | {"correctness_reward_func": 0.0, "strict_format_reward_func": 0.0}
        == found["rewards"]
    )
    assert "plotly" in plot.read_text()


def test_the_watch_works_in_trls_own_trainer_and_names_the_cold_start(prompter, rows, tmp_path) -> None:
    said: list[str] = []
    watch = SignalWatch(say=said.append)
    model = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=list(reward_functions(DEFAULT_TAGS)),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=12,
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=100,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=prompter.tokenizer,
        callbacks=[watch],
    )
    trainer.train()
    assert watch.events[0]["code"] == "no-format"
    assert trainer.state.global_step < 12
    assert any("stopped at step" in line for line in said)


def test_the_probe_looks_at_the_template_it_is_given(base, prompter, rows) -> None:
    tokenizer = load_tokenizer("tiny")
    tokenizer.chat_template = tokenizer.chat_template.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    settings = ProbeSettings(problems=8, completions=2, cap=32)
    found = probe(base, tokenizer, rows, REWARDS, settings=settings)
    assert found.diagnosis.findings[0].code == "template-opens-thinking"
    assert str(found.diagnosis.decision) == "FIX"


def test_a_probe_samples_as_the_trainers_arguments_say() -> None:
    args = trl.GRPOConfig(
        num_generations=4,
        max_completion_length=77,
        temperature=0.7,
        top_k=20,
        generation_kwargs={"repetition_penalty": 1.3},
        use_cpu=True,
        bf16=False,
    )
    settings = ProbeSettings.of(args, problems=9)
    assert (settings.group_size, settings.cap, settings.problems) == (4, 77, 9)
    assert settings.sampler == {
        "temperature": 0.7,
        "top_p": args.top_p,
        "top_k": 20,
        "min_p": None,
        "repetition_penalty": 1.3,
    }


def test_held_out_problems_in_training_are_in_the_verdict() -> None:
    train, held_out = generate(40, seed=3, split="train"), generate(10, seed=3, split="eval")
    assert data_findings(DataSplits(train, held_out, [])) == []
    (found,) = data_findings(DataSplits([*train, *held_out[:3]], held_out, []))
    assert (found.code, found.numbers["problems"]) == ("overlap", 3)
