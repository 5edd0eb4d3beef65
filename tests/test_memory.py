"""Memory by formula: worked out by hand, counted by autograd, and measured in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from warmstart.budget.memory import (
    Lora,
    Precision,
    Rows,
    adapter_bytes,
    head_bytes,
    sampling_bytes,
    saved_bytes,
    update_bytes,
    weight_bytes,
)
from warmstart.budget.model_shapes import KNOWN, ModelShape
from warmstart.models import add_adapter

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SMALL = ModelShape(2, 64, 160, 4, 2, 16, 512, True)


def test_the_weights_of_a_7b_are_15_gb_in_16_bits_and_5_6_in_nf4() -> None:
    shape = KNOWN["Qwen/Qwen2.5-7B"]
    assert weight_bytes(shape, Precision(compute=2)) == 2 * 7_615_616_512
    # 6,525,288,448 linear weights at 4 + 1/8 + 1/512 bits; embeddings, head, norms and biases at 16.
    linear = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert linear == 6_525_288_448
    expected = linear * (4 + 1 / 8 + 1 / 512) / 8 + 2 * (7_615_616_512 - linear)
    assert weight_bytes(shape, Precision(compute=2, is_nf4=True)) == pytest.approx(expected)


def test_an_adapter_is_held_four_times() -> None:
    lora = Lora(8, ["q_proj"])
    # Two layers × rank 8 × (64 + 64) numbers; itself, its gradient and two moments of four bytes.
    assert adapter_bytes(SMALL, lora, Precision()) == 4 * 4 * 2 * 8 * 128


def test_the_cache_is_keys_and_values_of_every_row_up_to_its_cap() -> None:
    found = sampling_bytes(SMALL, None, Precision(), Rows(rows=3, prompt=5, cap=7, prompts=1))
    assert found.cache == 2 * 2 * 32 * 3 * 12 * 4
    assert found.adapter == 0
    copied = sampling_bytes(SMALL, Lora(4, ALL), Precision(), Rows(3, 5, 7, 1), holds_copy=True)
    assert copied.weights - found.weights == 4 * SMALL.linear_parameters


def test_on_cuda_logits_are_one_tile_however_many_tokens_there_are() -> None:
    shape, cuda = KNOWN["Qwen/Qwen2.5-1.5B"], Precision(compute=2, is_cuda=True)
    tile = 4096 * 32768 * 2
    for tokens in (8192, 65536):
        found = head_bytes(shape, cuda, tokens=tokens, scored=tokens)
        assert found - tokens * 1536 * 6 == tile


def test_checkpointing_keeps_one_layer_and_the_inputs_of_the_others() -> None:
    batch = Rows(4, 16, 16, 4)
    plain = update_bytes(SMALL, Lora(4, ALL), Precision(), batch, checkpointing=False)
    less = update_bytes(SMALL, Lora(4, ALL), Precision(), batch, checkpointing=True)
    one = saved_bytes(SMALL, Lora(4, ALL), Precision(), tokens=128, pairs=4 * 32**2, attended=128)
    stream = 2 * 128 * 64 * 4
    assert plain.total - less.total <= 2 * one - stream
    assert less.total < plain.total


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_layer_keeps_what_autograd_says_it_keeps(kind, dtype) -> None:
    """One more layer keeps as many bytes more as the formula says, in one precision and in two."""
    rows, length = 3, 48
    saved = [_saved(kind, dtype, layers, rows, length) for layers in (1, 2)]
    shape = ModelShape(1, 64, 160, 4, 2, 16, 512, True, kind == "qwen2", kind == "qwen3")
    expected = saved_bytes(
        shape,
        Lora(8, ALL),
        Precision(compute=dtype.itemsize),
        tokens=rows * length,
        pairs=rows * length**2,
        attended=rows * length,
    )
    assert saved[1] - saved[0] == pytest.approx(expected, rel=0.10)


def _saved(kind: str, dtype: torch.dtype, layers: int, rows: int, length: int) -> int:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        kind, vocab_size=512, hidden_size=64, intermediate_size=160, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model = add_adapter(base, rank=8, alpha=16, dropout=0.0, target_modules="all-linear", seed=0)
    constant = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constant:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(2, 512, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    mixed = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32)
    with mixed, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask, use_cache=False)
    assert hidden.last_hidden_state.requires_grad
    return sum(size for size, _ in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["wide", "deep", "many words"])
@pytest.mark.parametrize("case", ["sft", "sft checkpointed", "grpo"])
def test_the_estimate_is_within_fifteen_percent_of_the_measured_peak(shape, case) -> None:
    program = Path(__file__).parents[1] / "benchmarks" / "memory.py"
    done = subprocess.run(
        [sys.executable, str(program), "--json", "--shape", shape, "--case", case],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ratio"] == pytest.approx(1, abs=0.15)
