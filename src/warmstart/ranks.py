"""The processes of one run: how they share work, agree, and end when one of them is lost.

A run is one process, or many that ``torchrun`` or ``accelerate launch`` started. All of them go through
the same stages in the same order. Sampling is shared out; what must be judged once (a grader that can run
out of time, a clock, a file) is judged by the main process and told to the others, so that no two of them
ever take different ways; and the main process alone writes and speaks.

torch is imported only where there is more than one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from warmstart.errors import TrainingError, WarmstartError

T = TypeVar("T")

PATIENCE = timedelta(minutes=60)
"""How long a process waits for the others. A process that died is noticed at once; this ends a run of which
one process hangs, and must be longer than the main process alone may grade."""

_LOST = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Timed out waiting",
    "NCCL communicator was aborted",
    "remote process exited",
)
_speaking_alone = False
"""The main process is inside `from_main`: what it asks there is asked of itself."""


def launched() -> int:
    """Return how many processes the launcher says there are; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def index() -> int:
    """Return the number of this process, 0 for the main one."""
    return int(os.environ.get("RANK", "0")) if launched() > 1 else 0


def is_main() -> bool:
    """Say whether this is the process that writes and speaks."""
    return index() == 0


def join() -> None:
    """Meet the other processes, each on a device of its own; nothing happens where there is only one."""
    if launched() > 1:
        # The probe and the evaluation load whole models; FSDP's switch would leave all but one of them empty.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
        import torch
        from accelerate import PartialState

        # Without a GPU accelerate must be told, or every process would take itself for the only one.
        PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def leave() -> None:
    """Part from the other processes: the run is over."""
    if count() > 1:
        import torch

        torch.distributed.destroy_process_group()


def count() -> int:
    """Return how many processes have met."""
    if launched() == 1:
        return 1
    import torch

    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def from_main(function: Callable[[], T]) -> T:
    """Return what ``function`` returns on the main process, on every process; the others do not call it.

    Raises:
        WarmstartError: What it raised, on every process, so that all of them end.
    """
    global _speaking_alone
    if count() == 1 or _speaking_alone:
        return function()
    import torch

    told: list[Any] = [None, None]
    if is_main():
        _speaking_alone = True
        try:
            told[0] = function()
        except WarmstartError as error:
            told[1] = error
        finally:
            _speaking_alone = False
    torch.distributed.broadcast_object_list(told, src=0)
    if told[1] is not None:
        told[1].is_said = not is_main()
        raise told[1]
    value: T = told[0]
    return value


def share(items: Sequence[T]) -> list[T]:
    """Return this process's share: dealt in turn, so that neighbours, which cost alike, go to all of them."""
    return list(items[index() :: count()]) if count() > 1 else list(items)


def gather(mine: list[T]) -> list[T]:
    """Return what all processes have, one after the other, on every process."""
    if count() == 1:
        return mine
    import torch

    everyones: list[list[T]] = [[]] * count()
    torch.distributed.all_gather_object(everyones, mine)
    return [item for theirs in everyones for item in theirs]


def wait() -> None:
    """Go on when every process is here."""
    if count() > 1:
        import torch

        torch.distributed.barrier()


def sharded() -> str | None:
    """Return what splits the weights over the processes ("FSDP" or "ZeRO-3"), or None: each has all of them."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        return "FSDP"
    is_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    if is_deepspeed and os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
        return "ZeRO-3"
    return None


@contextmanager
def together() -> Iterator[None]:
    """Meet the other processes for the ``with`` block, and end in a sentence when one of them is lost.

    Raises:
        TrainingError: If another process ended or does not answer.
    """
    join()
    try:
        yield
    except RuntimeError as error:
        if not _tells_of_a_loss(error):
            raise
        why = str(error).strip().splitlines()[0].partition(". ")[0]
        raise TrainingError(
            f"another process of this run is gone: {why}",
            "what it said stands above; the same command again goes on from the last checkpoint",
        ) from error


def _tells_of_a_loss(error: RuntimeError) -> bool:
    if count() == 1:
        return False
    import torch

    return isinstance(error, torch.distributed.DistError) or any(sign in str(error) for sign in _LOST)
