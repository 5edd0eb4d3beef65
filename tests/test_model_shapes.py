from __future__ import annotations

import json

import pytest

from warmstart.budget.model_shapes import KNOWN, ModelShape, shape_of
from warmstart.errors import ModelError
from warmstart.models import load_base, trainable_parameters

PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 7_615_616_512,
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_known_shapes_have_the_published_number_of_parameters(name) -> None:
    assert KNOWN[name].parameters == PUBLISHED[name]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("qwen2.5-0.5b-instruct", "Qwen/Qwen2.5-0.5B-Instruct"), ("qwen3-0.6b", "Qwen/Qwen3-0.6B")],
)
def test_the_published_config_json_gives_the_shape_that_is_known_by_name(shared_data, folder, name) -> None:
    assert shape_of(str(shared_data / "tokenizers" / folder)) == shape_of(name)


def test_tinys_shape_has_the_parameters_of_the_model_and_an_adapter_those_of_the_adapter() -> None:
    shape = shape_of("tiny")
    assert shape.parameters == trainable_parameters(load_base("tiny"))
    # Rank 4 on q, k, v, o, gate, up and down of four layers, as in test_models.
    sizes = [(128, 128), (128, 64), (128, 64), (128, 128), (128, 384), (128, 384), (384, 128)]
    assert shape.adapter_parameters(4, shape.linears) == 4 * 4 * sum(a + b for a, b in sizes)
    assert shape.adapter_parameters(4, ["q_proj"]) == 4 * 4 * 256


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mamba"}, "models of type 'mamba' cannot be estimated"),
        ({"model_type": "qwen2", "num_attention_heads": 2}, "config.json has no 'hidden_size'"),
        (None, "has no readable config.json"),
    ],
)
def test_a_model_that_cannot_be_estimated_is_named(tmp_path, config, message) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        shape_of(str(tmp_path))


def test_a_model_on_the_hub_without_a_network_is_a_sentence() -> None:
    with pytest.raises(ModelError, match="could not be had"):
        shape_of("nobody/nothing-of-this-name")


def test_every_recipe_of_a_real_model_has_a_known_shape() -> None:
    from warmstart.config.schema import list_recipes, load_recipe

    assert all(isinstance(shape_of(load_recipe(name).model.name), ModelShape) for name in list_recipes())
