"""Recipes as strangers write them: a recipe, or every fault of it by its key; never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from warmstart.cli import app
from warmstart.config.schema import Recipe, load_recipe, recipe_text, resolved
from warmstart.config.yaml_loader import NotYaml, load
from warmstart.errors import ConfigError


def _is_told(refused: ConfigError, *words: str) -> None:
    assert refused.hint
    assert refused.exit_code == 2
    assert refused.message
    assert all(word in refused.message for word in words)


TINY = recipe_text("tiny")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = yaml.safe_load(TINY)
KEYS = [
    *SECTIONS, *(f"{name}.{key}" for name, inner in SECTIONS.items() if isinstance(inner, dict) for key in inner),
    "grpo.rewards", "grpo.reward_weights", "grpo.trl", "sft.trl", "data.columns", "prompt", "nothing.like.it",
]  # fmt: skip


@settings(max_examples=60)
@given(st.sampled_from(KEYS), VALUES)
def test_any_value_at_any_key_is_a_recipe_or_a_fault_with_its_key(key, value) -> None:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    try:
        assert isinstance(load_recipe("tiny", [f"{key}={text}"]), Recipe)
    except ConfigError as refused:
        _is_told(refused, key.partition(".")[0])


@settings(max_examples=60)
@given(st.text(max_size=80) | st.text("{}[]:,-&*!|>'\"#%@ \n0123abc=?<", max_size=80))
def test_any_text_is_a_recipe_or_refused(tmp_path_factory, text) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load_recipe(path)


@settings(max_examples=40)
@given(st.integers(0, len(TINY)), st.text(max_size=4))
def test_a_recipe_with_something_typed_into_it_is_one_or_is_refused(tmp_path_factory, at, typed) -> None:
    path = tmp_path_factory.getbasetemp() / "typed.yaml"
    path.write_bytes((TINY[:at] + typed + TINY[at:]).encode("utf-8", "surrogatepass"))
    try:
        found = load_recipe(path)
    except ConfigError as refused:
        _is_told(refused)
    else:
        # Every setting can be written down and read again, as the run directory does.
        assert Recipe.model_validate(resolved(found)) == found


@settings(max_examples=40)
@given(
    st.text(max_size=30)
    | st.tuples(
        st.sampled_from(["seed", "grpo.steps", "grpo.learning_rate", "eval.samples", "name"]),
        st.integers(-3, 99) | st.floats() | st.text(max_size=5),
    ).map(lambda pair: f"{pair[0]}={pair[1]}")
)
def test_any_override_is_applied_or_refused_and_changes_nothing_else(text) -> None:
    try:
        found = _flat(resolved(load_recipe("tiny", [text])))
    except ConfigError as refused:
        _is_told(refused)
    else:
        key, _, value = text.partition("=")
        assert {name for name, now in found.items() if now != AS_SHIPPED[name]} <= {key}
        assert str(found[key]) == str(yaml.safe_load(value)) or float(found[key]) == float(value)


def _flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in values.items():
        inner = _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
        flat |= inner
    return flat


AS_SHIPPED = _flat(resolved(load_recipe("tiny")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2", "line 2: the key 'seed' occurs twice"),
        ("grpo:\n  steps: 1\n  steps: 2", "line 3: the key 'steps' occurs twice"),
        ("a: &a [x]\nb: [*a, *a]", "aliases"),
        ("[" * 1500, "nested too deep"),
        ("a: 2020-13-45", "month must be in"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("#" * 1_000_001, "longer than 1,000,000 characters"),
        ("\0", "special characters are not allowed"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_surprises_is_refused(text, message) -> None:
    with pytest.raises(NotYaml, match=message):
        load(text)


def test_everything_that_is_wrong_on_the_command_line_and_in_the_recipe_is_said_at_once() -> None:
    wrong = [
        "grpo.stps=3",
        "seed",
        "sft.steps=0",
        "grpo.rewards=[nowhere]",
        "gpro.steps=1",
        "data.path='a: b",
    ]
    arguments = [part for one in wrong for part in ("--set", one)]
    result = CliRunner().invoke(app, ["check", "tiny", *arguments])
    assert isinstance(result.exception, ConfigError)
    for part in (
        "tiny has 6 problems:", "grpo.stps: there is no such field; did you mean steps?", "--set 'seed' has no '='",
        "sft.steps: 0 does not do; input should be greater than or equal to 1", "'nowhere' is not FILE.py:FUNCTION",
        "gpro: there is no such field; did you mean grpo?", "--set \"data.path='a: b\": the value is not YAML",
    ):  # fmt: skip
        assert part in result.exception.message
    assert result.exception.exit_code == 2


def test_a_value_of_a_megabyte_is_not_printed_back() -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("tiny", ["grpo.steps=" + "x" * 10**5])
    assert len(refused.value.message) < 500


def test_data_given_as_a_recipe_is_told_where_it_goes() -> None:
    with pytest.raises(ConfigError, match=r"sums\.jsonl is no recipe but a file of data") as refused:
        load_recipe("sums.jsonl")
    assert "tiny --set data.source=files --set data.path=sums.jsonl" in refused.value.hint


def test_a_path_that_no_source_reads_and_a_list_without_brackets_are_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("tiny", ["data.path=sums.jsonl", "grpo.rewards=mine.py:pays"])
    assert "data.path is read by nothing with data.source=synthetic" in refused.value.message
    assert "grpo.rewards: 'mine.py:pays' is no list; put it in brackets" in refused.value.message


def test_a_file_that_is_no_text_is_no_recipe(tmp_path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(ConfigError, match="is no UTF-8 text"):
        load_recipe(path)
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_recipe("a\0b")
