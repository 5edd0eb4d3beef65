"""What `GRPOTrainer` does not train, and what it does not generate itself, each with its reason."""

from __future__ import annotations

from typing import Any

import torch
import trl

_SAMPLING_FIELDS = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"}


def why_refused(trainer: Any, outcome: str | None) -> str | None:  # noqa: ANN401
    """Return why warmstart does not train what TRL's trainer was given, or None.

    Args:
        trainer: TRL's, set up.
        outcome: The reward that says right or wrong, if one is named.
    """
    if outcome is not None and outcome not in trainer.reward_func_names:
        return f"signal.outcome {outcome!r} is none of the rewards {trainer.reward_func_names}"
    if trainer._is_vlm or trainer.tools or trainer.environment_factories is not None:
        return "warmstart trains text models without tools; use trl.GRPOTrainer for others"
    if trainer.args.restore_callback_states_from_checkpoint:
        return (
            "restore_callback_states_from_checkpoint puts new callbacks in the place of those the trainer "
            "works with; leave it off: they take up their state by themselves"
        )
    if _is_patched_by_unsloth(trainer.model):
        return (
            "this model is patched by Unsloth, whose layers compute neither merged weights nor shared "
            "prompts as transformers' do; load it with transformers, or train it with Unsloth's own trainer"
        )
    return None


def why_not_fast(trainer: Any) -> str | None:  # noqa: ANN401
    """Return who generates instead of warmstart's own loop, and why, or None."""
    extra = set(trainer.args.generation_kwargs or {}) - _SAMPLING_FIELDS
    if trainer.use_vllm:
        return "vLLM generates"
    if trainer.use_transformers_continuous_batching:
        return "transformers' continuous batching was asked for"
    if trainer.rollout_func is not None:
        return "a rollout_func generates"
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return "the weights are sharded"
    if extra or trainer.args.cache_implementation is not None:
        return f"generation_kwargs {sorted(extra)} and cache_implementation are transformers' own"
    return None


def _is_patched_by_unsloth(model: torch.nn.Module) -> bool:
    """Return whether Unsloth replaced a layer's forward, or TRL's trainer, which it does when imported first."""
    origins = {trl.GRPOTrainer.__module__, *(str(module.forward.__module__) for module in model.modules())}
    return any("unsloth" in origin.lower() for origin in origins)
