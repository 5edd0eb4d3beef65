"""From problems per step and group size to what TRL wants: micro-batch and accumulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from warmstart.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How the completions of one optimizer step are cut up.

    Attributes:
        per_device: Completions per forward pass and process; TRL's ``per_device_train_batch_size``.
        accumulation: Forward passes per optimizer step; TRL's ``gradient_accumulation_steps``.
        completions_per_step: ``per_device × accumulation × processes``.
    """

    per_device: int
    accumulation: int
    completions_per_step: int


def plan_batches(
    problems_per_step: int,
    group_size: int,
    *,
    micro_batch: int | None = None,
    processes: int = 1,
    name: str = "grpo.micro_batch",
) -> BatchPlan:
    """Return the plan with ``processes × per_device × accumulation = problems_per_step × group_size``.

    Args:
        problems_per_step: Over all processes.
        group_size: Completions per problem, at least 2.
        micro_batch: Completions per forward pass and process; None takes all of a process's share.
        processes: How many processes train together.
        name: What the user calls ``micro_batch``, for the message.

    Raises:
        ConfigError: If the completions do not divide among the processes or into micro-batches; the
            message names the three nearest values that do.
    """
    total = problems_per_step * group_size
    if total % processes and name.startswith("sft."):
        valid = _nearest(group_size, lambda rows: rows % processes == 0, limit=group_size + processes)
        raise ConfigError(
            f"sft.batch_size {group_size} does not divide among {processes} processes",
            f"sft.batch_size can be {valid}",
        )
    if total % processes:
        valid = _nearest(
            problems_per_step, lambda p: p * group_size % processes == 0, limit=problems_per_step + processes
        )
        raise ConfigError(
            f"grpo.problems_per_step {problems_per_step} × grpo.group_size {group_size} = {total} completions do not divide "
            f"among {processes} processes",
            f"grpo.problems_per_step can be {valid}",
        )
    share = total // processes
    # A micro-batch is chosen for the memory of one device: with many of them a share may be smaller.
    per_device = share if micro_batch is None else min(micro_batch, share) if processes > 1 else micro_batch
    if share % per_device:
        valid = _nearest(per_device, lambda m: share % m == 0, limit=share)
        raise ConfigError(
            f"{name} {per_device} does not divide the {share} rows that each process has per step",
            f"{name} can be {valid}",
        )
    return BatchPlan(per_device, share // per_device, total)


def check_plan(
    problems_per_step: int,
    group_size: int,
    *,
    micro_batch: int | None = None,
    name: str = "grpo.micro_batch",
) -> None:
    """Pass if there is a plan for one process.

    Raises:
        ValueError: With the message of `plan_batches` and its hint in one line, for the recipe's schema.
    """
    try:
        plan_batches(problems_per_step, group_size, micro_batch=micro_batch, name=name)
    except ConfigError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


def _nearest(wanted: int, is_valid: Callable[[int], bool], *, limit: int) -> str:
    valid = [value for value in range(1, limit + 1) if is_valid(value)]
    near = sorted(sorted(valid, key=lambda value: (abs(value - wanted), value))[:3])
    return " or ".join(map(str, near))
