"""Solve rates as colours: problems over steps, and the groups of every step."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import plotly.graph_objects as go

from warmstart.report.charts import Chart, plain
from warmstart.report.samples import shuffled
from warmstart.report.training_log import GroupLog
from warmstart.visible import shortened, visible

_PROBLEMS, _COLUMNS, _RANKS = 48, 120, 64
_FEWEST = 4
"""Problems asked more than once, below which a map of them shows nothing."""
_SCALE = [[0.0, "#8c2d4b"], [0.25, "#cf6a5b"], [0.5, "#e8b66b"], [0.75, "#7fb08a"], [1.0, "#1f7a6d"]]
"""From dark red over yellow to dark green; its ends differ in hue as red-blind eyes see them, and every cell
says its number."""
Grid = list[list[float | None]]


def heat_maps(log: GroupLog) -> list[Chart]:
    """Return the maps there is enough for; none if no completion was ever graded."""
    if not (log.told_N > 0).any():
        return []
    return [chart for chart in (_problems(log), _groups(log)) if chart is not None]


def _problems(log: GroupLog) -> Chart | None:
    """Return the problems asked most often, a row each, over the steps."""
    asked = Counter(log.problem_N.tolist())
    again = [problem for problem, times in asked.items() if times > 1]
    if len(again) < _FEWEST:
        return None
    chosen = sorted(again, key=lambda problem: (-asked[problem], shuffled(problem)))[:_PROBLEMS]
    starts, width = _columns(log)
    cells: dict[str, dict[int, list[float]]] = {problem: {} for problem in chosen}
    rates = log.solve_rate_N
    for index, problem in enumerate(log.problem_N.tolist()):
        if problem in cells and not math.isnan(rates[index]):
            at = (int(log.step_N[index]) - starts[0]) // width
            cells[problem].setdefault(at, []).append(float(rates[index]))
    means = {
        problem: {at: sum(values) / len(values) for at, values in row.items()}
        for problem, row in cells.items()
        if row
    }
    # The hardest on top: by how they went when first asked.
    ordered = sorted(means, key=lambda problem: (-means[problem][min(means[problem])], problem))
    grid: Grid = [[_percent(means[problem].get(at)) for at in range(len(starts))] for problem in ordered]
    first = [row[min(row)] for row in means.values()]
    last = [row[max(row)] for row in means.values()]
    better = sum(b > a for a, b in zip(first, last, strict=True))
    worse = sum(b < a for a, b in zip(first, last, strict=True))
    text = (
        f"Of {len(asked):,} problems, {len(again):,} were asked more than once; these are the {len(ordered)} asked most "
        f"often, the hardest on top. When first asked {100 * np.mean(first):.0f} % of their completions were right, when "
        f"last asked {100 * np.mean(last):.0f} %; {better} went better, {worse} worse."
    )
    names = [visible(shortened(problem, 24)).replace("\n", " ") for problem in ordered]
    rows = [
        [name, str(asked[problem]), f"{100 * row[min(row)]:.0f}", f"{100 * row[max(row)]:.0f}"]
        for name, problem, row in ((n, p, means[p]) for n, p in zip(names, ordered, strict=True))
    ]
    columns = ["problem", "times asked", "right at first (%)", "right at last (%)"]
    figure = _figure(grid, starts, list(range(len(ordered))), names)
    figure.update_yaxes(title_text="problems, the hardest on top", showticklabels=False, ticks="")
    title = "Solve rate of problems over the steps"
    return Chart("heat-problems", title, text, plain(figure, legend=False, height=380), columns, rows)


def _groups(log: GroupLog) -> Chart:
    """Return every group of every step, sorted within the step."""
    starts, width = _columns(log)
    rates: list[list[float]] = [[] for _ in starts]
    for step, rate in zip(log.step_N.tolist(), log.solve_rate_N.tolist(), strict=True):
        if not math.isnan(rate):
            rates[(step - starts[0]) // width].append(rate)
    ranks = min(_RANKS, max(len(of_step) for of_step in rates))
    levels = [(rank + 0.5) / ranks for rank in range(ranks)]
    grid: Grid = [
        [
            _percent(float(np.quantile(column, level, method="nearest"))) if column else None
            for column in rates
        ]
        for level in levels
    ]
    tenth = max(1, len(rates) // 10)
    solved = [_solved(rates[:tenth]), _solved(rates[-tenth:])]
    text = (
        "Every column is a step, every cell a group, sorted by its solve rate: dark red failed in all completions, dark "
        f"green passed in all, and what lies between can teach. All passed: {solved[0]:.0f} % of the groups at first, "
        f"{solved[1]:.0f} % at last."
    )
    rows = [
        [str(start), str(len(of_step)), *(f"{100 * share:.0f}" for share in _shares(of_step))]
        for start, of_step in list(zip(starts, rates, strict=True))[:: max(1, len(starts) // 50)]
        if of_step
    ]
    columns = ["step", "groups", "all fail (%)", "mixed (%)", "all pass (%)", "mean solve rate (%)"]
    places = [100 * level for level in levels]
    figure = _figure(grid, starts, places, [f"{place:.0f} %" for place in places])
    figure.update_yaxes(title_text="groups of the step, sorted (%)", tickvals=[0, 25, 50, 75, 100])
    title = "Solve rates of the groups of every step"
    return Chart("heat-groups", title, text, plain(figure, legend=False, height=300), columns, rows)


def _columns(log: GroupLog) -> tuple[list[int], int]:
    """Return the first step of each column, and how many steps one stands for."""
    first, last = int(log.step_N.min()), int(log.step_N.max())
    width = -(-(last - first + 1) // _COLUMNS)
    return list(range(first, last + 1, width)), width


def _figure(grid: Grid, starts: list[int], places: list[Any], names: list[str]) -> go.Figure:
    figure = go.Figure()
    figure.add_heatmap(
        z=grid,
        x=starts,
        y=places,
        text=[[name] * len(starts) for name in names],
        zmin=0,
        zmax=100,
        colorscale=_SCALE,
        xgap=1,
        ygap=1 if len(names) <= _PROBLEMS else 0,
        hoverongaps=False,
        hovertemplate="step %{x}, %{text}: %{z:.0f} % right<extra></extra>",
        colorbar={
            "title": {"text": "right (%)"},
            "thickness": 10,
            "len": 1,
            "tickvals": [0, 25, 50, 75, 100],
        },
    )
    figure.update_xaxes(title_text="training step", showgrid=False)
    figure.update_yaxes(showgrid=False)
    return figure


def _percent(rate: float | None) -> float | None:
    return None if rate is None else round(100 * rate, 1)


def _solved(columns: list[list[float]]) -> float:
    told = [rate for column in columns for rate in column]
    return 100 * sum(rate == 1 for rate in told) / len(told) if told else 0.0


def _shares(rates: list[float]) -> tuple[float, float, float, float]:
    count = len(rates)
    fail, whole = sum(rate == 0 for rate in rates) / count, sum(rate == 1 for rate in rates) / count
    return fail, 1 - fail - whole, whole, sum(rates) / count
