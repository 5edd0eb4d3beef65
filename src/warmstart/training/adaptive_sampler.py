"""The problem sampler as TRL's trainer takes it: problems drawn when they are needed, in TRL's own order.

accelerate fetches one batch ahead, so a step's problems are drawn before the step before it is scored: the
posterior they are drawn with is one generation old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from warmstart.problem_sampling import Posterior


class SamplerKeeper(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Holds the posterior and what is drawn and not yet scored, saved with the trainer's checkpoints."""

    def __init__(
        self,
        posterior: Posterior | None = None,
        *,
        problems_per_step: int = 0,
        group_size: int = 0,
        seed: int = 0,
        written: dict[str, Any] | None = None,
    ) -> None:
        self.posterior = posterior
        self.problems_per_step = problems_per_step
        self.group_size = group_size
        self.seed = seed
        self.written = written
        self._unscored: deque[list[int]] = deque()
        self._again: deque[list[int]] = deque()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        written = None
        if self.posterior is not None:
            written = {**self.posterior.to_dict(), "drawn": [list(drawn) for drawn in self._unscored]}
        return {"args": {"written": written}, "attributes": {}}

    def restore(self, written: dict[str, Any]) -> None:
        """Go on from a checkpoint: what was drawn and not scored is drawn again."""
        if self.posterior is not None:
            self.posterior = self.posterior.restored(written)
            self._unscored.clear()
            self._again = deque(list(drawn) for drawn in written["drawn"])

    def draw(self) -> list[int]:
        """Return the problems of the next step, by their rows in the data set."""
        if self._again:
            drawn = self._again.popleft()
        else:
            assert self.posterior is not None
            self.posterior, drawn = self.posterior.draw(
                self.problems_per_step, self.group_size, seed=self.seed
            )
        self._unscored.append(drawn)
        return drawn

    def learn(self, outcome: torch.Tensor) -> list[int]:
        """Take the outcomes of the oldest unscored draw and return its problems.

        Args:
            outcome: 1, 0 or NaN of every completion of the step, over all processes, groups together.
        """
        assert self.posterior is not None
        drawn = self._unscored.popleft()
        groups = outcome.view(len(drawn), -1).double().cpu().numpy()
        known = ~np.isnan(groups)
        self.posterior = self.posterior.learn(
            drawn, np.nansum(groups, axis=1).tolist(), known.sum(axis=1).tolist()
        )
        return drawn


class AdaptiveSampler(Sampler[int]):
    """Rows of the data set in the order of TRL's `RepeatSampler`, each step's problems drawn when asked for."""

    def __init__(self, keeper: SamplerKeeper, *, steps: int, repeats: int) -> None:
        self._keeper = keeper
        self._steps = steps
        self._repeats = repeats

    def __iter__(self) -> Iterator[int]:
        for _ in range(self._steps):
            drawn = self._keeper.draw()
            for _ in range(self._repeats):
                for problem in drawn:
                    for _ in range(self._keeper.group_size):
                        yield problem

    def __len__(self) -> int:
        keeper = self._keeper
        return self._steps * self._repeats * keeper.problems_per_step * keeper.group_size


def strata_by_length(prompts: Sequence[Any]) -> list[int]:
    """Return the quarter of each prompt by its length: what there is to pool by when nothing else is known."""
    lengths = np.array([len(str(prompt)) for prompt in prompts])
    edges = np.quantile(lengths, [0.25, 0.5, 0.75]) if lengths.size else np.zeros(3)
    return [int(quarter) for quarter in np.searchsorted(edges, lengths)]
