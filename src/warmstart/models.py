"""The one place where weights are loaded, quantised, adapted and merged."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear as LoraLinear
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from warmstart.errors import ModelError, WarmstartError
from warmstart.failures import explained

Quantization = Literal["none", "nf4"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]

TINY = "tiny"


def model_path(name: str) -> str:
    """Return where ``name`` is loaded from: the packaged base for ``tiny``, else the folder or Hub id itself."""
    if name == TINY and not Path(name).is_dir():
        return str(resources.files("warmstart") / "tiny_base")
    return name


def pick_dtype(dtype: Dtype) -> torch.dtype:
    """Return the torch dtype; ``auto`` is float32 on CPU, bfloat16 from compute capability 8.0 on, else float16.

    The capability decides, not ``torch.cuda.is_bf16_supported()``: that says yes on a T4, which only
    emulates it.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model.

    Raises:
        ModelError: If it cannot be found or read.
    """
    with reading(f"the tokenizer of model.name {name!r}", _TOKENIZER_HINT):
        tokenizer = AutoTokenizer.from_pretrained(
            model_path(name), revision=revision, trust_remote_code=False
        )
        # Without its file transformers makes a tokenizer of nothing but the special tokens.
        if not tokenizer("1")["input_ids"]:
            raise ModelError(f"the tokenizer of model.name {name!r} has no vocabulary", _TOKENIZER_HINT)
        return tokenizer


def most_positions(name: str, *, revision: str | None = None) -> int | None:
    """Return how many tokens the model can look at, prompt and completion together; None if it does not say.

    Raises:
        ModelError: If its configuration cannot be found or read.
    """
    with reading(f"model.name {name!r}", _HINT):
        config = AutoConfig.from_pretrained(model_path(name), revision=revision, trust_remote_code=False)
        found = getattr(config.get_text_config(), "max_position_embeddings", None)
        return None if found is None else int(found)


def load_base(
    name: str, *, revision: str | None = None, dtype: Dtype = "auto", quantization: Quantization = "none"
) -> PreTrainedModel:
    """Return the base model on the default device, without an adapter.

    ``nf4`` loads bitsandbytes' 4-bit NormalFloat with double quantisation (QLoRA, arXiv:2305.14314);
    it works on CPU too.

    Raises:
        ModelError: If it cannot be found or read.
    """
    chosen = pick_dtype(dtype)
    extra: dict[str, Any] = {}
    if quantization == "nf4":
        extra["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=chosen,
        )
    if torch.cuda.is_available():
        extra["device_map"] = {"": torch.cuda.current_device()}
    with reading(f"model.name {name!r}", _HINT):
        model, report = AutoModelForCausalLM.from_pretrained(
            model_path(name),
            revision=revision,
            dtype=chosen,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # so that they are named here
            output_loading_info=True,
            **extra,
        )
    # transformers fills both with random numbers and goes on.
    lost = sorted({*report["missing_keys"], *(found[0] for found in report["mismatched_keys"])})
    if lost:
        raise ModelError(
            f"model.name {name!r} has not all of its weights: {len(lost)} tensors are missing or of another shape, {lost[0]} first",
            "download it again; the files may be cut off, or be those of another model",
        )
    return model


def add_adapter(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: int,
    dropout: float,
    target_modules: str | Sequence[str],
    seed: int,
) -> PeftModel:
    """Return ``model`` with a fresh LoRA adapter (arXiv:2106.09685); it changes nothing until trained (B = 0).

    Raises:
        ModelError: If it would sit on an output layer that is the embedding too: merging would change both.
    """
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=target_modules if isinstance(target_modules, str) else list(target_modules),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    shared = _embedding(model)
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLinear) and module.get_base_layer().weight is shared:
            raise ModelError(
                f"an adapter on {name.removeprefix('base_model.model.')} cannot be merged: its weight is the "
                "embedding's too, and a merge would change both",
                "leave it out of lora.target_modules",
            )
    return adapted


def _embedding(model: torch.nn.Module) -> torch.Tensor | None:
    """Return the weight of the input embedding, which small models use as their output layer too."""
    ask: Any = getattr(model, "get_input_embeddings", None)
    return None if ask is None else getattr(ask(), "weight", None)


def continue_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Return ``model`` with a saved adapter that goes on training.

    Raises:
        ModelError: If the adapter does not load, or would be frozen (PEFT's default).
    """
    adapted = _adapted(model, folder, is_trainable=True)
    if trainable_parameters(adapted) == 0:
        raise ModelError(
            f"the adapter in {folder} has no trainable parameters",
            "train it again; it may hold no LoRA weights",
        )
    return adapted


def load_merged(
    name: str, adapter: Path | None, *, revision: str | None = None, dtype: Dtype = "auto"
) -> PreTrainedModel:
    """Return an unquantised base with the adapter merged into it, to generate with; never to train on.

    The base is loaded for this alone, so nothing drifts: merging in place and back is not exact.

    Raises:
        ModelError: If the base or the adapter cannot be found or read, or do not fit.
    """
    model = load_base(name, revision=revision, dtype=dtype)
    if adapter is None:
        return model
    return _adapted(model, adapter).merge_and_unload()


def _adapted(model: PreTrainedModel, folder: Path, *, is_trainable: bool = False) -> PeftModel:
    hint = "train it again on this base, or name the folder of another with --adapter"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"there is no adapter in {folder}: it has no {name}", hint)
    with reading(f"the adapter in {folder}", hint), warnings.catch_warnings():
        # PEFT leaves what is missing at random.
        warnings.filterwarnings("error", message="Found missing adapter keys")
        return PeftModel.from_pretrained(model, str(folder), is_trainable=is_trainable)


