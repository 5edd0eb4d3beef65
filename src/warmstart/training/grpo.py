"""GRPO (Group Relative Policy Optimization, arXiv:2402.03300) with TRL's trainer and LoRA.

`train_grpo` translates values into TRL's arguments and runs `warmstart.training.trainer.GRPOTrainer`.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trl
from datasets import Dataset

from warmstart import ranks
from warmstart.batching import BatchPlan
from warmstart.diagnosis import Severity, SmokeFacts, diagnose_smoke
from warmstart.errors import TrainingError
from warmstart.models import train_in_float32, trainable_parameters
from warmstart.records import Problem
from warmstart.rewards.process import ProcessReward
from warmstart.rollouts import generate
from warmstart.tags import parse
from warmstart.templates.prompter import Prompter
from warmstart.time_split import Work
from warmstart.training.arguments import fixed_arguments
from warmstart.training.callbacks import Metrics, TimeNote, quieten
from warmstart.training.checkpoints import Checkpoints
from warmstart.training.dry_step import fitting, worst_grpo
from warmstart.training.engine import check_engine
from warmstart.training.finite import FiniteOnly
from warmstart.training.reward_faults import RewardFaults
from warmstart.training.saving import save_adapter
from warmstart.training.signal_config import RolloutSink, SignalConfig
from warmstart.training.smoke import smoke_step, targets_under
from warmstart.training.trackers import tracked
from warmstart.training.trainer import GRPOTrainer

if TYPE_CHECKING:
    from peft import PeftModel

    from warmstart.curriculum import RewardPlan
    from warmstart.progress import Progress
    from warmstart.training.adaptive_sampler import ProblemSampling
    from warmstart.training.callbacks import Sink
    from warmstart.training.watch import SignalWatch

RewardFunction = Callable[..., list[float | None]]

_ENGINE_PROBLEMS = 8
"""Prompts that the engine is tested with."""
HANDOVER_TOLERANCE = 0.05
"""The format rate inside the trainer may differ this much from the one measured after SFT."""


def prompt_rows(prompter: Prompter, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return the data set GRPO trains on: the conversation, the gold and what names the problem."""
    return [
        {
            "prompt": prompter.messages(problem.question),
            "answer": problem.gold,
            "problem_id": problem.id,
            "question": problem.question,
        }
        for problem in problems
    ]


