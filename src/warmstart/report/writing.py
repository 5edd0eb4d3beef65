"""What the completions came to look like: the curves that show a reward being hacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from warmstart.report.charts import Chart, Row, curves, of

_TRICKS = {
    "paid_wrong": "paid as right, lenient grader says wrong",
    "several_numbers": "several numbers in an answer",
    "repeated_tags": "a tag more than once",
    "copied": "reasoning of another problem",
    "no_reasoning": "no reasoning before the answer",
}


def tricks_chart(lines: Sequence[Row], said: Sequence[Row]) -> Chart | None:
    """Return the curves of the ways to be paid for nothing that were seen, and where the watch named one.

    None where none was seen.

    Args:
        lines: Of metrics.jsonl, as the watch leaves them.
        said: The events of the watch.
    """
    seen = [name for name in _TRICKS if any(line.get(name) for line in lines)]
    shares = {_TRICKS[name]: of(name, 100) for name in seen}
    chart = curves(lines, "writing-tricks", "Signs of reward hacking", "completions (%)", shares)
    if chart is None:
        return None
    never = [words for name, words in _TRICKS.items() if name not in seen]
    text = chart.text + (f" Never seen: {', '.join(never)}." if never else "")
    layout = chart.figure["layout"]
    most = 100 * max(line.get(name) or 0.0 for line in lines for name in seen)
    layout["yaxis"] |= {"range": [0, 103 if most > 25 else 26]}
    named = [event["step"] for event in said if event["code"] == "hacking" and event["severity"] != "stop"]
    if named:
        text += f" The watch named it at step {' and '.join(map(str, named))} (dotted)."
        layout["shapes"] = [
            {"type": "line", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1}
            | {"line": {"color": "#d1526b", "width": 2, "dash": "dot"}}
            for step in named
        ]
    return replace(chart, text=text)


def writing_charts(lines: Sequence[Row]) -> list[Chart]:
    """Return how varied and how long the texts were; none where nothing was kept.

    Args:
        lines: Of metrics.jsonl, as the watch leaves them.
    """
    wanted = [
        curves(
            lines,
            "writing-distinct",
            "Distinct texts in a group",
            "completions of a group (%)",
            {"distinct": of("distinct", 100)},
        ),
        curves(
            lines,
            "writing-words",
            "Length of the reasoning",
            "words before the answer",
            {"words": of("reasoning_words")},
        ),
    ]
    return [chart for chart in wanted if chart is not None]
