"""What a probe shows: the live share to expect at each group size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from warmstart.report.charts import LINES, Chart, plain

ENOUGH = 0.2
"""The live share from which on a run may start."""
_NAMES = {"base": "base", "exemplar": "with an exemplar", "prefill": "prefilled", "warmup": "after SFT"}


def forecast_chart(probes: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Return the expected live share over the group size, a line per probe; None without a forecast."""
    known = [probe for probe in probes if probe.get("forecast")]
    if not known:
        return None
    # A line at zero says nothing that a sentence does not.
    alive = [probe for probe in known if any(found["live"] for found in probe["forecast"])] or known[-1:]
    figure, rows = _figure(alive), []
    for probe in known:
        for found in probe["forecast"]:
            low, high = found["prediction90"]
            rows.append(
                [
                    f"{_name(probe)}, {found['group_size']}",
                    f"{100 * found['live']:.1f} %",
                    f"{100 * low:.1f} … {100 * high:.1f} %",
                    found["method"],
                ]
            )
    last = known[-1]
    at = next(
        (f for f in last["forecast"] if f["group_size"] == last.get("group_size")), last["forecast"][-1]
    )
    text = (
        f"Share of groups that will differ in outcome, by completions per problem. {_sentence(_name(last))}: "
        f"{100 * at['live']:.0f} % of groups of {at['group_size']}. Below {100 * ENOUGH:.0f} % most sampling is wasted."
    )
    dead = [_name(probe) for probe in known if probe not in alive]
    if dead:
        text += f" None is to be expected at any size: {', '.join(dead)}."
    columns = ["probe, group size", "live", "90 % of fresh draws", "how"]
    return Chart(
        "forecast", "Live groups to expect", text, plain(figure, legend=len(alive) > 1), columns, rows
    )


def _figure(probes: Sequence[Mapping[str, Any]]) -> go.Figure:
    figure = go.Figure()
    for index, probe in enumerate(probes):
        found = probe["forecast"]
        figure.add_scatter(
            name=_name(probe),
            x=[str(f["group_size"]) for f in found],
            y=[100 * f["live"] for f in found],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [100 * max(0.0, f["prediction90"][1] - f["live"]) for f in found],
                "arrayminus": [100 * max(0.0, f["live"] - f["prediction90"][0]) for f in found],
                "thickness": 1,
            },
            mode="lines+markers",
            line={"color": LINES[index % len(LINES)], "width": 2},
            hovertemplate="%{y:.0f} %",
        )
    figure.update_xaxes(title_text="completions per problem (group size)", type="category")
    figure.update_yaxes(title_text="live groups (%)", range=[0, 103])
    return figure


def _name(probe: Mapping[str, Any]) -> str:
    return _NAMES.get(probe["stage"], str(probe["stage"]))


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def write_forecast(path: Path, probe: Mapping[str, Any]) -> None:
    """Write the forecast of one probe as a page of its own that needs no network."""
    figure = _figure([probe])
    figure.update_layout(title=f"Live groups to expect: {probe['headline']}", template="plotly_white")
    figure.write_html(path, include_plotlyjs=True, full_html=True)
