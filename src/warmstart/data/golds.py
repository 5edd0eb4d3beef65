"""Every gold is checked when data is loaded: one that cannot be graded would be a reward of nothing."""

from __future__ import annotations

from collections.abc import Sequence

from warmstart.errors import DataError
from warmstart.grading.verdicts import check_gold
from warmstart.records import Problem

_SHOWN = 10


def check_golds(problems: Sequence[Problem], *, where: str) -> None:
    """Pass if every gold can be graded.

    Raises:
        DataError: With row number, value and reason of the first ten that cannot.
    """
    bad = [(row, p.gold, why) for row, p in enumerate(problems, 1) if (why := check_gold(p.gold)) is not None]
    if not bad:
        return
    lines = "".join(f"\n  row {row}: {gold[:80]!r} is {why}" for row, gold, why in bad[:_SHOWN])
    more = f"\n  and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    raise DataError(
        f"{len(bad)} of {len(problems)} gold answers of the {where} data cannot be graded:{lines}{more}",
        "repair or leave out these rows, or name another column with data.columns.answer",
    )
