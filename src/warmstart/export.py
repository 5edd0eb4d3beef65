"""A trained adapter as something to use elsewhere: the adapter itself, or a model of its own that is proven equal.

Merging is done in float32 and out of place, and rounded to 16 bits once, at the end. What is on disk is then
loaded again and compared with the adapter on its base: greedy texts, logits, and whether the update survived the
rounding at all.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from warmstart.errors import ModelError, RunDirError, TrainingError
from warmstart.models import evaluating, load_base, load_tokenizer, merged_weights, model_path, stop_ids
from warmstart.rollouts import generate

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

_TIE_NATS = 0.1
"""Two texts may part where the adapter itself gives both tokens probabilities within a tenth of each other:
rounding decides such a tie, and no 16-bit file can promise how."""
_COMPARED = 16
"""Tokens of each text whose logits are compared."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What generation_config.json tells a server to sample with."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Proof:
    """How the exported model compares with the adapter on its base.

    Attributes:
        prompts: Texts compared, greedy.
        equal: How many are the same, token for token.
        ties: How many part where the adapter itself was undecided.
        largest_gap: Of a logit, over the first tokens of every text.
        update_gap: The same between the base and the adapter: what the training changed.
        changed_share: Of the adapted weights, how many differ from the base's once both are rounded.
    """

    prompts: int
    equal: int
    ties: int
    largest_gap: float
    update_gap: float
    changed_share: float

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as JSON holds it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def describe(self) -> str:
        """Return the proof in one line."""
        ties = f", {self.ties} part at a tie" if self.ties else ""
        return (
            f"{self.equal} of {self.prompts} greedy texts equal{ties}; largest logit gap {self.largest_gap:.2g}, where "
            f"the training moved logits by {self.update_gap:.2g}; {self.changed_share:.0%} of the adapted weights changed"
        )


def export_adapter(
    adapter: Path, target: Path, *, base: str, revision: str | None, sampling: Sampling
) -> None:
    """Copy an adapter with its tokenizer, template and card, and the generation config a server reads.

    Raises:
        RunDirError: If there is no adapter, or something at ``target``.
    """
    _require_adapter(adapter)
    with _placing(target) as folder:
        for file in sorted(adapter.iterdir()):
            if file.is_file():
                shutil.copy2(file, folder / file.name)
        _name_base(folder, base, revision)
        tokenizer = load_tokenizer(str(adapter))
        model = load_base(base, revision=revision)
        _generation_config(model, tokenizer, sampling).save_pretrained(folder)


def export_merged(
    adapter: Path,
    target: Path,
    *,
    base: str,
    revision: str | None,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    dtype: Dtype = "auto",
) -> Proof:
    """Write base + adapter as one model and return the proof that it is the same model.

    Args:
        adapter: The folder that training saved, with its tokenizer.
        target: A folder that is not there yet.
        base: What the adapter was trained on.
        revision: Of the base, on the Hub.
        prompts: Token ids of the prompts that are compared.
        sampling: For generation_config.json; its cap is the length of the compared texts too.
        dtype: Of the weights on disk; ``auto`` is the base's own if that has 16 bits, else bfloat16.

    Raises:
        RunDirError: If there is no adapter, or something at ``target``.
        TrainingError: If the exported model is not the adapter's: the update was lost to rounding, or a
            greedy text parts where it should not. Nothing is left at ``target``.
    """
    _require_adapter(adapter)
    tokenizer = load_tokenizer(str(adapter))
    with _placing(target) as folder:
        before, plain, changed = _merge(adapter, folder, base, revision, tokenizer, prompts, sampling, dtype)
        _require_changed(changed)
        tokenizer.save_pretrained(folder)
        _copy_card(adapter, folder)
        # Loaded anew: what is proven is what is on disk.
        proof = _prove(load_base(str(folder), dtype="float32"), tokenizer, prompts, before, plain, changed)
        _require_same(proof, dtype)
        (folder / "export.json").write_text(
            json.dumps({"base": base, "revision": revision, **proof.to_dict()}, indent=2)
        )
    return proof


@dataclass(frozen=True)
class _Reference:
    """What the adapter on its base says: greedy tokens, and the log-probabilities after each of the first."""

    ids: list[list[int]]
    logits: list[torch.Tensor]


def _merge(
    adapter: Path,
    folder: Path,
    base: str,
    revision: str | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    dtype: Dtype,
) -> tuple[_Reference, list[torch.Tensor], float]:
    """Save the merged model; return the adapter's reference, the base's logits, and the share of weights changed."""
    model = load_base(base, revision=revision, dtype="float32")
    stored = _stored_dtype(base, model, dtype)
    adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    texts = _greedy(adapted, tokenizer, prompts, sampling.max_tokens)
    reference = _Reference(texts, [_logits(adapted, p, ids) for p, ids in zip(prompts, texts, strict=True)])
    with adapted.disable_adapter():
        plain = [_logits(adapted, p, ids) for p, ids in zip(prompts, texts, strict=True)]
    sums = merged_weights(adapted)
    changed = total = 0
    model = adapted.unload()
    weights = dict(model.named_parameters())
    for name, summed in sums.items():
        rounded = summed.to(stored)
        changed += int((rounded != weights[name].data.to(stored)).sum())
        total += rounded.numel()
        weights[name].data = rounded
    config = _generation_config(model, tokenizer, sampling)
    model = model.to(stored)
    model.generation_config = config
    model.config.pad_token_id, model.config.eos_token_id = config.pad_token_id, config.eos_token_id
    model.save_pretrained(folder)
    del model, adapted, sums, weights
    gc.collect()
    return reference, plain, changed / max(1, total)


