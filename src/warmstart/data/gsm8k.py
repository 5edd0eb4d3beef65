"""GSM8K (arXiv:2110.14168): from the Hub, or from a folder with its train.jsonl and test.jsonl."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from warmstart.config.schema import DataConfig
from warmstart.data import files, hub
from warmstart.errors import DataError
from warmstart.records import Problem

HUB_ID = "openai/gsm8k"
_MARK = re.compile(r"<<[^<>\n]*>>")
_FINAL = "####"


def splits(config: DataConfig) -> tuple[list[Problem], list[Problem]]:
    """Return the problems to train on and those to hold out, as every source does."""
    return load(config.path)


def load(path: str | None) -> tuple[list[Problem], list[Problem]]:
    """Return the 7,473 training and 1,319 test problems.

    Args:
        path: A folder that holds ``train.jsonl`` and ``test.jsonl``; None downloads `HUB_ID`.

    Raises:
        DataError: If they cannot be read.
    """
    if path is None:
        return _problems(hub.read_rows(HUB_ID, "main", "train"), "train"), _problems(
            hub.read_rows(HUB_ID, "main", "test"), "test"
        )
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"data.path {path!r} is not a folder",
            "name the folder that holds GSM8K's train.jsonl and test.jsonl",
        )
    return _problems(files.read_rows(folder / "train.jsonl"), "train"), _problems(
        files.read_rows(folder / "test.jsonl"), "test"
    )


def _problems(rows: Iterable[Mapping[str, object]], split: str) -> list[Problem]:
    problems = []
    for index, row in enumerate(rows):
        if not {"question", "answer"} <= row.keys():
            raise DataError(
                f"row {index + 1} of the {split} data is not GSM8K's: it has {', '.join(map(repr, row))}, "
                "not 'question' and 'answer'",
                "load other columns with data.source=files and data.columns",
            )
        problems.append(to_problem(str(row["question"]), str(row["answer"]), f"gsm8k-{split}-{index}"))
    return problems


def to_problem(question: str, answer: str, identity: str) -> Problem:
    """Return one problem: the gold is what follows ``####``, the rationale what stands before it.

    The calculator marks, as in ``48/2 = <<48/2=24>>24``, are taken out of the rationale and counted as
    its steps. Without ``####`` the gold is empty, which the check of the golds reports.
    """
    solution, found, gold = answer.rpartition(_FINAL)
    if not found:
        solution, gold = answer, ""
    return Problem(
        id=identity,
        question=question.strip(),
        gold=gold.strip(),
        rationale=_MARK.sub("", solution).strip(),
        steps=len(_MARK.findall(solution)) or None,
    )
