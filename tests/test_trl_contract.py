"""What warmstart's trainer leans on in TRL: if one of these moves, the sentence says what to read."""

from __future__ import annotations

import inspect

import pytest
import trl

from warmstart.training.trainer import GRPOTrainer

LEANS_ON = {
    "_get_train_sampler": ["self", "dataset"],
    "_generate_single_turn": [
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_get_per_token_logps_and_entropies": [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
        "compute_aux_loss",
    ],
    "_compute_loss": ["self", "model", "inputs"],
    "_generate_and_score_completions": ["self", "inputs"],
    # Not overridden, but called:
    "_tokenize_prompts": ["self", "prompts"],
}
MULTIMODAL_FROM = LEANS_ON["_get_per_token_logps_and_entropies"][-1]


def moved(method: str, found: list[str]) -> str:
    return (
        f"TRL {trl.__version__} changed GRPOTrainer.{method} to take ({', '.join(found)}); warmstart was "
        f"written for ({', '.join(LEANS_ON[method])}). Read TRL's release notes and training/trainer.py "
        "before the bound in pyproject.toml is raised."
    )


@pytest.mark.parametrize("method", LEANS_ON)
def test_trls_method_takes_what_the_trainer_was_written_for(method) -> None:
    found = list(inspect.signature(getattr(trl.GRPOTrainer, method)).parameters)
    if MULTIMODAL_FROM in found:
        # What comes behind is for vision models, which are refused and passed on as they come.
        found = found[: found.index(MULTIMODAL_FROM) + 1]
    assert found == LEANS_ON[method], moved(method, found)


def test_the_trainer_overrides_these_methods_and_no_others() -> None:
    own = {name for name in vars(GRPOTrainer) if name in dir(trl.GRPOTrainer) and not name.startswith("__")}
    assert own == {
        "_get_train_sampler",
        "_generate_single_turn",
        "_calculate_rewards",
        "_generate_and_score_completions",
        "_prepare_inputs",
        "_compute_loss",
        "_get_per_token_logps_and_entropies",
    }


def test_a_moved_signature_is_told_in_a_plain_sentence() -> None:
    said = moved("_prepare_inputs", ["self", "batch", "extra"])
    assert "changed GRPOTrainer._prepare_inputs to take (self, batch, extra)" in said
    assert "written for (self, generation_batch)" in said


def test_trls_trainer_still_splits_time_and_logs_as_the_metrics_expect() -> None:
    source = inspect.getsource(trl.GRPOTrainer)
    for name in (
        "_current_train_step_time",
        "_buffered_inputs",
        "steps_per_generation",
        "frac_reward_zero_std",
        "eos_token_ids",
    ):
        assert name in source, f"TRL {trl.__version__} has no {name} any more; training/trainer.py reads it"
