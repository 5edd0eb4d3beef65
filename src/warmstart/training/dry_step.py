"""A step at its worst before the first real one: the longest prompt, the whole cap, a full micro-batch.

What does not fit is found in the first minute instead of at step 180, when the longest rows happen to meet.
The micro-batch is then halved and the accumulation doubled: the effective batch, and with it the run, stays.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from transformers import Trainer

from warmstart import ranks
from warmstart.batching import BatchPlan
from warmstart.errors import TrainingError
from warmstart.failures import is_out_of_memory
from warmstart.training.trackers import untracked

Made = TypeVar("Made", bound=Trainer)


def fitting(
    make: Callable[[BatchPlan], Made],
    batches: BatchPlan,
    attempt: Callable[[Made, int], None],
    *,
    name: str,
    say: Callable[[str], None],
) -> Made:
    """Return a trainer whose micro-batch has been seen to fit.

    Args:
        make: Builds the trainer for a plan.
        batches: The plan that was asked for.
        attempt: Does the worst step with that many rows.
        name: The recipe's key of the micro-batch.
        say: Told when the plan changes.

    Raises:
        TrainingError: If not even one row fits.
    """
    trainer = make(batches)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        # The weights are sharded only once training begins; whole ones would say nothing about it.
        return trainer
    plan = batches
    while not _fits(trainer, attempt, plan.per_device):
        if plan.per_device == 1:
            raise TrainingError(
                f"one row does not fit into memory ({name}=1, longest prompt and completion)",
                "lower grpo.max_completion_tokens, or see what would fit with `warmstart estimate`",
            )
        was, plan = plan.per_device, halved(plan)
        say(
            f"{name}: {was} rows at once do not fit into memory; now {plan.per_device} with {plan.accumulation} "
            f"accumulated, {plan.completions_per_step} to a step as before"
        )
    if plan == batches:
        return trainer
    if getattr(trainer.args, "use_vllm", False):
        # A second trainer would start a second engine.
        raise TrainingError(
            f"{name}={batches.per_device} does not fit into memory beside vLLM",
            f"set {name}={plan.per_device}",
        )
    del trainer
    return make(plan)


def halved(plan: BatchPlan) -> BatchPlan:
    """Return the plan with half the rows at once and twice the accumulation; of an odd number, a part that divides it."""
    factor = next(f for f in range(2, plan.per_device + 1) if plan.per_device % f == 0)
    return BatchPlan(plan.per_device // factor, plan.accumulation * factor, plan.completions_per_step)


def worst_sft(trainer: Trainer, longest: Sequence[int], rows: int) -> None:
    """Do forward and backward over ``rows`` copies of the longest row, all of it with loss."""
    device = trainer.accelerator.device
    ids = torch.tensor([list(longest)] * rows, device=device)
    mask = torch.ones_like(ids)
    if rows > 1:
        # Rows differ in length in any real batch, and a mask takes memory of its own.
        mask[1:, 0] = 0
    _step(trainer, {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)})


def worst_grpo(trainer: Any, longest: Sequence[int], cap: int, rows: int) -> None:  # noqa: ANN401
    """Do forward and backward over ``rows`` completions as long as the cap, every group with a prompt of its own."""
    device, group = trainer.accelerator.device, trainer.num_generations
    prompts = torch.tensor([list(longest)] * rows, device=device)
    # One token tells the groups' prompts apart; smaller numbers are tokens too.
    prompts[:, 0] = (prompts[:, 0] - torch.arange(rows, device=device) // group % 8).clamp(min=0)
    completions = prompts.new_full((rows, cap), int(longest[-1]))
    ones = torch.ones_like
    inputs = {
        "prompt_ids": prompts,
        "prompt_mask": ones(prompts),
        "completion_ids": completions,
        "completion_mask": ones(completions),
        "advantages": torch.tensor([1.0, -1.0], device=device).repeat(rows)[:rows],
        "num_items_in_batch": torch.tensor(float(rows * cap), device=device),
    }
    if trainer.beta:
        inputs["ref_per_token_logps"] = torch.zeros(rows, cap, device=device)
    _step(trainer, inputs)


def _fits(trainer: Made, attempt: Callable[[Made, int], None], rows: int) -> bool:
    fits = True
    try:
        attempt(trainer, rows)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        fits = False
    # Of several processes the fullest device decides for all.
    fits = all(ranks.gather([fits]))
    # Outside the except block: the error's traceback holds the tensors.
    trainer.model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    everywhere = torch.tensor([int(fits)], device=trainer.accelerator.device)
    return bool(trainer.accelerator.gather(everywhere).min())


def _step(trainer: Any, inputs: dict[str, Any]) -> None:  # noqa: ANN401
    """Forward and backward as in training; no weight, metric or random state is changed."""
    model, arguments = trainer.model, trainer.args
    if arguments.activation_checkpointing:
        # transformers switches it on only when training begins.
        wanted = dict(arguments.activation_checkpointing_kwargs or {}) or None
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=wanted)
    # AdamW's two moments are not there before its first step.
    trained = [p for p in model.parameters() if p.requires_grad]
    moments = [torch.zeros_like(p) for p in trained for _ in range(2)]
    was_training = model.training
    had = getattr(trainer, "current_gradient_accumulation_steps", None)
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    try:
        with untracked(trainer), torch.random.fork_rng(), trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, inputs)
            loss.backward()
    finally:
        model.train(was_training)
        model.zero_grad(set_to_none=True)
        trainer._metrics["train"].clear()
        if had is None:
            del trainer.current_gradient_accumulation_steps
        else:
            trainer.current_gradient_accumulation_steps = had
    del moments
