"""One time axis for the whole run: its stages, what was found and cured, accuracy, rewards, groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from warmstart.estimates import bootstrap_rate
from warmstart.report.charts import (
    COLOURS,
    DASHES,
    LINES,
    MAX_POINTS,
    MAX_TABLE_ROWS,
    Chart,
    plain,
    rolling_mean,
)
from warmstart.report.clock import Clock
from warmstart.report.moments import LANES, Moment
from warmstart.report.text import duration
from warmstart.report.training_log import GroupLog
from warmstart.visible import shortened, visible

Row = dict[str, Any]
Series = list[float | None]

_GROUPS = {
    "live_share": ("live", "#2f9e6e"),
    "all_fail_share": ("dead: all fail", "#d1526b"),
    "all_pass_share": ("dead: all pass", "#858b96"),
}
_STAGES = {"sft": COLOURS["warmup"], "grpo": COLOURS["grpo"]}
_OTHER_STAGE, _MEASURING = "#b9bec7", "#858b96"
_MARKS = {"findings": "triangle-up", "cures": "diamond", "probes": "square"}
_HEIGHTS = (0.19, 0.27, 0.27, 0.27)


@dataclass(frozen=True)
class Course:
    """What the time axis shows.

    Attributes:
        clock: The time of the run.
        steps: Of GRPO, as metrics.jsonl holds them.
        moments: What happened.
        measured: The results of summary.json.
        checks: Held-out problems measured while GRPO trained, as metrics.jsonl holds them.
        warm_checks: The same during SFT: ``step`` and ``strict_P``, of each problem the share right.
        log: The groups of the rollout log.
    """

    clock: Clock
    steps: Sequence[Row]
    moments: Sequence[Moment]
    measured: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Row] = ()
    warm_checks: Sequence[Row] = ()
    log: GroupLog | None = None


def timeline(course: Course) -> Chart | None:
    """Return the chart; None before any stage is finished."""
    if not course.clock.spans:
        return None
    figure = make_subplots(rows=4, shared_xaxes=True, vertical_spacing=0.085, row_heights=list(_HEIGHTS))
    unit, scale = ("minutes", 60.0) if course.clock.end < 2 * 3600 else ("hours", 3600.0)
    _lanes(figure, course, scale)
    columns = {
        **_accuracy(figure, course, scale),
        **_rewards(figure, course, scale),
        **_groups(figure, course, scale),
    }
    figure.update_xaxes(
        range=[0, 1.015 * course.clock.end / scale or 1],
        title_text=f"{unit} of running time",
        row=4,
        col=1,
    )
    shape = plain(figure, legend=True, height=820)
    _legends(shape["layout"])
    at = [course.clock.of_step("grpo", int(step["step"])) or 0.0 for step in course.steps]
    rows = [
        [str(int(step["step"])), f"{at[index] / scale:.2f}"]
        + ["–" if values[index] is None else f"{values[index]:.4g}" for values in columns.values()]
        for index, step in list(enumerate(course.steps))[:: max(1, -(-len(course.steps) // MAX_TABLE_ROWS))]
    ]
    return Chart(
        "timeline",
        "The run on one time axis",
        _text(course, columns),
        shape,
        ["step", unit, *columns],
        rows,
    )


def _text(course: Course, columns: Mapping[str, Series]) -> str:
    said = [f"{duration(course.clock.end)} in all"]
    for name in ("right in training (%)", "live (%)"):
        known = [value for value in columns.get(name, []) if value is not None]
        if known:
            tenth = max(1, len(known) // 10)
            first, last = sum(known[:tenth]) / tenth, sum(known[-tenth:]) / tenth
            words = "completions right" if name.startswith("right") else "groups live"
            said.append(f"{words} in training {first:.0f} → {last:.0f} %")
    bad = sum(moment.lane == "findings" and moment.is_bad for moment in course.moments)
    if course.steps:
        said.append(f"{bad} finding{'s' * (bad != 1)} of the watch")
    return "; ".join(said) + ". Every mark is listed, with its words, beneath the chart."


def _lanes(figure: go.Figure, course: Course, scale: float) -> None:
    """Draw the stages as bars and the moments as marks above them."""
    for span in course.clock.spans:
        figure.add_bar(
            orientation="h",
            base=span.start / scale,
            x=[(span.end - span.start) / scale],
            y=["stages"],
            width=0.8,
            marker_color=_STAGES.get(
                span.stage, _MEASURING if span.stage.startswith("eval") else _OTHER_STAGE
            ),
            text=[span.stage.upper() if span.stage in _STAGES else span.stage],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "#15181c", "size": 11},
            constraintext="inside",
            hovertemplate=f"{span.stage}: {duration(span.end - span.start)}<extra></extra>",
            showlegend=False,
            row=1,
            col=1,
        )
    for lane in LANES:
        here = [moment for moment in course.moments if moment.lane == lane]
        if here:
            figure.add_scatter(
                x=[moment.at / scale for moment in here],
                y=[lane] * len(here),
                mode="markers",
                marker={
                    "symbol": _MARKS[lane],
                    "size": 11,
                    "color": ["#d1526b" if moment.is_bad else "#2f9e6e" for moment in here],
                },
                text=[_hover(moment) for moment in here],
                hovertemplate="%{text}<extra></extra>",
                showlegend=False,
                row=1,
                col=1,
            )
    for moment in course.moments:
        if moment.lane == "reward plan":
            figure.add_vline(
                x=moment.at / scale,
                line={"dash": "dot", "width": 1, "color": "#858b96"},
                annotation={"text": moment.name, "font": {"size": 10}, "textangle": -90, "yanchor": "top"},
                row=2,
                col=1,
            )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=["stages", "probes", "cures", "findings"],
        showgrid=False,
        row=1,
        col=1,
    )
    figure.update_layout(barmode="overlay", uniformtext={"mode": "hide", "minsize": 9})


def _hover(moment: Moment) -> str:
    """Return what a mark says; plotly reads a few tags in it, so that it gets none."""
    step = f", step {moment.step}" if moment.step is not None else ""
    words = visible(shortened(f"{moment.name}{step}: {moment.words}", 200)).replace("\n", " ")
    plain_words = words.replace("&", "&amp;").replace("<", "&lt;")
    pieces = plain_words.split(" ")
    lines, line = [], ""
    for piece in pieces:
        if len(line) + len(piece) > 60:
            lines.append(line)
            line = ""
        line += f"{piece} "
    return "<br>".join([*lines, line])


def _line(
    figure: go.Figure, course: Course, scale: float, name: str, values: Series, *, row: int, style: Row
) -> None:
    """Draw one line over the steps of GRPO, each point the mean of a thirtieth of them."""
    stride = math.ceil(len(course.steps) / MAX_POINTS)
    numbers = [int(step["step"]) for step in course.steps]
    at = [(course.clock.of_step("grpo", number) or 0.0) / scale for number in numbers]
    figure.add_scatter(
        name=name,
        x=at[::stride],
        y=rolling_mean(values, max(1, len(numbers) // 30))[::stride],
        customdata=numbers[::stride],
        hovertemplate=f"{'%{y:.4~g}'} at step %{{customdata}}<extra>{name}</extra>",
        mode="lines" if len(numbers) > 1 else "markers",
        legend="legend" if row == 2 else f"legend{row - 1}",
        row=row,
        col=1,
        **style,
    )


def _accuracy(figure: go.Figure, course: Course, scale: float) -> dict[str, Series]:
    """Draw what was measured on held-out problems, and the share that was right in training."""
    for stage, result in course.measured.items():
        span, rates = course.clock.of_stage(f"eval-{stage}"), result.get("greedy")
        if span is not None and rates and rates.get("strict"):
            _point(
                figure, [span.end / scale], [rates["strict"]], "held out, greedy", COLOURS[stage], "circle"
            )
    warm = [
        {"step": check["step"], "strict": bootstrap_rate(check["strict_P"]).to_dict()}
        for check in course.warm_checks
        if check.get("strict_P")
    ]
    known = [
        (at / scale, check["strict"])
        for stage, checks in (("sft", warm), ("grpo", course.checks))
        for check in checks
        if (at := course.clock.of_step(stage, int(check["step"]))) is not None
    ]
    if known:
        _point(
            figure,
            [at for at, _ in known],
            [rate for _, rate in known],
            "check, one sample",
            "#b45fc0",
            "x",
        )
    figure.update_yaxes(title_text="strict (%)", range=[-2, 103], tickvals=[0, 25, 50, 75, 100], row=2, col=1)
    if course.log is None or not course.steps:
        return {}
    rates = _by_step(course.log)
    right: Series = [rates.get(int(step["step"])) for step in course.steps]
    if all(value is None for value in right):
        return {}
    style = {"line": {"color": "#2f9e6e", "width": 2}}
    _line(figure, course, scale, "right in training", right, row=2, style=style)
    return {"right in training (%)": right}


def _point(figure: go.Figure, at: list[float], rates: list[Row], name: str, colour: str, symbol: str) -> None:
    has_one = any(trace.name == name for trace in figure.data)
    figure.add_scatter(
        name=name,
        x=at,
        y=[100 * rate["value"] for rate in rates],
        error_y={
            "type": "data",
            "array": [100 * (rate["ci95"][1] - rate["value"]) for rate in rates],
            "arrayminus": [100 * (rate["value"] - rate["ci95"][0]) for rate in rates],
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        marker={"color": colour, "size": 9, "symbol": symbol},
        hovertemplate=f"%{{y:.1f}} %<extra>{name}</extra>",
        legend="legend",
        showlegend=not has_one,
        row=2,
        col=1,
    )


def _by_step(log: GroupLog) -> dict[int, float]:
    """Return the percentage of completions that were right at each step."""
    steps, places = np.unique(log.step_N, return_inverse=True)
    right = np.bincount(places, weights=log.right_N)
    told = np.bincount(places, weights=log.told_N)
    return {int(step): 100 * float(r / t) for step, r, t in zip(steps, right, told, strict=True) if t > 0}


def _rewards(figure: go.Figure, course: Course, scale: float) -> dict[str, Series]:
    """Draw the total reward and its parts, before weights."""
    names = sorted({name for step in course.steps for name in step.get("rewards") or {}})
    series: dict[str, Series] = {"total": [_number(step.get("reward")) for step in course.steps]}
    for name in names:
        shown = shortened(visible(name.removesuffix("_reward_func")), 60).replace("<", "‹")
        series[shown] = [_number((step.get("rewards") or {}).get(name)) for step in course.steps]
    series = {name: values for name, values in series.items() if any(value is not None for value in values)}
    for index, (name, values) in enumerate(series.items()):
        line = {"color": LINES[index % len(LINES)], "dash": DASHES[index % len(DASHES)], "width": 2}
        _line(figure, course, scale, name, values, row=3, style={"line": line})
    figure.update_yaxes(title_text="mean reward", rangemode="tozero", row=3, col=1)
    return {f"reward: {name}": values for name, values in series.items()}


def _groups(figure: go.Figure, course: Course, scale: float) -> dict[str, Series]:
    """Draw the shares of groups that taught something and of those that did not, stacked to 100 %."""
    columns: dict[str, Series] = {}
    for key, (name, colour) in _GROUPS.items():
        values: Series = [None if step.get(key) is None else 100 * float(step[key]) for step in course.steps]
        if any(value is not None for value in values):
            style = {"stackgroup": "groups", "fillcolor": colour, "line": {"color": colour, "width": 0}}
            _line(figure, course, scale, name, values, row=4, style=style)
            columns[f"{name} (%)"] = values
    figure.update_yaxes(title_text="groups (%)", range=[0, 100], tickvals=[0, 25, 50, 75, 100], row=4, col=1)
    return columns


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _legends(layout: dict[str, Any]) -> None:
    """Put a legend above each part."""
    layout["margin"] = {"l": 64, "r": 12, "t": 8, "b": 44}
    for row, name in ((2, "legend"), (3, "legend2"), (4, "legend3")):
        top = layout[f"yaxis{row}"]["domain"][1]
        layout[name] = {
            "orientation": "h",
            "x": 0,
            "y": top + 0.004,
            "yanchor": "bottom",
            "font": {"size": 12},
            "traceorder": "normal",
        }
