"""From problems per step and group size to what TRL wants: micro-batch and accumulation."""

from __future__ import annotations

from dataclasses import dataclass

from warmstart.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BatchPlan:
    per_device: int
    accumulation: int
    completions_per_step: int


def plan_batches(problems_per_step: int, group_size: int, *, micro_batch: int | None = None, processes: int = 1) -> BatchPlan:
    total = problems_per_step * group_size
    per = micro_batch or total // processes
    if total % (processes * per):
        raise ConfigError("bad micro-batch")
    return BatchPlan(per, total // (processes * per), total)
