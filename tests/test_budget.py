from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from warmstart.budget.gpus import GPUS, gpu_named
from warmstart.budget.model_shapes import shape_of
from warmstart.budget.phases import CONTEXT_GB, SLACK, budget, changed, what_would_fit
from warmstart.cli import app
from warmstart.config.schema import list_recipes, load_recipe
from warmstart.errors import ConfigError


def _budget(name, gpu, *overrides, **lengths):
    recipe = load_recipe(name, overrides)
    return budget(recipe, shape_of(recipe.model.name), gpu_named(gpu), **lengths)


@pytest.mark.parametrize("written", ["rtx4090", "RTX 4090", "NVIDIA GeForce RTX 4090", "4090x"])
def test_a_gpu_is_found_however_its_name_is_written(written) -> None:
    if written == "4090x":
        with pytest.raises(ConfigError, match=r"--gpu '4090x' is not known"):
            gpu_named(written)
    else:
        assert gpu_named(written) is GPUS["rtx4090"]


def test_bfloat16_begins_with_capability_eight() -> None:
    kinds = {key: gpu.dtype for key, gpu in GPUS.items()}
    assert [key for key, dtype in kinds.items() if dtype == "float16"] == ["t4", "v100"]


def test_the_phases_are_those_of_the_run_and_the_peak_is_the_worst_of_them() -> None:
    found = _budget("qwen2.5-1.5b-gsm8k", "rtx4090")
    assert [phase.name for phase in found.phases] == ["probe and eval", "SFT", "GRPO sampling", "GRPO update"]
    assert found.worst.peak_gb == max(phase.memory.total for phase in found.phases) * SLACK / 1e9 + CONTEXT_GB
    without = _budget("qwen2.5-1.5b-gsm8k", "rtx4090", "sft.enabled=false")
    assert [phase.name for phase in without.phases] == ["probe and eval", "GRPO sampling", "GRPO update"]


def test_a_second_copy_of_the_weights_is_counted_only_where_the_run_would_make_it() -> None:
    # 13.05 GB of adapted layers: less than half of what an H100 has left, more than half of a 4090's.
    on_h100, on_4090 = (
        _budget("qwen2.5-7b-gsm8k", gpu).phases[2].memory.weights for gpu in ("h100", "rtx4090")
    )
    assert on_h100 - on_4090 == 2 * 6_525_288_448


def test_vllm_beside_the_trainer_reserves_its_share_of_the_gpu() -> None:
    found = _budget("qwen2.5-1.5b-gsm8k", "a100-80", "grpo.vllm=colocate")
    assert found.phases[2].memory.reserve == pytest.approx(0.3 * 85.1e9)
    assert found.phases[2].memory.cache == 0
    assert found.phases[3].memory.reserve == found.phases[2].memory.reserve


def test_times_shrink_with_the_length_of_completions_and_memory_does_not() -> None:
    longest, usual = (_budget("qwen2.5-1.5b-gsm8k", "l4", mean_tokens=n) for n in (None, 150))
    assert usual.hours < longest.hours
    assert usual.worst.peak_gb == longest.worst.peak_gb


@pytest.mark.parametrize("gpu", ["t4", "rtx4090"])
@pytest.mark.parametrize("name", [name for name in list_recipes() if "tiny" not in name])
def test_what_would_fit_does_fit(name, gpu) -> None:
    recipe, shape = load_recipe(name), shape_of(load_recipe(name).model.name)
    found = what_would_fit(recipe, shape, GPUS[gpu])
    if found is not None:
        assert budget(load_recipe(name, found), shape, GPUS[gpu]).fits


def test_a_large_micro_batch_is_cut_and_the_effective_batch_stays() -> None:
    recipe = load_recipe("qwen2.5-1.5b-gsm8k", ["grpo.micro_batch=128", "grpo.gradient_checkpointing=false"])
    found = what_would_fit(recipe, shape_of(recipe.model.name), GPUS["t4"])
    assert found is not None
    assert "grpo.gradient_checkpointing=true" in found
    fitting = changed(recipe, {"grpo.micro_batch": 32})
    assert fitting.grpo.problems_per_step == recipe.grpo.problems_per_step


def test_estimate_shows_phases_and_exits_by_its_verdict() -> None:
    fits = CliRunner().invoke(app, ["estimate", "qwen2.5-1.5b-gsm8k", "--gpu", "rtx4090", "--price", "0.5"])
    assert fits.exit_code == 0, fits.output
    assert "fits: " in fits.stdout
    assert "GRPO update" in fits.stdout
    assert "from data sheets and one measured H200" in fits.stdout
    with_changes = [
        "estimate",
        "qwen2.5-1.5b-gsm8k",
        "--gpu",
        "t4",
        "--set",
        "grpo.micro_batch=128",
        "--json",
    ]
    cut = CliRunner().invoke(app, with_changes)
    assert (cut.exit_code, json.loads(cut.stdout)["fits"]) == (3, False)
    assert json.loads(cut.stdout)["fits_with"]
    never = CliRunner().invoke(app, ["estimate", "qwen2.5-7b-gsm8k", "--gpu", "t4"])
    assert never.exit_code == 4
    assert "does not fit: " in never.stdout


def test_estimate_without_a_gpu_lists_them_all() -> None:
    shown = CliRunner().invoke(app, ["estimate", "qwen2.5-7b-gsm8k"])
    assert all(gpu.name in shown.stdout for gpu in GPUS.values())
