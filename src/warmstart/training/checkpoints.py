"""A checkpoint: all that a training needs to go on as if it had never been stopped.

It is what `transformers.Trainer` saves (adapter, optimizer, schedule, random states, the state of the callbacks)
with three things beside it: the best adapter so far, the length of the metrics at that step, and a manifest
with the hash of every file, written last. A folder without its manifest, or with a file that is not what the
manifest says, is no checkpoint; the one before it is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.utils import RepeatSampler

from warmstart import ranks
from warmstart.interrupts import Interrupts
from warmstart.runs import durable
from warmstart.runs.directory import RunDir

KEPT = 2
"""How many checkpoints are kept: the newest may be torn."""
_BEST = "best_adapter.safetensors"
_START = "start.json"
_DONE = "done.json"
_PICKLED = "training_args.bin"


class KeepsBest(Protocol):
    """A callback that remembers the best adapter so far."""

    best_adapter: dict[str, torch.Tensor] | None


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Saves where one training of a run stands, and finds it again.

    It has to stand behind every callback that can end training: where one does, there is nothing to go on with.

    Args:
        run: The run directory; what is saved goes into ``unfinished/``.
        name: What this training is called there.
        every: Steps between two checkpoints; 0 saves only when the run is told to stop.
        say: Gets a line when a training goes on, or a checkpoint is torn.
        interrupts: Whether the run was told to stop.
    """

    def __init__(
        self, run: RunDir, name: str, *, every: int, say: Callable[[str], None], interrupts: Interrupts
    ) -> None:
        self.folder = run.checkpoints_path(name)
        self._run = run
        self._every = every
        self._say = say
        self._interrupts = interrupts
        self._keeper: KeepsBest | None = None
        self._newest: Path | None = None
        self._stops = False

    @property
    def newest(self) -> str | None:
        """The checkpoint to go on from, for the trainer's ``resume_from_checkpoint``; None for a new training."""
        return None if self._newest is None else str(self._newest)

    # -- around a training -----------------------------------------------------------------------

    def facts(self) -> dict[str, Any] | None:
        """Return the facts of this training if it is finished."""
        return ranks.from_main(lambda: self._run.read_json_if_there(self.folder / _DONE))  # type: ignore[no-any-return]

    @contextmanager
    def training(self, keeper: KeepsBest | None) -> Iterator[None]:
        """Train inside the block, from `newest` on: the run directory is taken back to that step first.

        A run that is told to stop inside the block ends in `leave_if_stopped`, at the latest behind the block.

        Args:
            keeper: The callback whose best adapter is kept.
        """
        self._keeper = keeper
        self._newest, step = ranks.from_main(self._go_back)
        if self._newest is not None:
            self._say(f"going on from step {step}")
        with self._interrupts.deferred():
            yield

    def leave_if_stopped(self) -> None:
        """Leave the training if it ended because the run was told to stop."""
        if self._stops:
            self._interrupts.obey()

    def _go_back(self) -> tuple[Path | None, int]:
        """Take the run directory back to the newest whole checkpoint, or to the beginning; return it and its step."""
        newest, mark, step = None, 0, 0
        for path in _newest_first(self.folder):
            manifest, why = durable.sealed(path)
            if manifest is not None:
                newest, mark, step = path, int(manifest["metrics"]), int(manifest["step"])
                break
            self._say(f"{path.name} is torn ({why}) and not used")
        if newest is None:
            # A first attempt notes where the metrics stood; the next one goes back there.
            start = self._run.read_json_if_there(self.folder / _START)
            if start is None:
                start = {"metrics": self._run.mark()}
                self._run.write_json(self.folder / _START, start)
            mark = start["metrics"]
        for path in _newest_first(self.folder):
            if _step(path) > step:
                shutil.rmtree(path)
        self._run.rewind(mark, step)
        return newest, step

    def finish(self, results: Path, facts: Mapping[str, Any]) -> None:
        """Note that the training is finished and its results are in their folder."""
        if not ranks.is_main():
            return
        for path in [*results.iterdir(), results]:
            durable.sync(path)
        self._run.write_json(self.folder / _DONE, facts)
        for path in _newest_first(self.folder):
            shutil.rmtree(path)

    # -- what the trainer calls ------------------------------------------------------------------

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,  # noqa: ANN401
        **kwargs: object,
    ) -> None:
        """Give back what the trainer does not: the best adapter, and the order of a later epoch."""
        if self._newest is None:
            return
        if self._keeper is not None and (self._newest / _BEST).exists():
            self._keeper.best_adapter = load_file(self._newest / _BEST)
        sampler = _shuffling(train_dataloader)
        if sampler is not None:
            # TRL's sampler shuffles anew in every epoch and does not know in which it is.
            for _ in range(int(state.epoch or 0)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Save when it is time, or when the run is told to stop."""
        if not control.should_training_stop:
            self._decide(args, state, control)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Look once more; but save nothing when a callback has ended training: the results follow."""
        if not control.should_training_stop:
            self._decide(args, state, control)
        elif control.should_save:
            self._stops = control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Complete what the trainer has written, seal it, and delete what is older than the last two."""
        control.should_training_stop |= self._stops
        ranks.wait()
        if not ranks.is_main():
            return
        path = self.folder / f"checkpoint-{state.global_step}"
        best = None if self._keeper is None else self._keeper.best_adapter
        if best is not None:
            save_file({name: weight.contiguous() for name, weight in best.items()}, path / _BEST)
        # The arguments come from the recipe; nothing that is not needed is pickled.
        (path / _PICKLED).unlink(missing_ok=True)
        durable.seal(path, {"step": state.global_step, "metrics": self._run.mark()})
        for old in _newest_first(self.folder)[KEPT:]:
            shutil.rmtree(old)

    def _decide(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if _is_whole(args, state.global_step):
            self._stops = self._is_asked_anywhere()
            control.should_save = self._stops or (self._every > 0 and state.global_step % self._every == 0)

    def _is_asked_anywhere(self) -> bool:
        """Say whether any process was told to stop: all of them have to stop at the same step."""
        if ranks.count() > 1:
            self._interrupts.asked = max(ranks.gather([self._interrupts.asked]))
        return bool(self._interrupts.asked)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _is_whole(args: Any, step: int) -> bool:  # noqa: ANN401
    """Say whether a generation of completions ends with this step: half of one cannot be saved."""
    batches = getattr(args, "steps_per_generation", 1) * getattr(args, "num_iterations", 1)
    return bool(step * args.gradient_accumulation_steps % batches == 0)


def _shuffling(loader: Any) -> Any:  # noqa: ANN401
    """Return TRL's shuffling sampler in a data loader, through what accelerate wraps around it; or None."""
    inner: Any = getattr(loader, "batch_sampler", None)
    while getattr(inner, "batch_sampler", None) is not None:
        inner = inner.batch_sampler
    sampler: Any = getattr(inner, "sampler", None)
    return sampler if isinstance(sampler, RepeatSampler) and sampler.shuffle else None
