"""What `GRPOTrainer` is told beside TRL's own arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from warmstart.curriculum import RewardPlan
from warmstart.tags import DEFAULT_TAGS, Tags
from warmstart.training.adaptive_sampler import ProblemSampling
from warmstart.training.reward_faults import RewardFaults

RolloutSink = Callable[[int, list[dict[str, Any]]], None]
"""Takes the step and its completions."""


@dataclass(frozen=True, slots=True)
class SignalConfig:
    """What the trainer needs to know to measure signal, and which of its shortcuts it may take.

    Attributes:
        outcome: Name of the reward that says whether the answer is right (positive) or not (zero). None
            measures live groups alone.
        plan: Where the reward plan starts; None keeps the weights it was given.
        on_plan: Gets the step and the reason when the plan changes its stage.
        gate: In a group whose outcomes are all equal, the other rewards carry no gradient. Normalising by
            the group's spread would blow their noise up to full-size advantages.
        on_rollouts: Gets every completion of every step, on the main process.
        sampling: Choose problems by a posterior of their solve rates; needs an outcome. None keeps TRL's order.
        reward_faults: Leaves out the completions on which a reward of one's own failed.
        prefill: What the template writes of every completion, for the log.
        tags: The answer format, for the log.
        fast_rollouts: Generate with warmstart's loop instead of `transformers.generate`: each prompt computed once, and
            on a CPU kept once, finished rows dropped.
        live_rows_only: Leave rows without gradient out of the update.
        share_prompts: Compute the prompt of a group once in the update.
    """

    outcome: str | None = None
    plan: RewardPlan | None = None
    on_plan: Callable[[int, str], None] | None = None
    gate: bool = True
    on_rollouts: RolloutSink | None = None
    sampling: ProblemSampling | None = field(default_factory=ProblemSampling)
    reward_faults: RewardFaults | None = None
    prefill: str = ""
    tags: Tags = DEFAULT_TAGS
    fast_rollouts: bool = True
    live_rows_only: bool = True
    share_prompts: bool = True
