"""Where the time of a run went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from warmstart.report.charts import COLOURS, Chart, Row, plain
from warmstart.report.text import duration

_PARTS = {
    "generating": ("generate_s", COLOURS["grpo"]),
    "scoring": ("score_s", "#b8912b"),
    "updating": ("", "#d1526b"),
}


def time_chart(cost: Mapping[str, Any], steps: Sequence[Row]) -> Chart | None:
    """Return a bar per stage, that of GRPO split into generation, scoring and update; None before the first."""
    stages = [(line["stage"], float(line.get("wall_s") or 0.0)) for line in cost["by_stage"]]
    if not stages:
        return None
    names = [name for name, _ in stages]
    split = _split(dict(stages).get("grpo"), steps)
    figure = go.Figure()
    whole = [0.0 if name == "grpo" and split else seconds for name, seconds in stages]
    _bar(figure, "whole stage", "#858b96", names, whole)
    for part, seconds in split.items():
        colour = _PARTS[part][1] if part in _PARTS else "#3a84c9"
        _bar(figure, part, colour, names, [seconds if name == "grpo" else 0.0 for name in names])
    figure.update_layout(barmode="stack", bargap=0.25)
    figure.update_xaxes(title_text="seconds")
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    rows = [[name, f"{seconds:.1f}"] for name, seconds in stages]
    rows += [[f"grpo: {part}", f"{seconds:.1f}"] for part, seconds in split.items()]
    longest, most = max(stages, key=lambda stage: stage[1])
    text = f"{duration(cost['wall_s'])} in all; the longest stage was {longest} with {duration(most)}."
    if split:
        said = ", ".join(f"{part} {duration(seconds)}" for part, seconds in split.items())
        text += f" GRPO: {said}."
    shape = plain(figure, legend=bool(split), height=80 + 34 * len(names))
    shape["layout"]["margin"]["l"] = 88
    shape["layout"]["legend"]["traceorder"] = "normal"
    return Chart("time", "Where the time went", text, shape, ["stage", "seconds"], rows)


def _split(wall_s: float | None, steps: Sequence[Row]) -> dict[str, float]:
    """Return the parts of GRPO's time; empty where its steps do not say."""
    timed = [step for step in steps if step.get("step_s") and step.get("generate_s") is not None]
    if not timed or wall_s is None:
        return {}
    in_steps = sum(step["step_s"] for step in timed)
    generating = sum(step["generate_s"] for step in timed)
    scoring = sum(step.get("score_s") or 0.0 for step in timed)
    updating = max(0.0, in_steps - generating - scoring)
    parts = {"generating": generating, "scoring": scoring, "updating": updating}
    other = wall_s - in_steps
    return parts | ({"loading, checks, saving": other} if other > 0 else {})


def _bar(figure: go.Figure, name: str, colour: str, stages: list[str], seconds: list[float]) -> None:
    figure.add_bar(
        orientation="h",
        name=name,
        y=stages,
        x=seconds,
        marker_color=colour,
        hovertemplate=f"%{{x:.1f}} s<extra>{name}</extra>",
    )