class Lazy:
    """A model that is loaded when it is first needed: a run that goes on may not need it at all."""

    def __init__(self, load: Callable[[], PreTrainedModel]) -> None:
        self._load = load
        self._model: PreTrainedModel | None = None

    def loaded(self) -> PreTrainedModel:
        """Return the model."""
        if self._model is None:
            self._model = self._load()
        return self._model


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside the ``with`` block and leave the model in the mode it was in.

    4-bit layers stay in training mode: in evaluation mode bitsandbytes repacks their weights on CPU, which
    fails for narrow layers and is undone by the next training step.
    """
    was_training = model.training
    model.eval()
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.training = True
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def merged(model: torch.nn.Module) -> Iterator[None]:
    """Let every plain LoRA layer compute with one product, W + sBA, inside the ``with`` block.

    The sum is a tensor of its own and W comes back untouched: adding and subtracting in place drifts.
    Layers that cannot be merged exactly (4-bit bases, DoRA, adapters with a bias, an output layer that is the
    embedding) stay as they are, and so does everything when a GPU has no room for the copy.
    """
    shared = _embedding(model)
    found: list[Any] = [module for module in model.modules() if _is_mergeable(module)]
    layers = [layer for layer in found if layer.get_base_layer().weight is not shared]
    originals: list[tuple[Any, torch.Tensor]] = []
    try:
        if _copy_fits(layers):
            for layer in layers:
                weight = layer.get_base_layer().weight
                originals.append((layer, weight.data))
                weight.data = _merged_weight(layer)
                layer.merged_adapters = list(layer.active_adapters)
        yield
    finally:
        for layer, original in originals:
            layer.get_base_layer().weight.data = original
            layer.merged_adapters = []


@torch.no_grad()
def _merged_weight(layer: Any) -> torch.Tensor:  # noqa: ANN401
    weight: torch.Tensor = layer.get_base_layer().weight
    total = weight.float()
    for name in layer.active_adapters:
        if name in layer.lora_A:
            total = total + layer.get_delta_weight(name).to(total)
    return total.to(weight.dtype)


def merged_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return W + sBA of every adapted layer, summed in float32, by the weight's name in the base.

    Nothing of the model is touched.

    Raises:
        ModelError: If an adapted layer cannot be merged exactly (a 4-bit base, DoRA, a bias).
    """
    found = {}
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A") or not len(module.lora_A):
            continue
        if not _is_mergeable(module):
            raise ModelError(
                f"the adapted layer {name} cannot be merged exactly: {type(module).__name__}",
                "merge into the unquantised base, with plain LoRA",
            )
        found[f"{name.removeprefix('base_model.model.')}.weight"] = _merged_weight(module)
    return found


def _is_mergeable(module: Any) -> bool:  # noqa: ANN401
    return (
        type(module) is LoraLinear
        and type(module.get_base_layer()) is torch.nn.Linear
        and not (module.merged or module.disable_adapters or module.lora_variant)
        and not any(module.lora_bias.values())
    )


def _copy_fits(layers: Sequence[Any]) -> bool:
    weights = [layer.get_base_layer().weight for layer in layers]
    if not weights or weights[0].device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(weights[0].device)
    # A half is left to the keys and values of the completions.
    return bool(sum(weight.nbytes for weight in weights) < free / 2)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Return how many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def train_in_float32(model: torch.nn.Module) -> None:
    """Make the trained numbers float32.

    TRL makes the adapter on a 4-bit base bfloat16. A GPU without bfloat16 cannot unscale such gradients
    (T4: float16 base, float32 adapter), and GRPO's learning rates change a number by less than bfloat16's
    eight bits can show.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return every token that ends a completion: the tokenizer's end of turn and those the model declares."""
    declared = model.generation_config.eos_token_id if model.generation_config is not None else None
    declared = [] if declared is None else [declared] if isinstance(declared, int) else list(declared)
    return sorted({int(tokenizer.eos_token_id), *declared})


def require_fit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Pass if every token of the tokenizer has its row in the model.

    Raises:
        ModelError: If there are more tokens than rows.
    """
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer):,} tokens and the model {rows:,}: they are not of the same model",
            "take model and tokenizer from one place, or resize the embeddings and save both",
        )


@contextmanager
def reading(what: str, hint: str) -> Iterator[None]:
    """Turn what a library raises on a broken file into one sentence.

    Raises:
        ModelError: With the library's own first line.
        TrainingError: If not the file is to blame but the disk or the memory of the machine.
    """
    try:
        yield
    except WarmstartError:
        raise
    except Exception as error:
        raise explained(error) or ModelError(
            f"{what} could not be loaded: {_first_line(error)}", hint
        ) from error


_HINT = "give a folder with config.json and whole .safetensors files, or a Hub id with the network on (HF_HUB_OFFLINE unset)"

_TOKENIZER_HINT = "set model.name to a folder with config.json and the tokenizer's files, or to a Hub id with the network on (HF_HUB_OFFLINE unset)"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().split("\n")]
    # torch and huggingface_hub put what matters on the line after the colon.
    first = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    kind = type(error).__name__
    return first if isinstance(error, OSError) and first else f"{kind}: {first}" if first else kind
