"""How the rollout log looks on a terminal: a table, or groups with their texts side by side.

Everything in the log reaches the terminal only through `visible`: no control sequence in it is obeyed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from warmstart.cli.console import Results
from warmstart.runs.rollout_log import Selection, rows_of
from warmstart.visible import segments, shortened, visible

_PANEL = 56
"""Columns that a text needs to be read; as many stand side by side as there is room for."""
_HEAD, _TAIL = 3_000, 1_000
"""Characters shown of a text, the rest is counted."""
_WIDE = 110
"""Columns from which ids and answers are shown with 22 characters instead of 12."""
_MUCH = 1_000
"""More than this nobody reads on a screen."""
_COLUMNS = {
    "step": True,
    "at": True,
    "problem": False,
    "verdict": False,
    "given": False,
    "gold": False,
    "reward": True,
    "adv.": True,
    "tokens": True,
    "group": False,
    "format": False,
}
"""The columns of the table, and whether they are numbers; ``at`` is group and sample."""
_MAY_BE_CUT = {"problem", "given", "gold", "format"}
_VERDICTS = {
    "correct": ("✓ correct", "green"),
    "wrong": ("✗ wrong", "red"),
    "no_answer": ("– no answer", "yellow"),
    "undecided": ("? undecided", "magenta"),
}
_TAGS = {"reasoning": "cyan", "answer": "bold green", "": ""}

Row = dict[str, Any]


def show_table(found: Selection, limit: int) -> None:
    """Print the first ``limit`` completions, a line each, and how many there are."""
    shown = found.first(limit)
    with _paged() as console:
        console.print(_table(shown, cell=22 if console.width >= _WIDE else 12))
        footer = f"{len(shown):,} of {len(found):,} completions{_more(limit, len(found))}; --groups shows their texts"
        console.print(Text(footer, style="dim"))


def _table(shown: Selection, cell: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name, is_number in _COLUMNS.items():
        # What may be cut gives way first: its own text does not wrap, the column may.
        table.add_column(name, justify="right" if is_number else "left", no_wrap=name not in _MAY_BE_CUT)
    for row in map(_harmless, rows_of(shown.tables())):
        reasons = dict.fromkeys(row["why_not_strict"].split("; "))
        table.add_row(
            str(row["step"]),
            f"{row['group']}.{row['sample']}",
            _cell(row["problem_id"], cell, keep_end=True),
            _verdict(row),
            _cell(row["given"], cell),
            _cell(row["gold"], cell),
            _number(row["reward"], ".2f"),
            _number(row["advantage"], "+.2f"),
            str(row["tokens"]),
            "live" if row["live"] else "dead",
            _cell("exact" if row["format"] else ", ".join(reasons), 60),
        )
    return table


def show_groups(found: Selection, limit: int, tags: Mapping[str, str]) -> None:
    """Print the first ``limit`` groups: the question, the gold answer, and its distinct texts side by side.

    Args:
        found: A group is shown if one of its completions is among them; the frames of the others are dim.
        limit: Groups shown.
        tags: The names of the blocks, which are coloured.
    """
    total = len(found.groups())
    with _paged() as console:
        for table in found.group_tables(limit):
            rows = table.to_pylist()
            _show_group(console, rows, found.samples(rows[0]["step"], rows[0]["group"]), tags)
        console.print(Text(f"{min(limit, total):,} of {total:,} groups{_more(limit, total)}", style="dim"))


def _show_group(console: Console, rows: list[Row], found: set[int], tags: Mapping[str, str]) -> None:
    first = _harmless(rows[0])
    right = sum(row["verdict"] == "correct" for row in rows)
    state = "live" if first["live"] else "dead"
    if first["live"] and not any(row["advantage"] for row in rows):
        state = "live by its format alone, which the outcome gate does not pay"
    stage = f" · {first['stage']}" if first["stage"] else ""
    title = f"step {first['step']}{stage} · {first['problem_id']} · {state} · {right} of {len(rows)} right"
    console.print(Rule(Text(title, style="bold"), align="left"))
    console.print(Text(first["question"]))
    console.print(Text.assemble(("gold: ", "dim"), (first["gold"], "bold")))
    same: dict[str, list[Row]] = {}
    for row in rows:
        same.setdefault(row["text"], []).append(row)
    beside = max(1, min(len(same), console.width // _PANEL))
    grid = Table.grid(expand=True)
    for _ in range(beside):
        grid.add_column(ratio=1)
    panels = [_panel(equal, found, tags) for equal in same.values()]
    for start in range(0, len(panels), beside):
        grid.add_row(*panels[start : start + beside])
    console.print(grid)


def _panel(rows: list[Row], found: set[int], tags: Mapping[str, str]) -> Panel:
    """Return one text with what was paid for it; completions with the same text share a panel."""
    row = _harmless(rows[0])
    text = Text()
    for kind, piece in segments(row["text"], tags):
        text.append(piece, style=_TAGS[kind])
    parts = [
        f"{name.removesuffix('_reward_func')} {_number(value, '.3g')}"
        for name, value in row["rewards"].items()
    ]
    facts = [
        f"reward {_number(row['reward'], '.2f')}: {', '.join(parts)}",
        f"{row['tokens']} tokens, log p {_number(row['log_prob'], '.2f')}, entropy {_number(row['entropy'], '.2f')}",
    ]
    if not row["format"]:
        facts.insert(0, f"not exact: {row['why_not_strict'] or '–'}")
    samples = ", ".join(str(one["sample"]) for one in rows)
    advantage = _number(row["advantage"], "+.3f")
    title = Text.assemble((f"{samples}  ", "bold"), _verdict(row), f"  advantage {advantage}")
    return Panel(
        Group(text, Text("\n".join(facts), style="dim")),
        title=title,
        title_align="left",
        border_style="" if found & {one["sample"] for one in rows} else "dim",
    )


def _verdict(row: Row) -> Text:
    said, style = _VERDICTS.get(row["verdict"], ("–", ""))
    return Text(said, style=style)


def _cell(value: str | None, most: int, *, keep_end: bool = False) -> Text:
    """Return a short text on one line."""
    line = ("–" if value is None else value).replace("\n", "⏎").replace("\t", " ")
    if len(line) > most:
        line = f"…{line[1 - most :]}" if keep_end else f"{line[: most - 1]}…"
    return Text(line, no_wrap=True, overflow="ellipsis")


def _harmless(row: Row) -> Row:
    """Return the row with nothing endless or invisible in its texts, whoever wrote the file."""
    return {
        visible(name): _harmless(value)
        if isinstance(value, dict)
        else visible(shortened(value, _HEAD, _TAIL))
        if isinstance(value, str)
        else value
        for name, value in row.items()
    }


def _more(limit: int, total: int) -> str:
    if total <= limit:
        return ""
    is_much = total > _MUCH
    return "; --limit N shows more, --export FILE holds all" if is_much else f"; --limit {total} shows all"


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


@contextmanager
def _paged() -> Iterator[Console]:
    """Yield a console that pages where someone is looking, and prints plainly into a pipe."""
    console = Results()
    if not (console.is_terminal and sys.stdin.isatty()):
        yield console
        return
    # As git does: keep colours, and end at once when everything fits on the screen.
    os.environ.setdefault("LESS", "FRX")
    with console.pager(styles=True):
        yield console
