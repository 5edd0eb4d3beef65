"""The figures of the report: each with axes and units, a sentence that says what it shows, and its numbers.

Colours are middle tones that stand out on white and on black alike; text and grid take theirs from the
page (`report.css`), so that light, dark and print need no second figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from warmstart.results.summary import MEASURES, STAGE_NAMES, describe_rate

Row = dict[str, Any]

COLOURS = {"base": "#858b96", "warmup": "#3a84c9", "grpo": "#db7326"}
LINES = ("#db7326", "#3a84c9", "#2f9e6e", "#b45fc0", "#858b96", "#b8912b", "#d1526b")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px,2px")
MAX_POINTS = 500
FEW_POINTS = 10
MAX_TABLE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure and everything that stands in for it where it cannot be seen.

    Attributes:
        id: Of the element on the page.
        title: What it is.
        text: What it shows, in words and numbers.
        figure: As plotly.js takes it.
        columns: Heads of the table of its numbers.
        rows: That table.
    """

    id: str
    title: str
    text: str
    figure: dict[str, Any]
    columns: list[str]
    rows: list[list[str]]


def rates_chart(measured: Mapping[str, Any], mode: str) -> Chart | None:
    """Return the bars of strict, lenient and format with intervals, one colour per stage."""
    rates = {stage: result[mode] for stage, result in measured.items() if result.get(mode)}
    if not rates:
        return None
    figure, table = go.Figure(), []
    for stage, of_stage in rates.items():
        known = [(measure, of_stage[measure]) for measure in MEASURES if of_stage.get(measure)]
        figure.add_bar(
            name=STAGE_NAMES[stage],
            x=[measure for measure, _ in known],
            y=[100 * rate["value"] for _, rate in known],
            error_y={
                "type": "data",
                "array": [100 * (rate["ci95"][1] - rate["value"]) for _, rate in known],
                "arrayminus": [100 * (rate["value"] - rate["ci95"][0]) for _, rate in known],
                "color": "#666c77",
                "thickness": 1.5,
                "width": 5,
            },
            marker_color=COLOURS[stage],
            hovertemplate="%{x}: %{y:.1f} %<extra>%{fullData.name}</extra>",
        )
        table += [[STAGE_NAMES[stage], measure, *_rate_cells(rate)] for measure, rate in known]
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_yaxes(range=[0, 103], title_text="completions (%)", tickvals=[0, 25, 50, 75, 100])
    heat = next(iter(rates.values())).get("temperature")
    name = "Greedy" if mode == "greedy" else f"Sampled at temperature {heat:g}"
    strict = [
        f"{STAGE_NAMES[stage]} {describe_rate(of_stage['strict'], measured[stage]['n'])}"
        for stage, of_stage in rates.items()
    ]
    text = f"Right and in the exact format: {', '.join(strict)}. Whiskers are 95 % intervals."
    columns = ["model", "measure", "rate (%)", "from (%)", "to (%)"]
    return Chart(f"rates-{mode}", name, text, plain(figure, legend=True), columns, table)


def _rate_cells(rate: Mapping[str, Any]) -> list[str]:
    return [f"{100 * value:.1f}" for value in (rate["value"], *rate["ci95"])]


def grpo_charts(steps: Sequence[Row]) -> list[Chart]:
    """Return what a step of GRPO looked like; curves whose numbers were not recorded are left out."""
    wanted = [
        curves(
            steps,
            "grpo-length",
            "Completion length",
            "tokens per completion",
            {"tokens": of("completion_tokens")},
        ),
        curves(
            steps,
            "grpo-truncated",
            "Truncated completions",
            "completions (%)",
            {"truncated": of("truncated_share", 100)},
        ),
        curves(
            steps,
            "grpo-grad-norm",
            "Gradient norm",
            "norm before clipping",
            {"gradient norm": of("grad_norm")},
        ),
        curves(steps, "grpo-entropy", "Entropy", "nats per token", {"entropy": of("entropy")}),
    ]
    return [chart for chart in wanted if chart is not None]


