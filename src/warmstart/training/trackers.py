"""Live views through TRL's ``report_to``: trackio, TensorBoard, wandb, with our metrics under ``warmstart/``."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.integrations import TensorBoardCallback

from warmstart.errors import ConfigError

PREFIX = "warmstart/"
_OURS = ("signal/", "time/")
_WHERE = "transformers.integrations"


def tracker_arguments(trackers: Sequence[str], name: str) -> dict[str, Any]:
    """Return the arguments of TRL's configs that send every step to these trackers, under the run's name.

    Raises:
        ConfigError: If one is not installed.
    """
    for tracker in trackers:
        if importlib.util.find_spec(tracker) is None:
            raise ConfigError(
                f"trackers: {tracker} is not installed", f"pip install {tracker}, or leave it out"
            )
    return {"report_to": list(trackers), "run_name": name, "project": "warmstart"} if trackers else {}


def use_our_names(trainer: Trainer) -> None:
    """Let the trainer's trackers, and nothing else, see what warmstart measures under ``warmstart/``."""
    for callback in trainer.callback_handler.callbacks:
        if type(callback).__module__.startswith(_WHERE):
            callback.on_log = _renamed(callback.on_log)


@contextlib.contextmanager
def untracked(trainer: Trainer) -> Iterator[None]:
    """Keep what is done before training from the trackers: TRL times its methods into them, begun or not."""
    kept, trainer.args.report_to = trainer.args.report_to, []
    try:
        yield
    finally:
        trainer.args.report_to = kept


@contextlib.contextmanager
def tracked(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Let a stage train with a run of its own in its trackers.

    TensorBoard writes into ``folder``: the trainer's own folder goes when the stage ends. A wandb run that
    this stage began ends with it, or the next stage would go on in it, from step 1.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(folder)
    wandb = importlib.import_module("wandb") if "wandb" in trainer.args.report_to else None
    is_ours = wandb is not None and wandb.run is None
    yield
    if wandb is not None and is_ours:
        wandb.finish()


def our_names(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log with our metrics under `PREFIX`; TRL's own keep their names."""
    return {_our_name(name): value for name, value in logs.items()}


def _our_name(name: str) -> str:
    for prefix in _OURS:
        if name.startswith(prefix):
            return PREFIX + name.removeprefix(prefix)
    return name


def _renamed(on_log: Callable[..., Any]) -> Callable[..., Any]:
    def renamed(*args: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:  # noqa: ANN401
        return on_log(*args, logs=None if logs is None else our_names(logs), **kwargs)

    return renamed
