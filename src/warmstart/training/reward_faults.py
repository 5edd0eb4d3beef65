"""What becomes of a step in which a reward function of one's own failed: on every process the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from accelerate.utils import gather_object

from warmstart.errors import TrainingError
from warmstart.rewards.process import CallFault, ProcessReward

PATIENCE = 3
"""So many steps in turn may fail on more than `TOLERATED` of the completions."""
TOLERATED = 0.1

Said = Callable[[str], None]


class RewardFaults:
    """Leaves out the completions on which a reward failed, and ends a run that gets nothing else.

    Args:
        functions: The rewards that run in processes of their own.
        say: Gets a line for every fault of a kind not seen before.
    """

    def __init__(self, functions: Sequence[ProcessReward], say: Said) -> None:
        self._functions = tuple(functions)
        self._say = say
        self._seen: set[tuple[str, str]] = set()
        self._in_turn: Counter[str] = Counter()

    def left_out(self, completions: int, *, process: int, step: int) -> torch.Tensor:
        """Return which completions of the whole step are left out, shape (completions,), on every process.

        Args:
            completions: Of the whole step, an equal share of them on each process.
            process: The number of this one.
            step: For the messages.

        Raises:
            TrainingError: If a reward failed on all of them, or on many of them again and again.
        """
        mine = [(process, *fault) for function in self._functions for fault in function.take_faults()]
        found = gather_object(mine)
        per_process = completions // (torch.distributed.get_world_size() if _is_distributed() else 1)
        out = torch.zeros(completions, dtype=torch.bool)
        for name in sorted({fault[1] for fault in found}):
            of_this = [(one[0], CallFault(*one[1:])) for one in found if one[1] == name]
            rows = {place * per_process + row for place, fault in of_this for row in fault.rows}
            out[sorted(rows)] = True
            self._judge(of_this[0][1], len(rows), completions, step)
        for name in list(self._in_turn):
            if name not in {fault[1] for fault in found}:
                del self._in_turn[name]
        return out

    def _judge(self, fault: CallFault, failed: int, completions: int, step: int) -> None:
        told = f"the reward {fault.name} failed on {failed} of {completions} completions of step {step}: "
        told += f"{fault.kind}, {fault.example}"
        many = failed > TOLERATED * completions
        self._in_turn[fault.name] = self._in_turn[fault.name] + 1 if many else 0
        hint = "mend it and run the same command again; what is finished stays (a changed file asks for --accept-changes)"
        if failed == completions:
            raise TrainingError(told, hint)
        if self._in_turn[fault.name] >= PATIENCE:
            raise TrainingError(f"{told}; and on as many in the {PATIENCE - 1} steps before", hint)
        if (fault.name, fault.kind) not in self._seen:
            self._seen.add((fault.name, fault.kind))
            self._say(f"{told}; they are left out")


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
