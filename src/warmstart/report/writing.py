"""What the completions came to look like: the curves that show a reward being hacked."""

from __future__ import annotations

from collections.abc import Sequence

from warmstart.report.charts import Chart, Row, curves, of

_SHARES = {
    "distinct": "distinct texts in a group",
    "paid_wrong": "paid as right, lenient grader says wrong",
    "several_numbers": "several numbers in the answer",
    "repeated_tags": "a tag more than once",
    "copied": "reasoning of another problem",
    "no_reasoning": "no reasoning before the answer",
}


def writing_charts(lines: Sequence[Row]) -> list[Chart]:
    """Return the curves of what the watch read in the completions; none where nothing was kept.

    Args:
        lines: Of metrics.jsonl, as the watch leaves them.
    """
    shares = {words: of(name, 100) for name, words in _SHARES.items()}
    wanted = [
        curves(lines, "writing-shares", "What was written, against hacking", "completions (%)", shares),
        curves(
            lines,
            "writing-words",
            "Length of the reasoning",
            "words before the answer",
            {"words": of("reasoning_words")},
        ),
    ]
    return [chart for chart in wanted if chart is not None]
