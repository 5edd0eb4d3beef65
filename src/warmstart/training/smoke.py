"""One synthetic step before the real ones: does a gradient reach the weights?

Two completions of one prompt, advantage +1 and −1, through the trainer's own loss. It needs no sampling
and no reward, so that what it finds is plumbing: a frozen adapter, masked tokens, a blocked gradient.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
import trl

from warmstart.diagnosis import SmokeFacts, Targets
from warmstart.probing.reward_calls import RewardFunction, call_rewards
from warmstart.training.trackers import untracked


def smoke_step(
    trainer: trl.GRPOTrainer, prompt_ids: Sequence[int], good: Sequence[int], bad: Sequence[int]
) -> SmokeFacts:
    """Return what one step of the trainer's optimiser with advantages ±1 does; the weights are put back.

    Args:
        trainer: A `trl.GRPOTrainer` (or ours) before its first step.
        prompt_ids: Tokens of a prompt.
        good: Tokens of the completion with advantage +1.
        bad: Tokens of the one with −1.
    """
    model = trainer.model
    inputs = _inputs(trainer, prompt_ids, good, bad)
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    was_training = model.training
    model.train()
    model.zero_grad(set_to_none=True)
    had = getattr(trainer, "current_gradient_accumulation_steps", None)
    trainer.current_gradient_accumulation_steps = 1
    with untracked(trainer):
        loss = trainer.compute_loss(model, inputs)
    value = float(loss.detach())
    if loss.requires_grad:
        loss.backward()
    gradients = {name: p.grad for name, p in trainable if p.grad is not None}
    rate, norm = trainer.args.learning_rate, _norm(gradients.values())
    facts = SmokeFacts(
        trainable=sum(p.numel() for _, p in trainable),
        trainable_lora_b=_lora_b(model),
        supervised_tokens=int(inputs["completion_mask"].sum()),
        grad_norm=norm,
        grad_norm_lora_b=_norm(g for name, g in gradients.items() if "lora_B" in name),
        largest_change=_moved(trainer, [p for _, p in trainable], norm),
        loss=value,
        learning_rate=rate,
        max_grad_norm=trainer.args.max_grad_norm,
        has_checkpointing=bool(trainer.args.gradient_checkpointing),
        inputs_require_grad=_inputs_require_grad(model, inputs["prompt_ids"]),
    )
    model.zero_grad(set_to_none=True)
    trainer._metrics["train"].clear()
    if had is None:
        del trainer.current_gradient_accumulation_steps
    else:
        trainer.current_gradient_accumulation_steps = had
    model.train(was_training)
    return facts


def _inputs(
    trainer: trl.GRPOTrainer, prompt_ids: Sequence[int], good: Sequence[int], bad: Sequence[int]
) -> dict[str, Any]:
    device, pad = trainer.accelerator.device, trainer._tokenizer.pad_token_id
    length = max(len(good), len(bad))
    completions = [list(ids) + [pad] * (length - len(ids)) for ids in (good, bad)]
    mask = [[1] * len(ids) + [0] * (length - len(ids)) for ids in (good, bad)]
    prompts = [list(prompt_ids), list(prompt_ids)]
    if trainer.args.mask_truncated_completions:
        ends = [*trainer.eos_token_ids, pad]
        mask = [row if ids[-1] in ends else [0] * length for row, ids in zip(mask, (good, bad), strict=True)]
    reference = {"ref_per_token_logps": torch.zeros(2, length, device=device)} if trainer.beta else {}
    return {
        **reference,
        "prompt_ids": torch.tensor(prompts, device=device),
        "prompt_mask": torch.ones(2, len(prompt_ids), dtype=torch.long, device=device),
        "completion_ids": torch.tensor(completions, device=device),
        "completion_mask": torch.tensor(mask, device=device),
        "advantages": torch.tensor([1.0, -1.0], device=device),
        "num_items_in_batch": torch.tensor(float(sum(map(sum, mask))), device=device),
    }


def _moved(trainer: trl.GRPOTrainer, trainable: Sequence[torch.nn.Parameter], norm: float) -> float:
    """Return the largest change of a weight by the trainer's own optimiser; weights and optimiser come back.

    The gradient is clipped first, as the trainer clips it: Adam's step is of the size of the rate, unless
    what is left of the gradient is small beside its epsilon.
    """
    before = [p.detach().clone() for p in trainable]
    limit, given = trainer.args.max_grad_norm, trainer.optimizer
    if limit and math.isfinite(norm):
        torch.nn.utils.clip_grad_norm_([p for p in trainable if p.grad is not None], limit)
    optimizer = trainer.create_optimizer() if given is None else given
    state = copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    moved = [(p.detach() - old).abs().max() for p, old in zip(trainable, before, strict=True)]
    change = float(torch.stack(moved).max()) if moved else 0.0
    with torch.no_grad():
        for p, old in zip(trainable, before, strict=True):
            p.copy_(old)
    optimizer.load_state_dict(state)
    trainer.optimizer = given
    return change


def _lora_b(model: torch.nn.Module) -> int | None:
    """Return how many numbers of LoRA's B matrices are trained; None without LoRA."""
    found = [p for name, p in model.named_parameters() if "lora_B" in name]
    return sum(p.numel() for p in found if p.requires_grad) if found else None


def _inputs_require_grad(model: Any, ids: torch.Tensor) -> bool:  # noqa: ANN401
    """Return whether what the first layer gets can carry a gradient, as checkpointing needs it."""
    return bool(model.get_input_embeddings()(ids[:1]).requires_grad)


def _norm(gradients: Any) -> float:  # noqa: ANN401
    total = sum((g.cpu().double().square().sum() for g in gradients), torch.tensor(0.0, dtype=torch.float64))
    return float(total.sqrt())


def targets_under(
    functions: Sequence[RewardFunction],
    rows: Sequence[dict[str, Any]],
    targets: Sequence[str],
    outcome: str,
) -> Targets:
    """Return how many perfect targets the outcome reward pays nothing for.

    Args:
        functions: The run's rewards.
        rows: The data set's row of each target.
        targets: Texts in the exact format with the gold answer.
        outcome: Name of the reward that must pay.
    """
    names = [getattr(f, "__name__", type(f).__name__) for f in functions]
    chosen = functions[names.index(outcome)]
    is_text = isinstance(rows[0]["prompt"], str)
    shown: list[Any] = [t if is_text else [{"role": "assistant", "content": t}] for t in targets]
    values, _ = call_rewards([chosen], rows, shown, [[] for _ in targets])
    failing = [index for index, value in enumerate(values[:, 0].tolist()) if not value > 0]
    example = f"{outcome} paid {values[failing[0], 0]:g}" if failing else ""
    return Targets(len(failing), len(targets), example)
