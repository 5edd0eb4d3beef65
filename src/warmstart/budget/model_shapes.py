"""The numbers of a model that decide its memory and time: read from a config.json, or known by name.

Dense decoders with rotary positions and a gated feed-forward block are known (Qwen2, Qwen3, Llama,
Mistral); others are refused instead of being estimated wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from warmstart.errors import ModelError

_DENSE = {
    "qwen2": {"bias": True, "head_norms": False},
    "qwen3": {"bias": False, "head_norms": True},
    "llama": {"bias": False, "head_norms": False},
    "mistral": {"bias": False, "head_norms": False},
}


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's sizes.

    Attributes:
        layers: Decoder layers.
        hidden: Width of the residual stream.
        inner: Width of the feed-forward block.
        heads: Query heads.
        kv_heads: Key and value heads.
        head: Width of a head.
        vocabulary: Rows of the embedding, padding included.
        is_tied: Whether the output head is the embedding.
        bias: Whether query, key and value have a bias.
        head_norms: Whether query and key are normalised per head (Qwen3).
        window: Positions the model was made for.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    is_tied: bool
    bias: bool = True
    head_norms: bool = False
    window: int = 32768

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each linear layer of a decoder layer, by name."""
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Numbers in the linear layers of all decoder layers, biases aside: what NF4 quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def embedding_parameters(self) -> int:
        """Numbers in the embedding and, where it is its own, the output head."""
        return self.vocabulary * self.hidden * (1 if self.is_tied else 2)

    @property
    def parameters(self) -> int:
        """All numbers of the model."""
        norms = self.layers * (2 * self.hidden + (2 * self.head if self.head_norms else 0)) + self.hidden
        biases = self.layers * (self.queries + 2 * self.keys) if self.bias else 0
        return self.linear_parameters + self.embedding_parameters + norms + biases

    def adapter_parameters(self, rank: int, targets: Collection[str]) -> int:
        """Return the numbers of a LoRA adapter: rank × (inputs + outputs) of every adapted layer."""
        adapted = [sizes for name, sizes in self.linears.items() if name in targets]
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in adapted)


KNOWN = {
    "Qwen/Qwen2.5-0.5B": ModelShape(24, 896, 4864, 14, 2, 64, 151936, True),
    "Qwen/Qwen2.5-1.5B": ModelShape(28, 1536, 8960, 12, 2, 128, 151936, True),
    "Qwen/Qwen2.5-3B": ModelShape(36, 2048, 11008, 16, 2, 128, 151936, True),
    "Qwen/Qwen2.5-7B": ModelShape(28, 3584, 18944, 28, 4, 128, 152064, False),
    "Qwen/Qwen3-0.6B": ModelShape(28, 1024, 3072, 16, 8, 128, 151936, True, False, True, 40960),
    "Qwen/Qwen3-1.7B": ModelShape(28, 2048, 6144, 16, 8, 128, 151936, True, False, True, 40960),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": ModelShape(
        28, 1536, 8960, 12, 2, 128, 151936, False, window=131072
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": ModelShape(
        28, 3584, 18944, 28, 4, 128, 152064, False, window=131072
    ),
}
"""The models of the shipped recipes; the instruct and the base model of a size are alike."""


def shape_of(name: str, *, revision: str | None = None) -> ModelShape:
    """Return the shape of ``tiny``, a folder with a config.json, a known model, or one on the Hub.

    Raises:
        ModelError: If there is no config.json to be had, or if it is of another kind of model.
    """
    if name == "tiny" and not Path(name).is_dir():
        return shape_from(
            json.loads((resources.files("warmstart") / "tiny_base" / "config.json").read_text())
        )
    if Path(name).is_dir():
        return shape_from(_read(Path(name) / "config.json", name))
    known = KNOWN.get(name.removesuffix("-Instruct").removesuffix("-Base"))
    return known or shape_from(_read(_from_hub(name, revision), name))


def shape_from(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape that a model's config.json describes.

    Raises:
        ModelError: If it is not a dense decoder of a known kind, or lacks a number.
    """
    kind = config.get("model_type")
    if kind not in _DENSE:
        raise ModelError(
            f"models of type {kind!r} cannot be estimated",
            f"estimate knows dense decoders: {', '.join(_DENSE)}; for others a run's first step tells",
        )
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return ModelShape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            inner=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            is_tied=bool(config.get("tie_word_embeddings", False)),
            window=int(config.get("max_position_embeddings") or 32768),
            **_DENSE[kind],
        )
    except KeyError as error:
        raise ModelError(
            f"the model's config.json has no {error.args[0]!r}", "take the one published with the model"
        ) from error


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.name {name!r} has no readable config.json: {error}", "give a folder that holds a model"
        ) from error
    return found


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().split("\n")[0]
        raise ModelError(
            f"the config.json of model.name {name!r} could not be had: {first}",
            "give a folder with config.json, or a Hub id with the network on (HF_HUB_OFFLINE unset)",
        ) from error
