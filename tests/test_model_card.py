"""The card beside an adapter says what summary.json says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.run_directories import finished_run

from warmstart.results import licences
from warmstart.results.model_card import write_cards


@pytest.fixture(scope="module")
def cards(tmp_path_factory) -> tuple[dict, dict[str, str]]:
    run = finished_run(tmp_path_factory.mktemp("card") / "run", problems=60)
    for folder in (run.warmup_adapter, run.grpo_adapter):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "README.md").write_text("[More Information Needed]")
    write_cards(run)
    return run.read_json(run.summary_path), {
        "warmup": (run.warmup_adapter / "README.md").read_text(),
        "grpo": (run.grpo_adapter / "README.md").read_text(),
    }


def test_the_card_has_the_measured_table_with_intervals_and_tests(cards) -> None:
    summary, texts = cards
    assert "More Information" not in texts["grpo"]
    for stage in ("base", "warmup", "grpo"):
        rate = summary["eval"][stage]["greedy"]["lenient"]
        low, high = (f"{100 * end:.1f}" for end in rate["ci95"])
        assert f"{100 * rate['value']:.1f} % [{low}, {high}]" in texts["grpo"]
    assert "after GRPO over after SFT, greedy, strict: " in texts["grpo"]
    assert "(paired-permutation)" in texts["grpo"]
    assert "pass@4: " in texts["grpo"]
    assert "over base: strict +" in texts["grpo"]


def test_the_card_shows_the_example_that_every_prompt_showed(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", problems=60)
    run.grpo_adapter.mkdir(parents=True)
    (run.grpo_adapter / "adapter_config.json").write_text("{}")
    summary = run.read_json(run.summary_path)
    shown = ["How many are 2 and 2?", "<answer>\n4\n</answer>"]
    run.write_json(run.summary_path, {**summary, "plan": {"prompt": "exemplar", "exemplar": shown}})
    write_cards(run)
    text = (run.grpo_adapter / "README.md").read_text()
    assert "one that is solved, a user turn\n\n```text\nHow many are 2 and 2?\n```" in text
    assert "and the model's\n\n```text\n<answer>\n4\n</answer>\n```" in text


def test_the_card_of_the_warm_start_claims_nothing_of_grpo(cards) -> None:
    _, texts = cards
    measured = texts["warmup"].partition("## Measured")[2].partition("## Use")[0]
    assert "after SFT" in measured
    assert "after GRPO" not in measured


def test_the_front_matter_is_what_the_hub_reads(cards) -> None:
    summary, texts = cards
    facts = yaml.safe_load(texts["grpo"].split("---\n")[1])
    assert (facts["base_model"], facts["library_name"], facts["license"]) == ("tiny", "peft", "apache-2.0")
    assert facts["tags"] == ["warmstart", "trl", "lora", "grpo"]
    value = facts["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert value == pytest.approx(100 * summary["eval"]["grpo"]["greedy"]["strict"]["value"], abs=0.01)


def test_the_card_says_data_overlap_licences_and_how_to_repeat_it(cards) -> None:
    _, texts = cards
    for said in (
        "400 problems to train on, 60 held out",
        "2 share eight words in a row",
        "- base `tiny`: apache-2.0 (ships with warmstart)",
        "name: tiny\nseed: 7",
        "- commit: not known",
        "- seed: 7",
        "torch 2.13.0",
    ):
        assert said in texts["grpo"], said


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", "apache-2.0"), ("Qwen/Qwen2.5-0.5B-Instruct", "apache-2.0"), ("Qwen/Qwen2.5-3B-Instruct", "other"),
        ("Qwen/Qwen3-0.6B", "apache-2.0"), ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "mit"), ("me/mine", "unknown"),
    ],
)  # fmt: skip
def test_the_licences_of_the_recipes_models_are_known_and_no_other_is_guessed(name, expected) -> None:
    assert licences.of_model(name).name == expected
    assert licences.of_model(name, "gpl-3.0") == ("gpl-3.0", "as the recipe says")


def test_a_model_folders_own_card_is_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-4.0\ntags: [x]\n---\n# A model\n")
    assert licences.of_model(str(tmp_path)).name == "cc-by-4.0"
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    assert licences.of_model(str(tmp_path)) == licences.UNKNOWN


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gsm8k", "mit"), ("synthetic", "apache-2.0"), ("data/SVAMP.json", "mit"), ("x", "unknown")],
)
def test_the_licences_of_known_data_sets(name, expected) -> None:
    assert licences.of_data(name).name == expected
