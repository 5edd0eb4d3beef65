"""The names of the fields of TRL's configs, so that a recipe is checked without importing TRL.

A contract test keeps these lists equal to the installed version's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_COMMON = frozenset(
    [
        "accelerator_config",
        "activation_checkpointing",
        "activation_checkpointing_kwargs",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "auto_find_batch_size",
        "average_tokens_across_devices",
        "batch_eval_metrics",
        "bf16",
        "bf16_full_eval",
        "data_seed",
        "dataloader_drop_last",
        "dataloader_in_order",
        "dataloader_multiprocessing_context",
        "dataloader_num_workers",
        "dataloader_persistent_workers",
        "dataloader_pin_memory",
        "dataloader_prefetch_factor",
        "ddp_backend",
        "ddp_broadcast_buffers",
        "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters",
        "ddp_static_graph",
        "ddp_timeout",
        "debug",
        "deepspeed",
        "disable_tqdm",
        "do_eval",
        "do_predict",
        "do_train",
        "enable_jit_checkpoint",
        "eval_accumulation_steps",
        "eval_delay",
        "eval_do_concat_batches",
        "eval_on_start",
        "eval_steps",
        "eval_strategy",
        "eval_use_gather_object",
        "fp16",
        "fp16_full_eval",
        "fsdp",
        "fsdp_config",
        "full_determinism",
        "gradient_accumulation_steps",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs",
        "greater_is_better",
        "hub_always_push",
        "hub_model_id",
        "hub_private_repo",
        "hub_revision",
        "hub_strategy",
        "hub_token",
        "ignore_data_skip",
        "include_for_metrics",
        "include_num_input_tokens_seen",
        "label_names",
        "label_smoothing_factor",
        "learning_rate",
        "length_column_name",
        "liger_kernel_config",
        "load_best_model_at_end",
        "local_rank",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "logging_nan_inf_filter",
        "logging_steps",
        "logging_strategy",
        "loss_type",
        "lr_scheduler_kwargs",
        "lr_scheduler_type",
        "max_grad_norm",
        "max_steps",
        "metric_for_best_model",
        "model_init_kwargs",
        "neftune_noise_alpha",
        "num_train_epochs",
        "optim",
        "optim_args",
        "optim_target_modules",
        "output_dir",
        "pad_to_multiple_of",
        "parallelism_config",
        "per_device_eval_batch_size",
        "per_device_train_batch_size",
        "prediction_loss_only",
        "project",
        "push_to_hub",
        "remove_unused_columns",
        "report_to",
        "restore_callback_states_from_checkpoint",
        "resume_from_checkpoint",
        "router_aux_loss_coef",
        "run_name",
        "save_on_each_node",
        "save_only_model",
        "save_steps",
        "save_strategy",
        "save_total_limit",
        "seed",
        "shuffle_dataset",
        "skip_memory_metrics",
        "tf32",
        "torch_compile",
        "torch_compile_backend",
        "torch_compile_mode",
        "torch_empty_cache_steps",
        "trackio_bucket_id",
        "trackio_space_id",
        "trackio_static_space_id",
        "train_sampling_strategy",
        "trust_remote_code",
        "use_cache",
        "use_cpu",
        "use_liger_kernel",
        "warmup_steps",
        "weight_decay",
    ]
)

SFT_FIELDS = _COMMON | frozenset(
    [
        "activation_offloading",
        "assistant_only_loss",
        "chat_template_path",
        "completion_only_loss",
        "dataset_kwargs",
        "dataset_num_proc",
        "dataset_text_field",
        "eos_token",
        "eval_packing",
        "max_length",
        "packing",
        "packing_strategy",
        "pad_token",
        "padding_free",
        "truncation_mode",
    ]
)

GRPO_FIELDS = _COMMON | frozenset(
    [
        "beta",
        "cache_implementation",
        "cast_lm_head_to_fp32",
        "chat_template_kwargs",
        "delta",
        "disable_dropout",
        "ds3_gather_for_generation",
        "entropy_coef",
        "entropy_coef_delta",
        "entropy_coef_max",
        "entropy_coef_min",
        "entropy_target",
        "epsilon",
        "epsilon_high",
        "generation_batch_size",
        "generation_kwargs",
        "importance_sampling_level",
        "log_completions",
        "log_completions_hub_repo",
        "log_multimodal",
        "log_unique_prompts",
        "mask_truncated_completions",
        "max_completion_length",
        "max_tool_calling_iterations",
        "min_p",
        "multi_objective_aggregation",
        "num_completions_to_print",
        "num_generations",
        "num_generations_eval",
        "num_iterations",
        "off_policy_mask_threshold",
        "ref_model_mixup_alpha",
        "ref_model_sync_steps",
        "repetition_penalty",
        "reward_weights",
        "sapo_temperature_neg",
        "sapo_temperature_pos",
        "scale_rewards",
        "steps_per_generation",
        "sync_ref_model",
        "temperature",
        "top_entropy_quantile",
        "top_k",
        "top_p",
        "transformers_continuous_batching_config",
        "use_adaptive_entropy",
        "use_bias_correction_kl",
        "use_transformers_continuous_batching",
        "use_transformers_paged",
        "use_vllm",
        "vespo_k_neg",
        "vespo_k_pos",
        "vespo_lambda_neg",
        "vespo_lambda_pos",
        "vllm_enable_sleep_mode",
        "vllm_gpu_memory_utilization",
        "vllm_group_port",
        "vllm_importance_sampling_cap",
        "vllm_importance_sampling_clip_max",
        "vllm_importance_sampling_clip_min",
        "vllm_importance_sampling_correction",
        "vllm_importance_sampling_mode",
        "vllm_max_model_length",
        "vllm_mode",
        "vllm_model_impl",
        "vllm_server_base_url",
        "vllm_server_host",
        "vllm_server_port",
        "vllm_server_timeout",
        "vllm_structured_outputs_regex",
        "vllm_tensor_parallel_size",
    ]
)

_EITHER = {
    "output_dir": "--out",
    "seed": "seed",
    "learning_rate": "the section's learning_rate",
    "max_steps": "the section's steps",
    "num_train_epochs": "the section's steps",
    "per_device_train_batch_size": "the section's micro_batch",
    "gradient_accumulation_steps": "the section's batch size and micro_batch",
    "warmup_steps": "the section's warmup_ratio",
    "gradient_checkpointing": "the section's gradient_checkpointing",
    "activation_checkpointing": "the section's gradient_checkpointing",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "trust_remote_code": "nothing: code from a model's repository is never run",
    "logging_steps": "nothing: every step is logged",
    "save_strategy": "nothing: the stages save their adapters",
    "restore_callback_states_from_checkpoint": "nothing: the callbacks take up their state by themselves",
}

OWNED: dict[str, dict[str, str]] = {
    "sft": _EITHER | {"max_length": "nothing: rows are never cut"},
    "grpo": _EITHER
    | {
        "num_generations": "grpo.group_size",
        "steps_per_generation": "grpo.problems_per_step and grpo.micro_batch",
        "generation_batch_size": "grpo.problems_per_step and grpo.group_size",
        "reward_weights": "grpo.reward_weights",
        "max_completion_length": "grpo.max_completion_tokens",
        "lr_scheduler_type": "grpo.lr_schedule",
        "beta": "grpo.beta",
        "temperature": "grpo.temperature",
        "top_p": "grpo.top_p",
        "loss_type": "grpo.loss_type",
        "scale_rewards": "grpo.scale_rewards",
        "max_grad_norm": "grpo.max_grad_norm",
        "use_vllm": "grpo.vllm",
        "vllm_mode": "grpo.vllm",
    },
}
"""TRL's fields that the recipe decides itself, and what decides each."""


def checked_extra(section: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Return what a recipe's ``sft.trl`` or ``grpo.trl`` holds.

    Raises:
        ValueError: With every name that TRL's config does not have, or that the recipe sets elsewhere.
    """
    known, owned = (SFT_FIELDS if section == "sft" else GRPO_FIELDS), OWNED[section]
    refuse(
        f"{section}.trl.{key} is set by {owned[key]}; set that instead"
        if key in owned
        else f"{section}.trl.{key} is no field of TRL's config{did_you_mean(key, known)}"
        for key in extra
        if key in owned or key not in known
    )
    return extra


def refuse(problems: Iterable[str]) -> None:
    """Pass if there are no problems.

    Raises:
        ValueError: With one line per problem; `warmstart.config.schema` takes them apart again.
    """
    if lines := "\n".join(problems):
        raise ValueError(lines)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
