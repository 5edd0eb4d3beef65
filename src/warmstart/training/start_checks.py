"""What is checked between the trainer and its first step: the warm start, the gradient, the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from warmstart import ranks
from warmstart.diagnosis import Severity, SmokeFacts, diagnose_smoke
from warmstart.errors import TrainingError
from warmstart.records import Problem
from warmstart.rewards.functions import RewardFunction
from warmstart.rollouts import generate
from warmstart.tags import parse
from warmstart.templates.prompter import Prompter
from warmstart.training.engine import check_engine
from warmstart.training.smoke import smoke_step, targets_under

if TYPE_CHECKING:
    from warmstart.training.trainer import GRPOTrainer

_ENGINE_PROBLEMS = 8
"""Prompts that the engine is tested with."""
HANDOVER_TOLERANCE = 0.05
"""The format rate inside the trainer may differ this much from the one measured after SFT."""


def check_start(
    trainer: GRPOTrainer,
    prompter: Prompter,
    problem: Problem,
    rewards: Mapping[str, tuple[RewardFunction, float]],
    outcome: str,
    handover: tuple[Sequence[Problem], float] | None,
) -> None:
    """Pass if the warm start is there and a gradient reaches the adapter.

    Raises:
        TrainingError: As `check_handover` and `check_gradient` do.
    """
    if handover is not None:
        check_handover(trainer, prompter, *handover)
    check_gradient(trainer, prompter, problem, [function for function, _ in rewards.values()], outcome)


def check_gradient(
    trainer: GRPOTrainer,
    prompter: Prompter,
    problem: Problem,
    functions: Sequence[RewardFunction],
    outcome: str,
) -> SmokeFacts:
    """Return what one synthetic step did; it changes nothing.

    Raises:
        TrainingError: If the diagnosis finds that no gradient would reach the weights, or that a perfect
            completion would not be paid.
    """
    target = prompter.target(problem.rationale or "forty and two", problem.gold)
    worse = prompter.target("it is a guess", "0")
    row = {
        "prompt": prompter.messages(problem.question),
        "answer": problem.gold,
        "question": problem.question,
    }
    facts = replace(
        smoke_step(
            trainer,
            prompter.prompt_ids(problem.question),
            prompter.target_ids(target),
            prompter.target_ids(worse),
        ),
        targets=targets_under(functions, [row], [target], outcome),
    )
    broken = [found for found in diagnose_smoke(facts) if found.severity is Severity.BROKEN]
    if broken:
        raise TrainingError(f"{broken[0].code}: {broken[0].evidence}", broken[0].advice)
    return facts


def check_handover(
    trainer: GRPOTrainer, prompter: Prompter, problems: Sequence[Problem], measured: float
) -> float:
    """Return the greedy format rate of the trainer's own model on the trainer's own prompts.

    Raises:
        TrainingError: If it is more than `HANDOVER_TOLERANCE` from ``measured``: the adapter was dropped,
            the template changed, or the prompt is another one.
    """
    prompts, _, _ = trainer._tokenize_prompts([prompter.messages(problem.question) for problem in problems])
    groups = generate(
        trainer.accelerator.unwrap_model(trainer.model),
        prompter.tokenizer,
        prompts,
        max_tokens=trainer.args.max_completion_length,
        batch_size=len(prompts),
    )
    texts = [group[0].after(prompter.prefill).text for group in groups]
    rate = sum(parse(text, prompter.tags).strict for text in texts) / len(groups)
    if abs(rate - measured) > HANDOVER_TOLERANCE:
        raise TrainingError(
            f"the warm start got lost: format rate {measured:.0%} after SFT, {rate:.0%} inside the GRPO trainer",
            "the adapter, the base or the chat template is not the one SFT saved; delete the warmup folder and run again",
        )
    return rate


def check_vllm(trainer: GRPOTrainer, prompter: Prompter, problems: Sequence[Problem]) -> str:
    """Return a line about the engine that generates, once it has shown that it follows the trainer's weights.

    Raises:
        TrainingError: If it does not, or computes another model.
    """
    assert trainer.engine is not None
    if ranks.sharded() is not None:
        return f"vLLM: not checked, because {ranks.sharded()} has split the weights"
    prompts, _, _ = trainer._tokenize_prompts(
        [prompter.messages(problem.question) for problem in problems[:_ENGINE_PROBLEMS]]
    )
    found = check_engine(
        trainer.accelerator.unwrap_model(trainer.model),
        trainer.engine,
        prompts,
        temperature=trainer.args.temperature,
    )
    return (
        f"vLLM follows the trainer's weights: {found.gap:.3f} nats per token apart, and {found.followed:.3f} "
        f"after a nudge of {found.stale:.2f}"
    )
