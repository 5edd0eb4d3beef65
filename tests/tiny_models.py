"""Real models made small: random weights, a real architecture, a real tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

TOKENIZERS = {
    "Qwen/Qwen2.5": "qwen2.5-0.5b-instruct",
    "Qwen/Qwen3": "qwen3-0.6b",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen": "deepseek-r1-distill-qwen-think",
}
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
    "bos_token_id": None,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
"""A configuration for models of chance weights whose tokens differ, without a tokenizer."""


def is_base(model_name: str) -> bool:
    """Say whether the name is of a Qwen2.5 that was not tuned for conversation."""
    return model_name.startswith("Qwen/Qwen2.5") and not model_name.endswith("-Instruct")


def save_random_model(
    model_name: str, shared_data: Path, folder: Path, *, tokenizer_name: str | None = None
) -> Path:
    """Save a two-layer model of the architecture of ``model_name`` with its real tokenizer."""
    kind = next(prefix for prefix in TOKENIZERS if model_name.startswith(prefix))
    tokenizer = AutoTokenizer.from_pretrained(
        shared_data / "tokenizers" / (tokenizer_name or TOKENIZERS[kind])
    )
    if is_base(model_name):
        # Qwen2.5's base models come with the files of the instruct ones and this end of text.
        tokenizer.eos_token = tokenizer.pad_token = "<|endoftext|>"
    shape = {
        "vocab_size": len(tokenizer) + (-len(tokenizer)) % 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    torch.manual_seed(0)
    if kind == "Qwen/Qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=16))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
