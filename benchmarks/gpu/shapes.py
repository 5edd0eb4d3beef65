"""Models of Qwen2.5's shapes with random weights: speed and memory do not depend on what the weights are."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from warmstart.budget.memory import Lora
from warmstart.budget.model_shapes import ModelShape
from warmstart.budget.phases import ALL_LINEAR

RANK = 16
LORA = Lora(RANK, ALL_LINEAR)
VOCABULARY = 151_936
GIGA = 1e9


@dataclass(frozen=True)
class Size:
    """What tells one model of the family from another."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    is_tied: bool = True


SIZES = {
    "tiny": Size(64, 192, 2, 4, 2),
    "0.5b": Size(896, 4864, 24, 14, 2),
    "1.5b": Size(1536, 8960, 28, 12, 2),
    "3b": Size(2048, 11008, 36, 16, 2),
    "7b": Size(3584, 18944, 28, 28, 4, is_tied=False),
}


def model_shape(name: str, device: str) -> ModelShape:
    """Return the shape as `warmstart estimate` knows it."""
    size = SIZES[name]
    return ModelShape(
        layers=size.layers,
        hidden=size.hidden,
        inner=size.inner,
        heads=size.heads,
        kv_heads=size.kv_heads,
        head=size.hidden // size.heads,
        vocabulary=_vocabulary(device),
        is_tied=size.is_tied,
    )


def random_model(name: str, device: str) -> PreTrainedModel:
    """Return the model, in bfloat16 on a GPU."""
    size = SIZES[name]
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=_vocabulary(device),
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        tie_word_embeddings=size.is_tied,
        max_position_embeddings=32_768,
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)


def free(device: str) -> None:
    """Give back what nothing holds any more, and let the peak begin anew."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb(device: str) -> float:
    """Return the most memory that torch has handed out since the last `free`, in GB (10⁹ bytes)."""
    return torch.cuda.max_memory_allocated() / GIGA if device == "cuda" else 0.0


def device_for(shapes: Sequence[str]) -> str:
    """Return where the shapes are measured: the GPU, or the CPU for ``tiny`` alone.

    Raises:
        SystemExit: With 2, if there is no GPU for the others.
    """
    if torch.cuda.is_available():
        return "cuda"
    if set(shapes) != {"tiny"}:
        print("error: no GPU\nhint: --shape tiny --completion 8 runs on the CPU", file=sys.stderr)
        raise SystemExit(2)
    return "cpu"


def keep(path: Path, device: str, options: argparse.Namespace, measured: Sequence[Any]) -> None:
    """Write what was measured, on what and with which options, as JSON."""
    settings = {key: value for key, value in vars(options).items() if key != "json"}
    found = {**name_of(device), "settings": settings, "measured": [asdict(one) for one in measured]}
    path.write_text(json.dumps(found), encoding="utf-8")


def name_of(device: str) -> dict[str, Any]:
    """Return what the figures were measured on."""
    import trl

    gpu = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {"device": gpu, "torch": torch.__version__, "trl": trl.__version__}


def _vocabulary(device: str) -> int:
    return VOCABULARY if device == "cuda" else 1024
