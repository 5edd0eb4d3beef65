"""The problem sampler as TRL's trainer takes it: problems drawn when they are needed, in TRL's own order.

accelerate fetches one batch ahead, so a step's problems are drawn before the step before it is scored: the
posterior they are drawn with is one generation old.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from warmstart.problem_sampling import REST, Posterior


@dataclass(frozen=True, slots=True)
class ProblemSampling:
    """What is known of the problems before training.

    Attributes:
        strata: Of every row of the data set, what makes problems alike (family and steps, say); None pools
            by the length of the prompt.
        known: By row, how many completions were right, and of how many: a probe's.
        rest: Steps a problem rests after it was asked.
    """

    strata: Sequence[object] | None = None
    known: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    rest: int = REST


class SamplerKeeper(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Holds the posterior and what is drawn and not yet scored, saved with the trainer's checkpoints."""

    def __init__(
        self,
        posterior: Posterior | None = None,
        *,
        problems_per_step: int = 0,
        group_size: int = 0,
        seed: int = 0,
        rest: int = REST,
        data: str = "",
    ) -> None:
        self.posterior = posterior
        self.problems_per_step = problems_per_step
        self.group_size = group_size
        self.seed = seed
        self.rest = rest
        self.data = data
        """What tells this data set, in this order, from another."""
        self.resumed_at = (0, 1)
        """Updates before a resume that reads the data again, and how many batches each took."""
        self._unscored: deque[list[int]] = deque()
        self._again: deque[list[int]] = deque()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        written = None
        if self.posterior is not None:
            drawn = [list(one) for one in (*self._unscored, *self._again)]
            written = {**self.posterior.to_dict(), "drawn": drawn, "data": self.data}
        return {"args": {}, "attributes": {"written": written}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Go on from a checkpoint: what was drawn and not scored is drawn again.

        Raises:
            ValueError: If the checkpoint was written over other problems, or over these in another order.
        """
        # What the loader had fetched ahead when a training before this one ended was never asked.
        self._again.extendleft(reversed(self._unscored))
        self._unscored.clear()
        if state.global_step and not args.ignore_data_skip:
            self.resumed_at = (state.global_step, args.gradient_accumulation_steps)
        kept = state.stateful_callbacks.get(type(self).__name__)
        written = kept["attributes"]["written"] if kept and state.global_step else None
        if self.posterior is not None and written is not None:
            if written.get("data", self.data) != self.data:
                raise ValueError(
                    "the checkpoint knows the solve rates of other problems, or of these in another order: "
                    "resume with the data set it was written with, or begin anew"
                )
            self.posterior = self.posterior.restored(written)
            self._again = deque(list(drawn) for drawn in written["drawn"])

    def draw(self) -> list[int]:
        """Return the problems of the next step, by their rows in the data set."""
        if self._again:
            drawn = self._again.popleft()
        else:
            assert self.posterior is not None
            self.posterior, drawn = self.posterior.draw(
                self.problems_per_step, self.group_size, seed=self.seed, rest=self.rest
            )
        self._unscored.append(drawn)
        return drawn

    def learn(self, outcome: torch.Tensor) -> float:
        """Take the outcomes of the oldest unscored draw; return the live share that was expected of it.

        Args:
            outcome: 1, 0 or NaN of every completion of the step, over all processes, groups together.
        """
        assert self.posterior is not None
        drawn = self._unscored.popleft()
        expected = float(self.posterior.live(self.group_size)[drawn].mean())
        groups = outcome.view(len(drawn), -1).cpu().double().numpy()
        known = ~np.isnan(groups)
        self.posterior = self.posterior.learn(
            drawn, np.nansum(groups, axis=1).tolist(), known.sum(axis=1).tolist()
        )
        return expected


class AdaptiveSampler(Sampler[int]):
    """Rows of the data set in the order of TRL's `RepeatSampler`, each step's problems drawn when asked for."""

    def __init__(self, keeper: SamplerKeeper, *, steps: int, repeats: int) -> None:
        self._keeper = keeper
        self._steps = steps
        self._repeats = repeats

    def __iter__(self) -> Iterator[int]:
        # What was drawn before a checkpoint the trainer skips unread: it keeps count of updates and epochs. The
        # last update of an epoch takes what batches are left.
        updates, batches = self._keeper.resumed_at
        self._keeper.resumed_at = (0, 1)
        in_epoch = updates % math.ceil(self._steps * self._repeats / batches)
        skipped = in_epoch * batches // self._repeats
        for number in range(self._steps):
            drawn = [0] * self._keeper.problems_per_step if number < skipped else self._keeper.draw()
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


def _told_apart(dataset: Any) -> str:  # noqa: ANN401
    """Return a digest of the data set's length and of up to 64 of its prompts, evenly spaced."""
    count = len(dataset)
    rows = np.linspace(0, count - 1, min(count, 64)).astype(int).tolist()
    prompts = [dataset[row]["prompt"] for row in rows]
    return hashlib.sha256(json.dumps([count, prompts], default=str).encode()).hexdigest()


def why_not(trainer: Any, has_outcome: bool) -> str | None:  # noqa: ANN401
    """Return why TRL's own order is kept, or None."""
    dataset, config = trainer.train_dataset, trainer.args.accelerator_config
    if not has_outcome:
        return "no outcome is named"
    if not hasattr(dataset, "__len__"):
        return "an iterable data set has no problems to choose among"
    if not trainer.shuffle_dataset:
        return "shuffle_dataset=False asks for the data set's own order"
    if config is not None and (config.dispatch_batches or config.split_batches):
        return "dispatch_batches and split_batches draw on one process alone"
    if len(dataset) < trainer.args.generation_batch_size // trainer.num_generations:
        return "there are fewer problems than a step asks"
    return None


def keeper_of(trainer: Any, sampling: ProblemSampling) -> SamplerKeeper:  # noqa: ANN401
    """Return the keeper of a posterior over the trainer's data set, with what is known of it already."""
    strata = sampling.strata
    if strata is None:
        strata = strata_by_length(trainer.train_dataset["prompt"])
    posterior = Posterior.fresh(strata)
    if sampling.known:
        rows = list(sampling.known)
        right, of = zip(*(sampling.known[row] for row in rows), strict=True)
        posterior = posterior.learn(rows, right, of)
    return SamplerKeeper(
        posterior,
        problems_per_step=trainer.args.generation_batch_size // trainer.num_generations,
        group_size=trainer.num_generations,
        seed=trainer.args.seed,
        rest=sampling.rest,
        data=_told_apart(trainer.train_dataset),
    )