def sft_charts(steps: Sequence[Row]) -> list[Chart]:
    """Return the curve of the SFT loss."""
    chart = curves(steps, "sft-loss", "SFT loss", "nats per supervised token", {"loss": of("loss")})
    return [] if chart is None else [chart]


Value = Callable[[Row], float | None]


def of(name: str, scale: float = 1.0) -> Value:
    """Return what takes a number out of a line of metrics; None where it is not there."""

    def value(step: Row) -> float | None:
        found = step.get(name)
        return None if found is None else scale * float(found)

    return value


def curves(
    steps: Sequence[Row], chart_id: str, title: str, unit: str, lines: Mapping[str, Value]
) -> Chart | None:
    """Return one chart of lines over steps; None if nothing was recorded."""
    series = {name: [value(step) for step in steps] for name, value in lines.items()}
    series = {name: values for name, values in series.items() if any(value is not None for value in values)}
    if not series:
        return None
    numbers = [int(step["step"]) for step in steps]
    window = max(1, len(steps) // 30)
    stride = math.ceil(len(steps) / MAX_POINTS)
    figure = go.Figure()
    for index, (name, values) in enumerate(series.items()):
        figure.add_scatter(
            name=name,
            x=numbers[::stride],
            y=rolling_mean(values, window)[::stride],
            mode="lines" if len(steps) > FEW_POINTS else "lines+markers",
            line={"color": LINES[index % len(LINES)], "dash": DASHES[index % len(DASHES)], "width": 2},
            hovertemplate="%{y:.4~g}",
        )
    figure.update_xaxes(title_text="training step", rangemode="tozero")
    figure.update_yaxes(title_text=unit, rangemode="tozero")
    figure.update_layout(hovermode="x unified")
    text = trends(series, unit)
    if window > 1:
        text += f" Each point of a line is the mean of {window} steps."
    table_stride = math.ceil(len(steps) / MAX_TABLE_ROWS)
    columns = ["step", *(f"{name}, {unit}" if len(series) == 1 else name for name in series)]
    rows = [
        [
            str(numbers[at]),
            *("–" if values[at] is None else f"{values[at]:.4g}" for values in series.values()),
        ]
        for at in range(0, len(steps), table_stride)
    ]
    return Chart(chart_id, title, text, plain(figure, legend=len(series) > 1), columns, rows)


def rolling_mean(values: Sequence[float | None], window: int) -> list[float | None]:
    """Return the mean of the last ``window`` values at each step, unknown ones left out."""
    means: list[float | None] = []
    for end in range(1, len(values) + 1):
        known = [value for value in values[max(0, end - window) : end] if value is not None]
        # Seven digits: more cannot be seen, and the page has a size limit.
        means.append(float(f"{sum(known) / len(known):.7g}") if known else None)
    return means


def trends(series: Mapping[str, Sequence[float | None]], unit: str) -> str:
    """Return what each line did, from the mean of its first tenth to the mean of its last."""
    said = []
    for name, values in series.items():
        known = [value for value in values if value is not None]
        tenth = max(1, len(known) // 10)
        first, last = sum(known[:tenth]) / tenth, sum(known[-tenth:]) / tenth
        said.append(f"{name} {first:.3g} → {last:.3g}")
    return f"{unit[0].upper()}{unit[1:]}, from the first tenth of the steps to the last: {'; '.join(said)}."


def plain(figure: go.Figure, *, legend: bool, height: int = 300) -> dict[str, Any]:
    """Return the figure as plotly.js takes it, in the page's manner."""
    figure.update_layout(
        template="none",
        autosize=True,
        height=height,
        margin={"l": 56, "r": 12, "t": 12, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(fixedrange=True, zeroline=False, title_font_size=13)
    figure.update_yaxes(fixedrange=True, zeroline=False, title_font_size=13)
    bare: dict[str, Any] = figure.to_dict()
    bare["layout"].pop("template", None)
    return bare
