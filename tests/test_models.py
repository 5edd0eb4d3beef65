from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from warmstart.errors import ModelError
from warmstart.models import (
    add_adapter,
    continue_adapter,
    load_base,
    load_merged,
    load_tokenizer,
    merged,
    model_path,
    pick_dtype,
    stop_ids,
    trainable_parameters,
)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_an_adapter_on_an_output_layer_that_is_the_embedding_is_refused() -> None:
    base = load_base("tiny")
    assert base.lm_head.weight is base.get_input_embeddings().weight
    with pytest.raises(
        ModelError, match="an adapter on lm_head cannot be merged: its weight is the embedding's"
    ):
        add_adapter(base, rank=2, alpha=4, dropout=0.0, target_modules=["q_proj", "lm_head"], seed=0)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_weights_are_merged_everywhere_but_on_the_embedding() -> None:
    base = load_base("tiny")
    config = LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    model = get_peft_model(base, config)
    before = base.get_input_embeddings().weight.clone()
    ids = torch.arange(8)[None]
    with torch.no_grad():
        expected = model(ids).logits
        with merged(model):
            assert torch.equal(base.get_input_embeddings().weight, before)
            assert torch.allclose(model(ids).logits, expected, atol=1e-4)


def test_tiny_is_the_packaged_base_and_any_other_name_is_itself() -> None:
    assert model_path("tiny").endswith("tiny_base")
    assert model_path("Qwen/Qwen2.5-1.5B-Instruct") == "Qwen/Qwen2.5-1.5B-Instruct"


def test_on_cpu_auto_is_float32_and_a_named_dtype_is_itself() -> None:
    if not torch.cuda.is_available():
        assert pick_dtype("auto") == torch.float32
    assert pick_dtype("bfloat16") == torch.bfloat16


def test_a_model_that_is_not_there_is_named_in_one_line(tmp_path) -> None:
    for load in (load_base, load_tokenizer):
        with pytest.raises(ModelError, match=r"model\.name .* could not be loaded") as caught:
            load(str(tmp_path))
        assert "\n" not in caught.value.message


def test_a_fresh_adapter_changes_nothing_and_only_it_is_trainable() -> None:
    base = load_base("tiny").eval()
    ids = torch.arange(10, 30)[None]
    with torch.no_grad():
        before = base(ids).logits
        model = add_adapter(base, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0).eval()
        assert torch.equal(model(ids).logits, before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    # Rank 4 on every linear layer: 4 × (inputs + outputs) of q, k, v, o, gate, up and down, four layers.
    shapes = [(128, 128), (128, 64), (128, 64), (128, 128), (128, 384), (128, 384), (384, 128)]
    assert trainable_parameters(model) == 4 * 4 * sum(a + b for a, b in shapes)


def test_merging_an_adapter_gives_the_adapters_outputs(tmp_path) -> None:
    model = add_adapter(
        load_base("tiny"), rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0
    ).eval()
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    model.save_pretrained(str(tmp_path))
    ids = torch.arange(10, 30)[None]
    merged = load_merged("tiny", tmp_path).eval()
    with torch.no_grad():
        assert not any("lora" in name for name, _ in merged.named_parameters())
        torch.testing.assert_close(merged(ids).logits, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_another_model_is_refused(tmp_path) -> None:
    with pytest.raises(ModelError, match="there is no adapter in"):
        continue_adapter(load_base("tiny"), tmp_path)
    other = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2
        )
    )
    add_adapter(other, rank=4, alpha=8, dropout=0.0, target_modules="all-linear", seed=0).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match=r"could not be loaded: .*size mismatch for base_model"):
        continue_adapter(load_base("tiny"), tmp_path)


def test_the_tokenizers_end_of_turn_and_the_models_own_stop_a_completion() -> None:
    base, tokenizer = load_base("tiny"), load_tokenizer("tiny")
    base.generation_config.eos_token_id = [7, 9]
    assert stop_ids(base, tokenizer) == sorted({7, 9, tokenizer.eos_token_id})
