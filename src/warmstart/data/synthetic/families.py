"""The kinds of problem: those trained on, and those kept to measure what carries over.

To add a kind, write its function in `counts` or `money` and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from warmstart.data.synthetic import counts, money
from warmstart.data.synthetic.work import Work

Family = Callable[[Random, Work], str]
"""Takes a seeded generator and an empty work; records the steps and returns the question."""

TRAINED: dict[str, Family] = {
    family.__name__: family
    for family in (
        money.shopping,
        counts.sharing,
        money.wages,
        counts.baking,
        counts.reading,
        counts.travel,
        counts.garden,
        counts.ages,
        counts.school,
        money.saving,
        counts.animals,
        counts.collections,
        counts.bus,
        counts.water,
        counts.halves,
        counts.recipe,
    )
}
UNSEEN: dict[str, Family] = {
    family.__name__: family for family in (money.tickets, counts.printing, money.necklaces)
}