def _prove(
    exported: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    before: _Reference,
    plain: Sequence[torch.Tensor],
    changed_share: float,
) -> Proof:
    longest = max(map(len, before.ids))
    texts = _greedy(exported, tokenizer, prompts, longest)
    ties = 0
    for prompt, was, now in zip(prompts, before.ids, texts, strict=True):
        if was != now:
            at = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), None)
            ties += at is not None and _is_tie(exported, prompt, was[:at], was[at], now[at])
    after = [_logits(exported, p, ids) for p, ids in zip(prompts, before.ids, strict=True)]
    return Proof(
        prompts=len(prompts),
        equal=sum(was == now for was, now in zip(before.ids, texts, strict=True)),
        ties=ties,
        largest_gap=_gap(before.logits, after),
        update_gap=_gap(before.logits, plain),
        changed_share=changed_share,
    )


def _require_changed(changed_share: float) -> None:
    if changed_share == 0:
        raise TrainingError(
            "the merged model equals the base: the update is smaller than its precision can hold, or there is none",
            "export the adapter itself with --as adapter, or all of it with --dtype float32",
        )


def _require_same(proof: Proof, dtype: str) -> None:
    exact = "" if dtype == "float32" else "; --dtype float32 keeps it"
    if proof.largest_gap >= proof.update_gap:
        raise TrainingError(
            f"rounding moves the merged model's logits by {proof.largest_gap:.2g}, as far as the training did "
            f"({proof.update_gap:.2g})",
            f"export the adapter itself with --as adapter{exact}",
        )
    if proof.equal + proof.ties < proof.prompts:
        raise TrainingError(
            f"the merged model is not the adapter's: {proof.describe()}",
            f"export the adapter itself with --as adapter{exact}",
        )


def _greedy(
    model: Any,  # noqa: ANN401
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    cap: int,
) -> list[list[int]]:
    # The unmerged layers of an adapter are merged for the time of generating; the logits below are not.
    groups = generate(model, tokenizer, prompts, max_tokens=cap, batch_size=len(prompts))
    return [list(group[0].ids) for group in groups]


@torch.no_grad()
def _logits(model: Any, prompt: Sequence[int], ids: Sequence[int]) -> torch.Tensor:  # noqa: ANN401
    """Return the logits before each of the first tokens of a text, (tokens, vocabulary)."""
    row = torch.tensor([[*prompt, *ids[: _COMPARED - 1]]], device=model.device)
    with evaluating(model):
        kept = row.shape[1] - len(prompt) + 1
        found: torch.Tensor = model(input_ids=row, logits_to_keep=kept).logits[0].float()
    return found


def _is_tie(model: Any, prompt: Sequence[int], before: Sequence[int], one: int, other: int) -> bool:  # noqa: ANN401
    with torch.no_grad(), evaluating(model):
        row = torch.tensor([[*prompt, *before]], device=model.device)
        last = torch.log_softmax(model(input_ids=row, logits_to_keep=1).logits[0, -1].float(), dim=-1)
    return bool((last[one] - last[other]).abs() < _TIE_NATS)


def _gap(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(some, others, strict=True))


def _stored_dtype(base: str, model: PreTrainedModel, dtype: Dtype) -> torch.dtype:
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    config = Path(model_path(base)) / "config.json"
    text = json.loads(config.read_text()) if config.is_file() else model.config.to_dict()
    own = str(text.get("dtype") or text.get("torch_dtype"))
    return torch.float16 if own.endswith("float16") and not own.endswith("bfloat16") else torch.bfloat16


def _generation_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling
) -> GenerationConfig:
    """Return what a server samples with by default: as the run was measured, and without the base's penalties.

    vLLM and transformers read it; Qwen2.5 ships a repetition penalty, which no reward of ours ever saw.
    """
    return GenerationConfig(
        eos_token_id=stop_ids(model, tokenizer),
        pad_token_id=int(tokenizer.pad_token_id),
        bos_token_id=tokenizer.bos_token_id,
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=0,
        max_new_tokens=sampling.max_tokens,
    )


def _require_adapter(adapter: Path) -> None:
    if not (adapter / "adapter_config.json").is_file():
        raise RunDirError(
            f"{adapter} holds no adapter",
            "name a run that has finished its warm start or GRPO, or an adapter's folder",
        )


def _copy_card(adapter: Path, folder: Path) -> None:
    """Copy the adapter's model card, which says of itself that PEFT loads it; the merged model's is transformers'."""
    card = adapter / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8").replace("library_name: peft", "library_name: transformers", 1)
        (folder / "README.md").write_text(text, encoding="utf-8")


def _name_base(folder: Path, base: str, revision: str | None) -> None:
    """Name the base in the adapter's config as the recipe does: PEFT wrote the path it was loaded from."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"], config["revision"] = base, revision
    path.write_text(json.dumps(config, indent=2))


class _placing:
    """A folder that is at its place once it is whole, and nowhere if anything fails."""

    def __init__(self, target: Path) -> None:
        if target.exists():
            raise RunDirError(
                f"{target} is already there", "name another folder with --to, or delete it first"
            )
        self._target = target
        self._folder = target.with_name(f".{target.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise ModelError(
                f"{self._folder.parent} cannot be written: {error.strerror}", "name another folder with --to"
            ) from error
        return self._folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._folder.rename(self._target)
        else:
            shutil.rmtree(self._folder, ignore_errors=True)
