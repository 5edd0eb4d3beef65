"""GRPO (Group Relative Policy Optimization, arXiv:2402.03300) with TRL's trainer and LoRA.

`train_grpo` translates values into TRL's arguments and runs `warmstart.training.trainer.GRPOTrainer`.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trl
from datasets import Dataset
from transformers import TrainerCallback

from warmstart.batching import BatchPlan
from warmstart.errors import TrainingError
from warmstart.models import train_in_float32, trainable_parameters
from warmstart.records import Problem
from warmstart.rewards.functions import RewardFunction
from warmstart.rewards.process import ProcessReward
from warmstart.templates.prompter import Prompter
from warmstart.time_split import Work
from warmstart.training.arguments import fixed_arguments
from warmstart.training.callbacks import Metrics, TimeNote, quieten
from warmstart.training.checkpoints import Checkpoints
from warmstart.training.dry_step import fitting, worst_grpo
from warmstart.training.finite import FiniteOnly
from warmstart.training.reward_faults import RewardFaults
from warmstart.training.saving import save_adapter
from warmstart.training.signal_config import RolloutSink, SignalConfig
from warmstart.training.start_checks import check_start, check_vllm
from warmstart.training.trackers import tracked
from warmstart.training.trainer import GRPOTrainer

if TYPE_CHECKING:
    from peft import PeftModel

    from warmstart.curriculum import RewardPlan
    from warmstart.progress import Progress
    from warmstart.training.adaptive_sampler import ProblemSampling
    from warmstart.training.callbacks import Sink
    from warmstart.training.watch import SignalWatch


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


@dataclass(frozen=True)
class _Parts:
    """What the trainer is made of, however its batch is cut."""

    model: PeftModel
    prompter: Prompter
    rows: list[dict[str, Any]]
    rewards: Mapping[str, tuple[RewardFunction, float]]
    arguments: Mapping[str, Any]
    callbacks: Sequence[TrainerCallback]
    signal: SignalConfig
    say: Callable[[str], None]

    def trainer(self, cut: BatchPlan) -> GRPOTrainer:
        """Return a trainer with this micro-batch and accumulation."""
        if "ref" in self.model.peft_config:
            # The reference that TRL made for the trainer before this one.
            self.model.delete_adapter("ref")
        sizes = {
            "per_device_train_batch_size": cut.per_device,
            "gradient_accumulation_steps": cut.accumulation,
        }
        made = GRPOTrainer(
            model=self.model,
            reward_funcs=[
                after_prefill(function, self.prompter.prefill) for function, _ in self.rewards.values()
            ],
            args=trl.GRPOConfig(**{**sizes, **self.arguments}),
            train_dataset=Dataset.from_list(self.rows),
            processing_class=self.prompter.tokenizer,
            callbacks=[FiniteOnly("grpo", self.say), *self.callbacks],
            signal=self.signal,
        )
        if not (made.is_fsdp_enabled or made.is_deepspeed_enabled):
            train_in_float32(self.model)
        return made


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
    gate: bool = True,
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
        gate: Rewards beside the outcome count only in groups of mixed outcomes; a plan decides it by its stage.
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
    newest = None if checkpoints is None else checkpoints.newest
    with progress.task("GRPO", steps, "steps") as task:
        metrics = Metrics("grpo", task, functools.partial(_line, sink, watch))
        parts = _Parts(
            model=model,
            prompter=prompter,
            rows=prompt_rows(prompter, problems),
            rewards=rewards,
            arguments={
                **fixed_arguments(folder.parent / "trainer" if checkpoints is None else checkpoints.folder),
                "max_steps": steps,
                "num_generations": group_size,
                "reward_weights": [weight for _, weight in rewards.values()],
                **arguments,
            },
            # The watch judges a step before its line is written: what it says stands in the line.
            callbacks=[one for one in (watch, metrics, checkpoints) if one is not None],
            signal=SignalConfig(
                outcome=outcome,
                on_rollouts=functools.partial(_seen, on_rollouts, watch),
                reward_faults=_faults_of(rewards, progress),
                prefill=prompter.prefill,
                tags=prompter.tags,
                plan=plan,
                gate=gate,
                sampling=sampling,
                on_plan=lambda step, why: progress.say(f"step {step}: {why}"),
            ),
            say=progress.say,
        )
        longest = longest_prompt(prompter, problems)
        trainer = fitting(
            parts.trainer,
            batches,
            lambda made, count: worst_grpo(made, longest, made.max_completion_length, count),
            name="grpo.micro_batch",
            say=progress.say,
        )
        quieten(trainer)
        if watch is not None:
            # What it measures on held-out problems goes into the trainer's own log, and so into trackers.
            watch.record = trainer._record
        trainer.add_callback(TimeNote(functools.partial(work_of, trainer), progress.say))
        if newest is None:
            check_start(trainer, prompter, problems[0], rewards, outcome, handover)
        if trainer.engine is not None:
            progress.say(check_vllm(trainer, prompter, problems))
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


def _line(sink: Sink, watch: SignalWatch | None, line: dict[str, Any]) -> None:
    said = [] if watch is None else watch.said_at(line["step"])
    sink(line | {"events": said} if said else line)


def _seen(on_rollouts: RolloutSink, watch: SignalWatch | None, step: int, rows: list[dict[str, Any]]) -> None:
    on_rollouts(step, rows)
    if watch is not None:
        watch.see(step, rows)


def _faults_of(
    rewards: Mapping[str, tuple[RewardFunction, float]], progress: Progress
) -> RewardFaults | None:
    own = [function for function, _ in rewards.values() if isinstance(function, ProcessReward)]
    return RewardFaults(own, progress.say) if own else None


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
