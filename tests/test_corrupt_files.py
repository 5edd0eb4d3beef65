"""Models, adapters and tokenizers that are cut off, broken or hostile: one sentence, never a run on rubbish."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from warmstart.errors import ModelError
from warmstart.models import (
    add_adapter,
    continue_adapter,
    load_base,
    load_merged,
    load_tokenizer,
    model_path,
    require_fit,
)

PT = {"format": "pt"}


@pytest.fixture
def base(tmp_path) -> Path:
    """A copy of the base that ships, to be broken."""
    return Path(shutil.copytree(model_path("tiny"), tmp_path / "base"))


@pytest.fixture(scope="module")
def whole_adapter(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    adapted = add_adapter(
        load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0
    )
    adapted.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tmp_path, whole_adapter) -> Path:
    return Path(shutil.copytree(whole_adapter, tmp_path / "adapter"))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garble(path: Path) -> None:
    path.write_bytes(b"\x89PNG\x00\xff" * 50)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


BREAKS = pytest.mark.parametrize(
    "break_it", [_cut, _garble, _empty, Path.unlink], ids=["cut", "garbled", "empty", "gone"]
)


@BREAKS
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_broken_model_is_one_sentence_with_the_models_name(base, name, break_it) -> None:
    break_it(base / name)
    with pytest.raises(ModelError, match=r"model\.name '.+' could not be loaded: .+") as refused:
        load_base(str(base))
    assert "\n" not in refused.value.message
    assert refused.value.hint
    assert refused.value.exit_code == 2


@BREAKS
def test_a_broken_tokenizer_is_one_sentence_and_never_one_without_a_vocabulary(base, break_it) -> None:
    break_it(base / "tokenizer.json")
    with pytest.raises(
        ModelError, match=r"the tokenizer of model\.name .+ (could not be loaded|has no vocabulary)"
    ):
        load_tokenizer(str(base))


@pytest.mark.parametrize("content", ['{"a": 1}', "[]", '"x"', "1e999"])
def test_a_tokenizer_file_of_another_shape_is_refused(base, content) -> None:
    (base / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="the tokenizer of model"):
        load_tokenizer(str(base))


def test_weights_that_are_missing_or_of_another_shape_are_never_filled_with_random_numbers(base) -> None:
    weights = load_file(base / "model.safetensors")
    lost = next(name for name in weights if "layers.1" in name)
    save_file(
        {name: value for name, value in weights.items() if name != lost}, base / "model.safetensors", PT
    )
    with pytest.raises(ModelError, match=f"has not all of its weights: 1 tensors.*{lost} first"):
        load_base(str(base))
    save_file(weights | {lost: torch.zeros(3, 3)}, base / "model.safetensors", PT)
    with pytest.raises(ModelError, match=f"{lost} first"):
        load_base(str(base))


def test_pickled_weights_are_not_read(base) -> None:
    torch.save(load_file(base / "model.safetensors"), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no file named model\.safetensors"):
        load_base(str(base))


def test_code_that_comes_with_a_model_is_not_run(base, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *args: "y")  # somebody who says yes to everything
    config = json.loads((base / "config.json").read_text())
    config |= {
        "model_type": "strange",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (base / "config.json").write_text(json.dumps(config))
    (base / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: ...\nclass M: ...\n")
    with pytest.raises(ModelError, match="custom code"):
        load_base(str(base))
    assert not (tmp_path / "ran").exists()


@BREAKS
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_broken_adapter_is_one_sentence_with_its_folder(adapter, name, break_it) -> None:
    break_it(adapter / name)
    with pytest.raises(ModelError, match=r"adapter in .*adapter"):
        load_merged("tiny", adapter)


def test_half_an_adapter_is_refused_to_measure_with_and_to_go_on_from(adapter) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    half = dict(list(weights.items())[::2])
    save_file(half, adapter / "adapter_model.safetensors", PT)
    with pytest.raises(ModelError, match="missing adapter keys"):
        load_merged("tiny", adapter)
    with pytest.raises(ModelError, match="missing adapter keys"):
        continue_adapter(load_base("tiny"), adapter)


def test_a_pickled_adapter_is_not_read(adapter) -> None:
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"it has no adapter_model\.safetensors"):
        load_merged("tiny", adapter)


def test_a_tokenizer_of_a_larger_model_is_refused() -> None:
    tokenizer = load_tokenizer("tiny")
    tokenizer.add_tokens([f"<extra{number}>" for number in range(5000)])
    with pytest.raises(ModelError, match=r"the tokenizer has [\d,]+ tokens and the model [\d,]+"):
        require_fit(load_base("tiny"), tokenizer)