def after_prefill(function: RewardFunction, prefill: str) -> RewardFunction:
    """Return the reward of completions whose first characters the prompt has already written."""
    if not prefill:
        return function

    @functools.wraps(function)
    def rewarded(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:  # noqa: ANN401
        whole = [
            prefill + completion
            if isinstance(completion, str)
            else [{**completion[0], "content": prefill + completion[0]["content"]}, *completion[1:]]
            for completion in completions
        ]
        return function(prompts=prompts, completions=whole, **columns)

    return rewarded


def train_grpo(
    model: PeftModel,
    prompter: Prompter,
    problems: Sequence[Problem],
    rewards: Mapping[str, tuple[RewardFunction, float]],
    *,
    outcome: str,
    folder: Path,
    steps: int,
    group_size: int,
    batches: BatchPlan,
    arguments: Mapping[str, Any],
    handover: tuple[Sequence[Problem], float] | None,
    progress: Progress,
    sink: Sink,
    on_rollouts: RolloutSink,
    watch: SignalWatch | None = None,
    plan: RewardPlan | None = None,
    sampling: ProblemSampling | None = None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Train the adapter in place, save it with its tokenizer into ``folder``, return the facts.

    Args:
        model: With a trainable adapter, fresh or continued.
        prompter: The one SFT used.
        problems: To train on.
        rewards: Reward functions by name, each with its weight.
        outcome: The reward that says right or wrong.
        folder: Where the adapter goes.
        steps: Optimizer steps, one generation batch each.
        group_size: Completions per problem; TRL's ``num_generations``.
        batches: Micro-batch and accumulation.
        arguments: The rest of TRL's `GRPOConfig`.
        handover: Problems and the greedy format rate measured on them after SFT; the trainer's own model
            and prompts must reproduce it before the first step.
        progress: Shows the live line.
        sink: Gets the metrics of every step.
        on_rollouts: Gets every completion.
        watch: Says what keeps the run from learning, and may end it.
        plan: The reward plan to start with; None keeps the weights of ``rewards``.
        sampling: What is known of the problems, to choose among them; None asks all alike.
        checkpoints: Where training goes on from, and saves where it stands.

    Raises:
        TrainingError: If nothing would be trained, if the warm start got lost on the way, or if no gradient
            would reach the adapter.
    """
    if trainable_parameters(model) == 0:
        raise TrainingError(
            "GRPO has no trainable parameters", "the adapter is frozen; load it with models.continue_adapter"
        )
    settings = {
        **fixed_arguments(folder.parent / "trainer" if checkpoints is None else checkpoints.folder),
        "max_steps": steps,
        "num_generations": group_size,
        "reward_weights": [weight for _, weight in rewards.values()],
    }

    def count(line: dict[str, Any]) -> None:
        said = [] if watch is None else watch.said_at(line["step"])
        sink(line | {"events": said} if said else line)

    def keep(step: int, rows: list[dict[str, Any]]) -> None:
        on_rollouts(step, rows)
        if watch is not None:
            watch.see(step, rows)

    own = [function for function, _ in rewards.values() if isinstance(function, ProcessReward)]
    newest = None if checkpoints is None else checkpoints.newest
    with progress.task("GRPO", steps, "steps") as task:
        metrics = Metrics("grpo", task, count)

        def make(cut: BatchPlan) -> GRPOTrainer:
            sizes = {
                "per_device_train_batch_size": cut.per_device,
                "gradient_accumulation_steps": cut.accumulation,
            }
            if "ref" in model.peft_config:
                # The reference that TRL made for the trainer before this one.
                model.delete_adapter("ref")
            made = GRPOTrainer(
                model=model,
                reward_funcs=[after_prefill(function, prompter.prefill) for function, _ in rewards.values()],
                args=trl.GRPOConfig(**{**settings, **sizes, **arguments}),
                train_dataset=Dataset.from_list(prompt_rows(prompter, problems)),
                processing_class=prompter.tokenizer,
                callbacks=[
                    FiniteOnly("grpo", progress.say),
                    # The watch judges a step before its line is written: what it says stands in the line.
                    *([] if watch is None else [watch]),
                    metrics,
                    *([] if checkpoints is None else [checkpoints]),
                ],
                signal=SignalConfig(
                    outcome=outcome,
                    on_rollouts=keep,
                    reward_faults=RewardFaults(own, progress.say) if own else None,
                    prefill=prompter.prefill,
                    tags=prompter.tags,
                    plan=plan,
                    sampling=sampling,
                    on_plan=lambda step, why: progress.say(f"step {step}: {why}"),
                ),
            )
            if not (made.is_fsdp_enabled or made.is_deepspeed_enabled):
                train_in_float32(model)
            return made

        longest = longest_prompt(prompter, problems)
        trainer = fitting(
            make,
            batches,
            lambda made, count: worst_grpo(made, longest, made.max_completion_length, count),
            name="grpo.micro_batch",
            say=progress.say,
        )
        quieten(trainer)
        _record_checks(watch, trainer)
        trainer.add_callback(TimeNote(functools.partial(work_of, trainer), progress.say))
        if newest is None:
            _check_start(trainer, prompter, problems[0], rewards, outcome, handover)
        _check_engine(trainer, prompter, problems, progress)
        with tracked(trainer, folder.parent / "tensorboard"):
            trainer.train(resume_from_checkpoint=newest)
        if checkpoints is not None:
            checkpoints.leave_if_stopped()
    save_adapter(trainer, prompter.tokenizer, folder)
    return {
        "steps": trainer.state.global_step,
        "generated_tokens": metrics.generated_tokens,
        "trained_tokens": metrics.generated_tokens,
    }


def _check_start(
    trainer: GRPOTrainer,
    prompter: Prompter,
    problem: Problem,
    rewards: Mapping[str, tuple[RewardFunction, float]],
    outcome: str,
    handover: tuple[Sequence[Problem], float] | None,
) -> None:
    if handover is not None:
        check_handover(trainer, prompter, *handover)
    check_gradient(trainer, prompter, problem, [function for function, _ in rewards.values()], outcome)


def _check_engine(
    trainer: GRPOTrainer, prompter: Prompter, problems: Sequence[Problem], progress: Progress
) -> None:
    if trainer.engine is not None:
        progress.say(check_vllm(trainer, prompter, problems[:_ENGINE_PROBLEMS]))


def work_of(trainer: GRPOTrainer, longest: float) -> Work:
    """Return what a step's time is spent on, given its longest completion in tokens."""
    return Work(
        cap=trainer.args.max_completion_length,
        longest=longest,
        on_gpu=trainer.accelerator.device.type == "cuda",
        uses_vllm=trainer.use_vllm,
        checkpointing=trainer.args.gradient_checkpointing,
        switched_off=trainer.switched_off,
    )


def longest_prompt(prompter: Prompter, problems: Sequence[Problem]) -> list[int]:
    """Return the tokens of the longest prompt, looked for among the sixteen longest questions."""
    candidates = heapq.nlargest(16, problems, key=lambda problem: len(problem.question))
    return max((prompter.prompt_ids(problem.question) for problem in candidates), key=len)


def check_vllm(trainer: GRPOTrainer, prompter: Prompter, problems: Sequence[Problem]) -> str:
    """Return a line about the engine that generates, once it has shown that it follows the trainer's weights.

    Raises:
        TrainingError: If it does not, or computes another model.
    """
    assert trainer.engine is not None
    if ranks.sharded() is not None:
        return f"vLLM: not checked, because {ranks.sharded()} has split the weights"
    prompts, _, _ = trainer._tokenize_prompts([prompter.messages(problem.question) for problem in problems])
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


def _record_checks(watch: SignalWatch | None, trainer: GRPOTrainer) -> None:
    """Let what the watch measures on held-out problems into the trainer's own log, and so into trackers."""
    if watch is not None:
        watch.record = trainer._record


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
