from __future__ import annotations

import dataclasses

import pytest

from warmstart.config.schema import Recipe, list_recipes, load_recipe, recipe_text, resolved
from warmstart.errors import ConfigError
from warmstart.trl_fields import GRPO_FIELDS, OWNED, SFT_FIELDS


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_loads_under_its_own_name_in_forty_lines(name) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert len(recipe_text(name).splitlines()) <= 40


def test_the_recipes_of_the_mission_ship() -> None:
    assert set(list_recipes()) >= {
        "tiny", "gsm8k-tiny", "qwen2.5-0.5b-gsm8k", "qwen2.5-1.5b-gsm8k", "qwen2.5-3b-gsm8k", "qwen2.5-7b-gsm8k",
        "qwen3-0.6b-gsm8k", "qwen3-1.7b-gsm8k", "deepseek-r1-distill-qwen-1.5b-gsm8k",
        "deepseek-r1-distill-qwen-7b-gsm8k", "qwen2.5-1.5b-gsm8k-qlora",
    }  # fmt: skip
    assert list_recipes()[0] == "tiny"


def test_all_that_is_wrong_is_said_at_once_with_the_key_and_what_was_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("tiny", ["grpo.stps=3", "grpo.group_size=1", "seeed=1", "sft.learning_rate=fast"])
    message = caught.value.message
    assert message.startswith("tiny has 4 problems:")
    assert "grpo.stps: there is no such field; did you mean steps?" in message
    assert "seeed: there is no such field; did you mean seed?" in message
    assert "grpo.group_size: 1 does not do" in message
    assert "sft.learning_rate: 'fast' does not do" in message


def test_a_later_override_wins_and_values_are_read_as_yaml() -> None:
    recipe = load_recipe(
        "tiny", ["grpo.steps=3", "grpo.steps=4", "grpo.learning_rate=1e-4", "sft.enabled=false"]
    )
    assert (recipe.grpo.steps, recipe.grpo.learning_rate, recipe.sft.enabled) == (4, 1e-4, False)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grpo.steps", "has no '='"),
        ("seed.x=1", "'seed' has no fields inside"),
        ("grpo.trl.epsilonn=1", "grpo.trl.epsilonn is no field of TRL's config; did you mean epsilon"),
        ("grpo.trl.num_generations=4", "grpo.trl.num_generations is set by grpo.group_size"),
        ("grpo.reward_weights.acc=1", "grpo.reward_weights.acc is no reward"),
        ("data.source=hub", "data.path is needed"),
        ("prompt.answer_tag=reasoning", "cannot be told from"),
    ],
)
def test_an_unusable_override_is_refused_by_its_key(override, message) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("tiny", ["seed=1", override] if override.startswith("seed.") else [override])
    assert message in caught.value.message


def test_four_bits_and_vllm_are_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="merging into 4 bits rounds the update away"):
        load_recipe("qwen2.5-1.5b-gsm8k-qlora", ["grpo.vllm=colocate"])


def test_an_unknown_recipe_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean tiny"):
        load_recipe("tinny")


def test_a_file_of_ones_own_is_loaded_and_a_broken_one_is_named(tmp_path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(recipe_text("tiny").replace("name: tiny\ndesc", "name: mine\ndesc"))
    assert load_recipe(mine).name == "mine"
    mine.write_text("a: [")
    with pytest.raises(ConfigError, match=r"mine\.yaml is not YAML"):
        load_recipe(mine)
    mine.write_text("- a list")
    with pytest.raises(ConfigError, match="holds no recipe"):
        load_recipe(mine)


def test_every_field_is_documented() -> None:
    def undocumented(model, path):
        for name, field in model.model_fields.items():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                yield from undocumented(inner, f"{path}{name}.")
            elif not field.description:
                yield f"{path}{name}"

    assert list(undocumented(Recipe, "")) == []


def test_the_resolved_recipe_is_a_recipe_again() -> None:
    recipe = load_recipe("tiny")
    assert Recipe.model_validate(resolved(recipe)) == recipe


def test_the_committed_field_names_are_those_of_the_installed_trl() -> None:
    from trl import GRPOConfig, SFTConfig

    assert {field.name for field in dataclasses.fields(GRPOConfig)} == GRPO_FIELDS
    assert {field.name for field in dataclasses.fields(SFTConfig)} == SFT_FIELDS


def test_every_field_we_set_ourselves_is_one_of_trls() -> None:
    assert set(OWNED["grpo"]) <= GRPO_FIELDS
    assert set(OWNED["sft"]) <= SFT_FIELDS


def test_one_fault_does_not_hide_another() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(
            "tiny",
            [
                "seed=-1", "model=3", "data.source=files", "grpo.stps=1", "grpo.trl.epsilonn=1", "grpo.trl.max_steps=1",
                "grpo.reward_weights.a=1", "grpo.reward_weights.b=1", "sft.micro_batch=3",
            ],
        )  # fmt: skip
    message = caught.value.message
    assert message.startswith("tiny has 9 problems:")
    for fault in (
        "seed: -1", "model: 3", "data.path is needed", "grpo.stps:", "grpo.trl.epsilonn is no field",
        "grpo.trl.max_steps is set by", "grpo.reward_weights.a is", "grpo.reward_weights.b is", "sft.micro_batch 3",
    ):  # fmt: skip
        assert fault in message
    assert "dictionary" not in message


@pytest.mark.parametrize("value", ["inf", ".inf", "nan", ".nan"])
@pytest.mark.parametrize(
    "key", ["grpo.temperature", "grpo.beta", "sft.learning_rate", "grpo.reward_weights.int_reward_func"]
)
def test_a_number_must_be_finite(key, value) -> None:
    with pytest.raises(ConfigError, match=key):
        load_recipe("tiny", [f"{key}={value}"])


def test_yes_is_not_one_step() -> None:
    with pytest.raises(ConfigError, match=r"grpo\.steps: True does not do; true and false are for switches"):
        load_recipe("tiny", ["grpo.steps=yes"])


@pytest.mark.parametrize(
    ("override", "hint"),
    [("grpo.micro_batch=12", "can be 4 or 8 or 16"), ("sft.micro_batch=3", "can be 1 or 2 or 4")],
)
def test_batches_that_cannot_be_are_refused_before_anything_runs(override, hint) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_recipe("tiny", [override])


def test_a_text_that_yaml_reads_as_a_number_can_be_quoted() -> None:
    with pytest.raises(ConfigError, match="is not read as text; quote it"):
        load_recipe("tiny", ["model.revision=1234567"])
    assert load_recipe("tiny", ['model.revision="1234567"']).model.revision == "1234567"
    assert load_recipe("tiny", ["model.revision='1e5'"]).model.revision == "1e5"
    assert load_recipe("tiny", ["grpo.trl.epsilon=1e-2"]).grpo.trl == {"epsilon": 0.01}
