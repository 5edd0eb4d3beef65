"""Tables that more than one command shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from warmstart.cli.console import Results
from warmstart.visible import visible

_NAMES = {"base": "base", "warmup": "after SFT", "grpo": "after GRPO"}
_MEASURES = ("strict", "lenient", "format")


_PARTS = (
    ("by_steps", "steps"),
    ("by_family", "family"),
    ("by_length", "question"),
    ("by_tokens", "completion"),
)
_MOST_PARTS = 12


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
        table.add_row(Text(visible(_NAMES.get(name, name))), str(result["n"]), *cells)
    return table


def parts_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return strict and lenient rates by steps, family and length; what has one part, or too many, is left out."""
    tables = []
    for name, title in _PARTS:
        parts = result.get(name) or {}
        if not 2 <= len(parts) <= _MOST_PARTS:
            continue
        table = Table(title=f"by {title}, % with 95 % intervals", title_justify="left")
        for column in ("", "n", "strict", "lenient", "sampled strict"):
            table.add_column(column, justify="left" if column == "" else "right")
        for part, rates in parts.items():
            sampled = (rates.get("sampled") or {}).get("strict")
            cells = [_line(rates.get("strict")), _line(rates.get("lenient")), _line(sampled)]
            table.add_row(str(part), str(rates["n"]), *cells)
        tables.append(table)
    return tables


def _line(rate: Mapping[str, Any] | None) -> str:
    return _cell(rate).replace("\n", " ")


def _cell(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return "–"
    low, high = rate["ci95"]
    return f"{100 * rate['value']:.1f}\n[{100 * low:.1f}, {100 * high:.1f}]"


def show_probe(found: Mapping[str, Any]) -> None:
    """Print a probe: rates, the forecast, lengths, findings, and the verdict last."""
    console = Results()
    rates = Table(
        title=f"{found['problems']} problems × {found['completions'] // found['problems']} completions, %",
        title_justify="left",
    )
    for name in found["rates"]:
        rates.add_column(name, justify="right")
    rates.add_row(*(_share(rate) for rate in found["rates"].values()))
    console.print(rates)
    signal = found["signal"]
    console.say(
        f"groups of {found['group_size']}: live {signal['live_share']:.0%} by outcome, {signal['live_share_total']:.0%} by total "
        f"reward; all fail {signal['all_fail_share']:.0%}, all pass {signal['all_pass_share']:.0%}"
    )
    paid = ", ".join(
        f"{name.removesuffix('_reward_func')} {'–' if mean is None else format(mean, '.3g')}"
        for name, mean in found["rewards"].items()
    )
    console.say(f"a completion is paid on average: {paid}")
    forecast = Table(title="live groups to expect, 90 % of fresh draws", title_justify="left")
    for of_size in found["forecast"]:
        forecast.add_column(f"G={of_size['group_size']}", justify="right")
    forecast.add_row(
        *(
            f"{100 * f['live']:.0f} %\n[{100 * f['prediction90'][0]:.0f}, {100 * f['prediction90'][1]:.0f}]"
            for f in found["forecast"]
        )
    )
    console.print(forecast)
    lengths, entropy = found["lengths"], found["entropy"]
    spread = "" if entropy is None else f"entropy {entropy:.2f} nats; "
    console.say(
        f"tokens: median {lengths['p50']:.0f}, 95 % below {lengths['p95']:.0f}; cap {found['cap']}, advised {lengths['advised_cap']:.0f}; "
        f"cut {found['unfinished_share']:.0%}; {spread}distinct {found['distinct_share']:.0%}"
    )
    for finding in found["findings"]:
        console.say(f"{finding['severity']}: {finding['code']}: {finding['evidence']}; {finding['advice']}")
    console.say(found["headline"], "bold")


def _share(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return "–"
    if "below" in rate:
        return f"none\n< {100 * rate['below']:.1f} %"
    return f"{_cell(rate)}"
