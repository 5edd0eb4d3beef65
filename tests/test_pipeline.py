from __future__ import annotations

import json

import pytest
from tests.tiny_models import save_random_model

from warmstart import pipeline
from warmstart.config.schema import list_recipes, load_recipe, recipe_text
from warmstart.errors import RunDirError
from warmstart.pipeline import run
from warmstart.progress import Quiet

SHORT = [
    "eval.problems=8",
    "eval.samples=2",
    "eval.unseen_problems=4",
    "probe.problems=8",
    "probe.completions=4",
    "probe.cure=gold-warm-start",
    "sft.problems=32",
    "sft.steps=3",
    "sft.check_every=0",
    "grpo.steps=2",
    "grpo.problems_per_step=2",
    "grpo.group_size=4",
    "grpo.micro_batch=8",
    "grpo.check_every=1",
    "trackers=[tensorboard]",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One short run of every stage on the tiny base."""
    return run(
        load_recipe("tiny", SHORT),
        tmp_path_factory.mktemp("run") / "tiny",
        recipe_yaml=recipe_text("tiny"),
        # Three steps of warm start teach nothing, and the diagnosis says so.
        force=True,
    )


def test_a_run_leaves_the_files_of_the_contract(finished) -> None:
    expected = {
        "recipe.yaml", "resolved.json", "environment.json", "stages.jsonl", "metrics.jsonl", "summary.json", "report.html",
        "warmup/adapter/adapter_model.safetensors", "grpo/adapter/adapter_model.safetensors",
        "eval/base.json", "eval/warmup.json", "eval/grpo.json", "eval/base.parquet", "eval/warmup.parquet", "eval/grpo.parquet",
        "rollouts/step-000001.parquet", "rollouts/step-000002.parquet",
    }  # fmt: skip
    assert {name for name in expected if not (finished.path / name).is_file()} == set()


def test_the_summary_has_the_contracts_fields_and_the_counts_of_the_recipe(finished) -> None:
    summary = finished.read_json(finished.summary_path)
    assert {"verdicts", "cures", "eval", "paired", "signal", "cost", "seed", "versions"} <= set(summary)
    assert list(summary["eval"]) == ["base", "warmup", "grpo"]
    for result in summary["eval"].values():
        assert result["n"] == 8
        assert result["sampled"]["samples"] == 2
        for mode in ("greedy", "sampled"):
            for measure in ("strict", "lenient", "format"):
                rate = result[mode][measure]
                assert rate["ci95"][0] <= rate["value"] <= rate["ci95"][1]
    assert summary["cost"]["generated_tokens"] > 0
    assert summary["cost"]["peak_rss_gb"] > 0


def test_every_step_is_in_the_tracker_with_our_metrics_under_our_name(finished) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.path / "grpo" / "tensorboard")).Reload()
    names = set(events.Tags()["scalars"])
    assert {"train/warmstart/live_share", "train/warmstart/all_fail_share", "train/reward"} <= names
    assert [name for name in names if "signal/" in name or "time/" in name] == []
    told = [scalar.value for scalar in events.Scalars("train/warmstart/live_share")]
    assert told == pytest.approx([line["live_share"] for line in finished.read_metrics("grpo")])
    held_out = events.Scalars("train/warmstart/held_out_strict")
    assert [scalar.step for scalar in held_out] == [1, 2]
    assert [line["held_out_strict"] for line in finished.read_metrics("grpo")] == pytest.approx(
        [scalar.value for scalar in held_out]
    )


def test_the_adapters_have_cards_and_the_summary_says_gain_grading_and_overlap(finished) -> None:
    summary = finished.read_json(finished.summary_path)
    for folder in (finished.warmup_adapter, finished.grpo_adapter):
        assert "## Measured" in (folder / "README.md").read_text()
    assert [(gain["a"], gain["b"], gain["mode"]) for gain in summary["gain"]][::2] == [
        ("base", "warmup", "greedy"), ("base", "grpo", "greedy"), ("warmup", "grpo", "greedy"),
    ]  # fmt: skip
    assert set(summary["overlap"]["by_source"]) == {"questions", "rationales", "SFT targets"}
    assert summary["eval"]["base"]["grading"]["completions"] == 8 * 3
    assert not list((finished.path / "eval").glob("*.parts"))


def test_training_lines_come_in_order_with_the_signal_of_every_step(finished) -> None:
    assert [line["step"] for line in finished.read_metrics("sft")] == [1, 2, 3]
    lines = finished.read_metrics("grpo")
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert set(line["rewards"]) == {
            "easy_reward_func", "xmlcount_reward_func", "int_reward_func", "soft_format_reward_func",
            "strict_format_reward_func", "correctness_reward_func",
        }  # fmt: skip
        assert 0 <= line["live_share"] + line["all_fail_share"] + line["all_pass_share"] <= 1 + 1e-9
        assert line["tokens_per_s"] > 0


def test_the_same_command_again_does_nothing_twice(finished) -> None:
    before = finished.stages_path.read_text()
    run(load_recipe("tiny", SHORT), finished.path, recipe_yaml=recipe_text("tiny"))
    assert finished.stages_path.read_text() == before


def test_another_recipe_in_the_same_directory_is_refused_with_the_difference(finished) -> None:
    with pytest.raises(RunDirError, match=r"grpo\.steps"):
        run(load_recipe("tiny", [*SHORT, "grpo.steps=7"]), finished.path, recipe_yaml=recipe_text("tiny"))


def test_a_run_that_broke_off_goes_on_after_the_last_finished_stage(finished, tmp_path, monkeypatch) -> None:
    def broken(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "grpo", broken)
        with pytest.raises(KeyboardInterrupt):
            run(load_recipe("tiny", SHORT), tmp_path / "run", recipe_yaml=recipe_text("tiny"), force=True)
    stopped = [
        json.loads(line)["stage"] for line in (tmp_path / "run" / "stages.jsonl").read_text().splitlines()
    ]
    assert stopped == ["data", "probe", "eval-base", "sft", "eval-warmup"]
    folder = run(load_recipe("tiny", SHORT), tmp_path / "run", recipe_yaml=recipe_text("tiny"), force=True)
    assert list(folder.finished_stages()) == [*stopped, "grpo", "eval-grpo"]
    ends = [f.read_json(f.summary_path)["eval"] for f in (finished, folder)]
    assert ends[0] == ends[1], "on CPU a continued run ends where an uninterrupted one does"


REAL = [name for name in list_recipes() if not name.endswith("tiny")]


@pytest.mark.parametrize("name", REAL)
def test_every_real_recipe_trains_three_sft_and_three_grpo_steps_on_its_architecture(
    name, shared_data, tmp_path
) -> None:
    wanted = load_recipe(name)
    model = save_random_model(wanted.model.name, shared_data, tmp_path / "model")
    changes = [
        f"model.name={model}",
        f"data.path={shared_data / 'gsm8k'}",
        "data.train_problems=24",
        "eval.problems=4",
        "sft.problems=12",
        "probe.cure=gold-warm-start",
        "probe.problems=8",
        "probe.completions=2",
        "sft.steps=3",
        "sft.check_every=0",
        "sft.batch_size=2",
        "sft.micro_batch=1",
        "lora.rank=4",
        "grpo.steps=3",
        "grpo.problems_per_step=1",
        "grpo.group_size=4",
        "grpo.micro_batch=4",
    ]
    recipe = load_recipe(name, changes)
    folder = run(recipe, tmp_path / "run", recipe_yaml=recipe_text(name), until="data")
    facts = pipeline.sft(pipeline.Run(recipe, folder, Quiet(), force=True))
    assert (facts["rows"], facts["steps"]) == (12, 3)
    # Random weights never stop by themselves: a low cap keeps the test short.
    capped = load_recipe(name, [*changes, "grpo.max_completion_tokens=12"])
    assert pipeline.grpo(pipeline.Run(capped, folder, Quiet()))["steps"] == 3
    assert len(folder.read_metrics("grpo")) == 3
    assert (folder.grpo_adapter / "adapter_model.safetensors").is_file()
