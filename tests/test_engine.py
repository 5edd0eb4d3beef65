"""The proof that an engine has the trainer's weights, on a second model in this process; vLLM's is in test_vllm.py."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration

from warmstart.data.synthetic import generate as problems
from warmstart.errors import TrainingError
from warmstart.models import add_adapter, load_base, load_tokenizer
from warmstart.rollouts.decoding import decode
from warmstart.rollouts.sampling import Sampling, stream
from warmstart.tags import DEFAULT_TAGS
from warmstart.templates.prompter import make_prompter
from warmstart.training.engine import Written, check_engine, handing_over, nudged

TOKENIZER = load_tokenizer("tiny")
PROMPTER = make_prompter(TOKENIZER, tags=DEFAULT_TAGS)
PROMPTS = [PROMPTER.prompt_ids(problem.question) for problem in problems(4, seed=1, split="train")]


def adapted() -> Any:
    model = add_adapter(load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.01
    return model


class SecondModel:
    """An engine: a model of its own that gets the trainer's merged weights, the first ``times`` times."""

    def __init__(self, model: Any, times: int) -> None:
        self._model, self._times = model, times
        self._copy = load_base("tiny")

    def sync(self) -> None:
        self._times -= 1
        if self._times >= 0:
            with handing_over(self._model):
                self._copy.load_state_dict(handed_over(self._model), strict=False)

    def write(self, prompts: Sequence[Sequence[int]]) -> list[Written]:
        decoded = decode(
            self._copy,
            prompts,
            range(len(prompts)),
            [stream(24, 5, row) for row in range(len(prompts))],
            sampling=Sampling(temperature=1.0),
            max_tokens=24,
            stops=[TOKENIZER.eos_token_id],
            pad=TOKENIZER.pad_token_id,
        )
        return [(one.ids, one.log_probs) for one in decoded]


def handed_over(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights that TRL would give to vLLM, by the names it gives them."""
    generation = VLLMGeneration.__new__(VLLMGeneration)
    generation.model = model
    generation.accelerator = Accelerator(cpu=True)
    generation._dist = DistributedBackend(generation.accelerator)
    return {name: weight.clone() for name, weight in generation._iter_named_params()}


def test_an_engine_that_follows_passes_and_the_weights_are_put_back() -> None:
    model = adapted()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = check_engine(model, SecondModel(model, times=9), PROMPTS)
    assert found.gap < 1e-4
    assert found.followed < 1e-4
    assert found.stale > 0.1
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_an_engine_that_keeps_its_first_weights_is_named() -> None:
    model = adapted()
    with pytest.raises(TrainingError, match="does not follow the trainer's weights"):
        check_engine(model, SecondModel(model, times=1), PROMPTS)


def test_an_engine_with_another_model_is_named() -> None:
    model = adapted()
    other = SecondModel(model, times=0)
    for weight in other._copy.parameters():
        weight.data = torch.randn_like(weight) * 0.1
    with pytest.raises(TrainingError, match="computes another model"):
        check_engine(model, other, PROMPTS)


def test_a_model_without_an_adapter_cannot_be_nudged() -> None:
    with pytest.raises(TrainingError, match="needs a LoRA adapter"), nudged(load_base("tiny"), [], [], []):
        pass


def test_what_trl_hands_over_inside_our_merge_is_the_sum_and_the_base_does_not_drift() -> None:
    model = adapted()
    base = {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" not in name}
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    total = layer.base_layer.weight + layer.get_delta_weight("default")
    for _ in range(20):
        with handing_over(model):
            given = handed_over(model)
    torch.testing.assert_close(given["model.layers.0.mlp.up_proj.weight"], total, rtol=0, atol=1e-6)
    assert not any("lora" in name for name in given)
    assert all(torch.equal(p, base[name]) for name, p in model.named_parameters() if name in base)


def test_trls_engine_has_the_methods_and_results_that_ours_leans_on() -> None:
    assert list(inspect.signature(VLLMGeneration.sync_weights).parameters) == ["self"]
    wanted = ["self", "prompts", "images", "num_generations", "profiler"]
    assert list(inspect.signature(VLLMGeneration.generate).parameters) == wanted
