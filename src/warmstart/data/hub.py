"""Any data set of the Hugging Face Hub, by column mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from warmstart.config.schema import DataConfig
from warmstart.data import files
from warmstart.errors import DataError
from warmstart.records import Problem


def splits(config: DataConfig) -> tuple[list[Problem], list[Problem]]:
    """Return the problems of the two splits.

    Raises:
        DataError: If the data set, a split or a column is not there.
    """
    name = str(config.path)
    train, held_out = (
        files.to_problems(read_rows(name, config.subset, split), config.columns, where=f"{name} [{split}]")
        for split in (config.train_split, config.eval_split)
    )
    return train, held_out


def read_rows(name: str, subset: str | None, split: str) -> Iterable[Mapping[str, Any]]:
    """Return the rows of one split.

    Raises:
        DataError: If it cannot be had, with the Hub's own first line.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return datasets.load_dataset(name, subset, split=split)  # type: ignore[no-any-return]
    except (OSError, ValueError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        raise DataError(
            f"the data set {name!r} (split {split!r}) could not be loaded: {_first_line(error)}",
            "check its name and the network, or give local files: data.path=FOLDER for gsm8k, data.source=files for others",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
