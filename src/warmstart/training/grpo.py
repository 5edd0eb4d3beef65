"""GRPO (Group Relative Policy Optimization, arXiv:2402.03300) with TRL's trainer and LoRA.

`GRPOTrainer` is TRL's, with the signal of every step measured from raw rewards and every completion
kept; it owns no training loop. `train_grpo` translates values into TRL's arguments and runs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import trl
from datasets import Dataset

from warmstart.batching import BatchPlan
from warmstart.errors import TrainingError
from warmstart.learning_signal import group_signal, live_groups
from warmstart.models import trainable_parameters
from warmstart.records import Problem
from warmstart.rollouts import generate
from warmstart.tags import parse
from warmstart.templates import Prompter
from warmstart.training.arguments import fixed_arguments
from warmstart.training.callbacks import Metrics, quieten

if TYPE_CHECKING:
    from peft import PeftModel

    from warmstart.progress import Progress
    from warmstart.training.callbacks import Sink

RolloutSink = Callable[[int, list[dict[str, Any]]], None]
"""Takes the step and its completions."""
RewardFunction = Callable[..., list[float | None]]

HANDOVER_TOLERANCE = 0.05
"""The format rate inside the trainer may differ this much from the one measured after SFT."""


@dataclass(frozen=True, slots=True)
class SignalConfig:
    """What the trainer needs to know to measure signal.

    Attributes:
        outcome: Name of the reward that says whether the answer is right (positive) or not (zero). None
            measures live groups alone.
        on_rollouts: Gets every completion of every step, on the main process.
    """

    outcome: str | None = None
    on_rollouts: RolloutSink | None = None


class GRPOTrainer(trl.GRPOTrainer):  # type: ignore[misc]
    """TRL's `GRPOTrainer` that knows whether it is learning; same arguments, plus ``signal``.

    With an outcome named, a completion whose outcome is undecided (None) is left out of its group
    altogether. TRL alone would sum its other rewards as if the answer were wrong.

    Raises:
        ValueError: If ``signal.outcome`` is not the name of one of the reward functions.
    """

    def __init__(self, *args: Any, signal: SignalConfig | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.signal = signal or SignalConfig()
        if self.signal.outcome is not None and self.signal.outcome not in self.reward_func_names:
            raise ValueError(
                f"signal.outcome {self.signal.outcome!r} is none of the rewards {self.reward_func_names}"
            )
        self._pending_rollouts: list[dict[str, Any]] = []

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        started = time.perf_counter()
        generated = super()._generate_single_turn(*args, **kwargs)
        self._record("time/generate_s", time.perf_counter() - started)
        return generated

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        started = time.perf_counter()
        rewards: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if not self.model.training:
            return rewards
        outcome = self._outcome(rewards)
        if self.signal.outcome is not None:
            rewards[torch.isnan(outcome)] = torch.nan
        self._measure(rewards, outcome, completion_ids_list)
        if self.signal.on_rollouts is not None:
            self._keep(inputs, completions, completion_ids_list, rewards)
        self._record("time/score_s", time.perf_counter() - started)
        return rewards

    def _prepare_inputs(self, generation_batch: Any) -> Any:  # noqa: ANN401
        prepared = super()._prepare_inputs(generation_batch)
        if self._pending_rollouts and self.signal.on_rollouts is not None:
            # TRL computes the advantages after the rewards; its log holds them in the same order.
            advantages = list(self._logs["advantages"])[-len(self._pending_rollouts) :]
            for row, advantage in zip(self._pending_rollouts, advantages, strict=True):
                row["advantage"] = advantage
            if self.accelerator.is_main_process:
                self.signal.on_rollouts(self.state.global_step + 1, self._pending_rollouts)
            self._pending_rollouts = []
        return prepared

    def _record(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)

    def _outcome(self, rewards: torch.Tensor) -> torch.Tensor:
        """Return 1 for right, 0 for not right, NaN for undecided; shape (completions,)."""
        if self.signal.outcome is None:
            return torch.full_like(rewards[:, 0], torch.nan)
        column = rewards[:, self.reward_func_names.index(self.signal.outcome)]
        return torch.where(torch.isnan(column), column, (column > 0).to(column.dtype))

    def _totals(self, rewards: torch.Tensor) -> torch.Tensor:
        totals: torch.Tensor = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        totals[torch.isnan(rewards).all(dim=1)] = torch.nan
        return totals

    def _measure(
        self, rewards: torch.Tensor, outcome: torch.Tensor, completion_ids_list: list[list[int]]
    ) -> None:
        groups = (-1, self.num_generations)
        totals = self._totals(rewards).view(groups).double().cpu().numpy()
        signal = group_signal(totals, outcome.view(groups).double().cpu().numpy())
        self._record("signal/live_share", signal.live)
        if self.signal.outcome is not None:
            self._record("signal/all_fail_share", signal.all_fail)
            self._record("signal/all_pass_share", signal.all_pass)
            self._record("signal/undecided_share", float(torch.isnan(outcome).float().mean()))
        tokens = torch.tensor([sum(len(ids) for ids in completion_ids_list)], device=rewards.device)
        self._record("signal/generated_tokens", float(self.accelerator.gather(tokens).sum()))

    def _keep(
        self,
        inputs: list[dict[str, Any]],
        completions: list[Any],
        completion_ids_list: list[list[int]],
        rewards: torch.Tensor,
    ) -> None:
        from accelerate.utils import gather_object

        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        rows = [
            {
                "step": self.state.global_step + 1,
                "problem_id": str(example.get("problem_id", "")),
                "question": str(example.get("question", "")),
                "gold": str(example.get("answer", "")),
                "text": text,
                "tokens": len(ids),
            }
            for example, text, ids in zip(inputs, texts, completion_ids_list, strict=True)
        ]
        rows = gather_object(rows)
        totals = self._totals(rewards).cpu().numpy()
        live = np.repeat(live_groups(totals.reshape(-1, self.num_generations)), self.num_generations)
        for index, row in enumerate(rows):
            row["sample"] = index % self.num_generations
            row["rewards"] = dict(zip(self.reward_func_names, _known(rewards[index].tolist()), strict=True))
            row["reward"] = _known([float(totals[index])])[0]
            row["live"] = bool(live[index])
        self._pending_rollouts = rows


def _known(values: list[float]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values]


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

    Raises:
        TrainingError: If nothing would be trained, or the warm start got lost on the way.
    """
    if trainable_parameters(model) == 0:
        raise TrainingError(
            "GRPO has no trainable parameters", "the adapter is frozen; load it with models.continue_adapter"
        )
    config = trl.GRPOConfig(
        **{
            **fixed_arguments(folder),
            "max_steps": steps,
            "per_device_train_batch_size": batches.per_device,
            "gradient_accumulation_steps": batches.accumulation,
            "num_generations": group_size,
            "reward_weights": [weight for _, weight in rewards.values()],
            **arguments,
        }
    )
    generated = 0

    def count(line: dict[str, Any]) -> None:
        nonlocal generated
        generated += line.get("generated_tokens", 0)
        sink(line)

    with progress.task("GRPO", steps, "steps") as task:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=[function for function, _ in rewards.values()],
            args=config,
            train_dataset=Dataset.from_list(prompt_rows(prompter, problems)),
            processing_class=prompter.tokenizer,
            callbacks=[Metrics("grpo", task, count)],
            signal=SignalConfig(outcome=outcome, on_rollouts=on_rollouts),
        )
        quieten(trainer)
        if handover is not None:
            check_handover(trainer, prompter, *handover)
        trainer.train()
    trainer.model.save_pretrained(str(folder))
    prompter.tokenizer.save_pretrained(str(folder))
    return {"steps": steps, "generated_tokens": generated, "trained_tokens": generated}


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
    rate = sum(parse(group[0].text, prompter.tags).strict for group in groups) / len(groups)
    if abs(rate - measured) > HANDOVER_TOLERANCE:
        raise TrainingError(
            f"the warm start got lost: format rate {measured:.0%} after SFT, {rate:.0%} inside the GRPO trainer",
            "the adapter, the base or the chat template is not the one SFT saved; delete the warmup folder and run again",
        )
    return rate
