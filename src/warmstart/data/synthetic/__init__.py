"""Seeded multi-step word problems in the manner of GSM8K, without any data set.

`generate` draws problems; `families` holds one function per kind of problem; `work` the steps of a
solution and how they are put into words. Questions are assigned to training or evaluation by a hash
of their text, so the two never share one, whatever the seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Literal

from warmstart.data.synthetic.counts import ledger
from warmstart.data.synthetic.families import TRAINED, UNSEEN
from warmstart.data.synthetic.work import Work, line_values, write
from warmstart.records import Problem

Split = Literal["train", "eval", "unseen"]

__all__ = ["TRAINED", "UNSEEN", "Split", "draw", "generate", "line_values", "write"]

_EVAL_SHARE = 5
"""One question in this many belongs to evaluation."""


def generate(n: int, *, seed: int, split: Split, steps: int | None = None) -> list[Problem]:
    """Return ``n`` different problems, the same ones for the same arguments.

    ``train`` and ``eval`` draw from the same families (`TRAINED`) and share no question; ``unseen``
    draws from families that neither of them has (`UNSEEN`). Families take turns, so that any two
    differ by at most one problem. The first ``m`` of ``n`` problems are the ``m`` problems of the
    same seed. With ``steps`` every problem has that many, whatever the families would have made.
    """
    problems: list[Problem] = []
    seen: set[str] = set()
    for question, work, family in draw(seed=seed, split=split, steps=steps):
        if len(problems) == n:
            break
        if question in seen:
            continue
        seen.add(question)
        problems.append(
            Problem(
                id=f"synthetic-{split}-{seed}-{len(problems)}",
                question=question,
                gold=str(work.answer),
                rationale=write(work),
                family=family,
                steps=len(work.steps),
            )
        )
    return problems


def draw(*, seed: int, split: Split, steps: int | None = None) -> Iterator[tuple[str, Work, str]]:
    """Yield (question, work, family) without end; questions may repeat."""
    rng = Random(f"warmstart synthetic {split} {seed}")
    families = UNSEEN if split == "unseen" else TRAINED
    if steps is not None:
        families = {"ledger": partial(ledger, steps=steps)}
    names = sorted(families)
    turn = 0
    while True:
        family = names[turn % len(names)]
        work = Work()
        question = families[family](rng, work)
        if split != "unseen" and _is_eval(question) != (split == "eval"):
            continue
        turn += 1
        yield question, work, family


def _is_eval(question: str) -> bool:
    digest = hashlib.sha256(question.encode()).digest()
    return digest[0] % _EVAL_SHARE == 0
