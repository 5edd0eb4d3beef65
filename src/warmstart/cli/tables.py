"""Tables that more than one command shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_NAMES = {"base": "base", "warmup": "after SFT", "grpo": "after GRPO"}
_MEASURES = ("strict", "lenient", "format")


def eval_table(results: Mapping[str, Mapping[str, Any] | None]) -> Table:
    """Return the evaluations one below the other: greedy and sampled rates in percent with 95 % intervals."""
    table = Table(title="held-out problems, % with 95 % intervals", title_justify="left")
    table.add_column("")
    table.add_column("n", justify="right")
    for mode in ("greedy", "sampled"):
        for measure in _MEASURES:
            table.add_column(f"{mode}\n{measure}", justify="right")
    for name, result in results.items():
        if not result:
            continue
        cells = [
            _cell((result.get(mode) or {}).get(measure))
            for mode in ("greedy", "sampled")
            for measure in _MEASURES
        ]
        table.add_row(_NAMES.get(name, name), str(result["n"]), *cells)
    return table


def _cell(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return "–"
    low, high = rate["ci95"]
    return f"{100 * rate['value']:.1f}\n[{100 * low:.1f}, {100 * high:.1f}]"
