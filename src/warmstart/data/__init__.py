"""Where problems come from: `load` is the one door, each source a module beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random

from warmstart.config.schema import ColumnMap, DataConfig
from warmstart.data import files, synthetic
from warmstart.data.golds import check_golds
from warmstart.errors import DataError
from warmstart.records import Problem

SYNTHETIC_TRAIN = 4_000
"""How many problems are generated when the recipe names no number."""
_HELD_OUT_SHARE = 5
"""Without a held-out file, one problem in this many is held out."""


@dataclass(frozen=True, slots=True)
class DataSplits:
    """The problems of a run.

    Attributes:
        train: To train on.
        eval: Held out.
        unseen: Of families never trained on; ``synthetic`` alone has them.
    """

    train: list[Problem]
    eval: list[Problem]
    unseen: list[Problem]


def load(config: DataConfig, *, seed: int, eval_problems: int, unseen_problems: int = 0) -> DataSplits:
    """Return the problems of a run; the same arguments give the same ones in the same order.

    All rows of the source are read and every gold is validated, whatever share of them is used.

    Raises:
        DataError: If a file, column or row cannot be read, a gold cannot be graded, or nothing is left.
    """
    if config.source == "synthetic":
        return DataSplits(
            synthetic.generate(
                config.train_problems or SYNTHETIC_TRAIN, seed=seed, split="train", steps=config.steps
            ),
            synthetic.generate(eval_problems, seed=seed, split="eval", steps=config.steps),
            synthetic.generate(unseen_problems, seed=seed, split="unseen"),
        )
    train, held_out = _read(config)
    for name, problems in (("training", train), ("held-out", held_out)):
        if problems is None:
            continue
        if not problems:
            raise DataError(
                f"the {name} data of {config.path or config.source} has no rows", "name another file or split"
            )
        # In the order of the file: the message names rows.
        check_golds(problems, where=name)
    if held_out is None:
        train, held_out = _hold_out(train, config.path)
    return DataSplits(_draw(train, config.train_problems, seed), _draw(held_out, eval_problems, seed), [])


def load_file(path: str, columns: ColumnMap, *, seed: int, most: int | None = None) -> list[Problem]:
    """Return the problems of one file to measure on: all in their order, or ``most`` of them drawn by the seed.

    Raises:
        DataError: As `load`.
    """
    problems = files.load(path, columns)
    if not problems:
        raise DataError(f"{path} has no rows", "name another file")
    check_golds(problems, where=path)
    return problems if most is None else _draw(problems, most, seed)


def _read(config: DataConfig) -> tuple[list[Problem], list[Problem] | None]:
    """Return the two parts in the order of their rows; None for the second if the source has one file.

    A source is a module here with the name that `data.source` has for it.
    """
    parts: tuple[list[Problem], list[Problem] | None] = import_module(f"{__name__}.{config.source}").splits(
        config
    )
    return parts


def _hold_out(problems: Sequence[Problem], path: str | None) -> tuple[list[Problem], list[Problem]]:
    """Return a fifth apart from the rest, whatever the run's seed: no run trains on what another held out."""
    if len(problems) < 2:
        raise DataError(
            f"{path} has one row, and some must be held out", "add rows, or name a file with data.eval_path"
        )
    shuffled = _draw(problems, None, 0)
    kept = len(shuffled) - max(1, len(shuffled) // _HELD_OUT_SHARE)
    return shuffled[:kept], shuffled[kept:]


def _draw(problems: Sequence[Problem], wanted: int | None, seed: int) -> list[Problem]:
    """Return ``wanted`` problems (None: all) in an order that only the seed decides; fewer are a prefix of more."""
    shuffled = list(problems)
    Random(f"warmstart data {seed}").shuffle(shuffled)
    return shuffled[:wanted]
