"""What a recipe needs on a GPU, phase by phase: memory at the worst, time at most, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from warmstart.budget.durations import sampling_seconds, update_seconds
from warmstart.budget.gpus import Gpu
from warmstart.budget.memory import (
    Bytes,
    Lora,
    Precision,
    Rows,
    adapter_bytes,
    sampling_bytes,
    update_bytes,
    weight_bytes,
)
from warmstart.budget.model_shapes import ModelShape
from warmstart.config.schema import Recipe

CONTEXT_GB = 0.8
"""CUDA's context, torch's kernels and cuBLAS' work space; what they take before the first tensor."""
SLACK = 1.08
"""What the allocator holds beyond what is asked for: blocks are rounded, and freed ones rarely fit exactly."""
USABLE = 0.97
"""Share of the memory that can be filled; a screen or a driver has the rest."""
VLLM_SHARE = 0.3
"""Share of the memory that vLLM takes beside the trainer, unless ``grpo.trl.vllm_gpu_memory_utilization`` says
otherwise. TRL's own default."""
PROMPT_TOKENS = {"gsm8k": 260, "synthetic": 115}
"""Longest prompt, instructions included: measured over all 8,792 problems of GSM8K with the tokenizers of
Qwen2.5, Qwen3 (254) and R1-distill (244), and over 4,000 generated ones with tiny's (111)."""
OTHER_PROMPT_TOKENS = 512
"""Taken for data whose prompts are not known."""
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a run.

    Attributes:
        name: What is done.
        memory: Bytes at its peak, the context and the allocator's slack not included.
        seconds: At most; 0 without a GPU to tell it by.
    """

    name: str
    memory: Bytes
    seconds: float = 0.0

    @property
    def peak_gb(self) -> float:
        """Return the peak with context and slack, in GB."""
        return self.memory.total * SLACK / 1e9 + CONTEXT_GB


@dataclass(frozen=True, slots=True)
class Budget:
    """All phases of a recipe on one GPU."""

    phases: tuple[Phase, ...]
    gpu: Gpu

    @property
    def worst(self) -> Phase:
        """Return the phase that needs most memory."""
        return max(self.phases, key=lambda phase: phase.peak_gb)

    @property
    def fits(self) -> bool:
        """Whether every phase fits."""
        return self.worst.peak_gb <= self.gpu.memory_gb * USABLE

    @property
    def hours(self) -> float:
        """Return the hours of the whole run, at most."""
        return sum(phase.seconds for phase in self.phases) / 3600

    def to_dict(self) -> dict[str, Any]:
        """Return the budget as JSON holds it; bytes as GB."""
        return {
            "gpu": {"name": self.gpu.name, "memory_gb": self.gpu.memory_gb, "dtype": self.gpu.dtype},
            "fits": self.fits,
            "peak_gb": round(self.worst.peak_gb, 2),
            "peak_in": self.worst.name,
            "hours_at_most": round(self.hours, 2),
            "phases": [
                {
                    "name": phase.name,
                    "peak_gb": round(phase.peak_gb, 2),
                    "seconds_at_most": round(phase.seconds, 1),
                    **{f"{key}_gb": round(value / 1e9, 3) for key, value in asdict(phase.memory).items()},
                }
                for phase in self.phases
            ],
        }


def budget(
    recipe: Recipe,
    shape: ModelShape,
    gpu: Gpu,
    *,
    prompt_tokens: int | None = None,
    mean_tokens: int | None = None,
) -> Budget:
    """Return what the recipe needs on ``gpu``, with every prompt and completion as long as it may be.

    Args:
        recipe: What is run.
        shape: Its model.
        gpu: Where.
        prompt_tokens: Longest prompt; None takes what is known of the data.
        mean_tokens: Length of a completion, for the times alone; None takes the cap.
    """
    prompt = prompt_tokens or PROMPT_TOKENS.get(recipe.data.source, OTHER_PROMPT_TOKENS)
    parts = _Parts(recipe, shape, gpu, prompt, mean_tokens)
    phases = [parts.measuring(), *([parts.warming()] if recipe.sft.enabled else []), *parts.reinforcing()]
    return Budget(tuple(phases), gpu)


@dataclass(frozen=True)
class _Parts:
    """The phases of one recipe."""

    recipe: Recipe
    shape: ModelShape
    gpu: Gpu
    prompt: int
    mean: int | None

    def usual(self, cap: int) -> int:
        return cap if self.mean is None else min(cap, self.mean)

    @property
    def lora(self) -> Lora:
        wanted = self.recipe.lora
        targets = wanted.target_modules
        return Lora(wanted.rank, ALL_LINEAR if isinstance(targets, str) else tuple(targets))

    def precision(self, quantization: str, *, adapter: int = 4) -> Precision:
        compute = 4 if self.recipe.model.dtype == "float32" else 2
        return Precision(compute, max(adapter, 2), quantization == "nf4", is_cuda=True)

    def measuring(self) -> Phase:
        """Probe, solutions of the self warm start and evaluation: the same model, sampled in the same batches."""
        recipe, wanted = self.recipe, self.recipe.eval
        cap = wanted.max_completion_tokens or recipe.grpo.max_completion_tokens
        rows = Rows(wanted.batch_size, self.prompt, cap, wanted.batch_size)
        precision = self.precision("none")
        models = 3 if recipe.sft.enabled else 2
        completions = models * (1 + wanted.samples) * (wanted.problems + wanted.unseen_problems)
        completions += 2 * recipe.probe.problems * recipe.probe.completions
        completions += recipe.sft.problems * recipe.sft.samples if recipe.sft.enabled else 0
        batches = -(-completions // wanted.batch_size)
        once = sampling_seconds(
            self.shape,
            precision,
            self.gpu,
            rows=wanted.batch_size,
            prompt=self.prompt,
            tokens=self.usual(cap),
        )
        return Phase("probe and eval", sampling_bytes(self.shape, None, precision, rows), batches * once)

    def warming(self) -> Phase:
        wanted = self.recipe.sft
        # TRL makes the adapter on a quantised base bfloat16; where there is none, warmstart makes it float32.
        adapter = 2 if wanted.quantization == "nf4" and self.gpu.dtype == "bfloat16" else 4
        micro = wanted.micro_batch or wanted.batch_size
        rows = Rows(micro, self.prompt, self.recipe.grpo.max_completion_tokens, micro)
        precision = self.precision(wanted.quantization, adapter=adapter)
        memory = update_bytes(
            self.shape, self.lora, precision, rows, checkpointing=wanted.gradient_checkpointing
        )
        tokens = wanted.steps * wanted.batch_size * (self.prompt + self.usual(rows.cap))
        seconds = update_seconds(
            self.shape,
            self.gpu,
            tokens=tokens,
            length=rows.length,
            micro_batches=wanted.steps * -(-wanted.batch_size // micro),
            checkpointing=wanted.gradient_checkpointing,
        )
        return Phase("SFT", memory, seconds)

    def reinforcing(self) -> Iterator[Phase]:
        wanted = self.recipe.grpo
        precision = self.precision(wanted.quantization)
        step = wanted.problems_per_step * wanted.group_size
        cap = wanted.max_completion_tokens
        sampled = Rows(step, self.prompt, cap, wanted.problems_per_step)
        memory = sampling_bytes(
            self.shape,
            self.lora,
            precision,
            sampled,
            holds_copy=wanted.quantization == "none" and self._has_room_for_a_copy(precision),
            is_training=True,
        )
        reserve = 0.0
        if wanted.vllm == "colocate":
            share = float(wanted.trl.get("vllm_gpu_memory_utilization", VLLM_SHARE))
            reserve = share * self.gpu.memory_gb * 1e9
        if wanted.vllm != "off":
            kept = memory.weights if wanted.quantization == "nf4" else self._plain_weights(precision)
            memory = Bytes(weights=kept, adapter=memory.adapter, reserve=reserve)
        seconds = sampling_seconds(
            self.shape, precision, self.gpu, rows=step, prompt=self.prompt, tokens=self.usual(cap)
        )
        yield Phase("GRPO sampling", memory, wanted.steps * seconds)
        micro = wanted.micro_batch or step
        shares_prompts = not wanted.gradient_checkpointing and self.recipe.lora.dropout == 0
        batch = Rows(micro, self.prompt, cap, -(-micro // wanted.group_size))
        update = update_bytes(
            self.shape,
            self.lora,
            precision,
            batch,
            checkpointing=wanted.gradient_checkpointing,
            shares_prompts=shares_prompts,
        )
        update = Bytes(**{**asdict(update), "reserve": reserve})
        tokens = step * (self.prompt + self.usual(cap)) * (2 if wanted.beta > 0 else 1)
        seconds = update_seconds(
            self.shape,
            self.gpu,
            tokens=tokens,
            length=batch.length,
            micro_batches=-(-step // micro),
            checkpointing=wanted.gradient_checkpointing,
            shares_prompts=shares_prompts,
        )
        yield Phase("GRPO update", update, wanted.steps * seconds)

    def _has_room_for_a_copy(self, precision: Precision) -> bool:
        """Say what `models.merged` will find: a second copy of the adapted layers takes less than half of what is free."""
        held = weight_bytes(self.shape, precision) + adapter_bytes(self.shape, self.lora, precision)
        free = (self.gpu.memory_gb * USABLE - CONTEXT_GB) * 1e9 - held
        return self.shape.linear_parameters * precision.compute < free / 2

    def _plain_weights(self, precision: Precision) -> float:
        return float(self.shape.parameters * precision.compute)


def what_would_fit(
    recipe: Recipe, shape: ModelShape, gpu: Gpu, *, prompt_tokens: int | None = None
) -> list[str] | None:
    """Return the settings, as ``--set`` takes them, with which the recipe fits; None if none of ours does.

    Tried from what costs nothing but time to what changes the run: checkpointing, smaller batches (the
    effective batch stays), GRPO on 4 bits, and at last a shorter cap.
    """
    changes: dict[str, Any] = {}

    def fits() -> bool:
        return budget(changed(recipe, changes), shape, gpu, prompt_tokens=prompt_tokens).fits

    for key, value in _cures(recipe):
        found = budget(changed(recipe, changes), shape, gpu, prompt_tokens=prompt_tokens)
        if found.fits:
            break
        trial = budget(changed(recipe, {**changes, key: value}), shape, gpu, prompt_tokens=prompt_tokens)
        # A change that leaves the worst phase as it is does not help; it is not asked for.
        if trial.worst.peak_gb < found.worst.peak_gb:
            changes[key] = value
    return [f"{key}={str(value).lower()}" for key, value in changes.items()] if fits() else None


def _cures(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    grpo, sft, cap = recipe.grpo, recipe.sft, recipe.grpo.max_completion_tokens
    yield "sft.gradient_checkpointing", True
    yield "grpo.gradient_checkpointing", True
    for times in range(1, 7):
        # The phases take turns at being the worst one: each is halved again when its turn comes.
        yield from _halved("eval.batch_size", recipe.eval.batch_size, 16, times)
        yield from _halved("sft.micro_batch", sft.micro_batch or sft.batch_size, 1, times)
        step = grpo.problems_per_step * grpo.group_size
        yield from _halved("grpo.micro_batch", grpo.micro_batch or step, 1, times)
    yield "sft.quantization", "nf4"
    yield "grpo.quantization", "nf4"
    for share in (2, 4):
        yield "grpo.max_completion_tokens", max(64, cap // share)


def _halved(key: str, value: int, least: int, times: int) -> Iterator[tuple[str, int]]:
    smaller = value // 2**times
    if smaller >= least and smaller * 2**times == value:
        yield key, smaller


def changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """Return the recipe with ``section.field`` values changed."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        section, field = key.split(".")
        sections.setdefault(section, {})[field] = value
    updated = {name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()}
    return recipe.model_copy(update=updated)
