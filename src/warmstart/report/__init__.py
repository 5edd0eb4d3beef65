"""From a run directory to one self-contained page: `build_report`. Reads files only, never imports torch."""

from __future__ import annotations

from warmstart.report.page import build_report
from warmstart.results.model_card import write_cards
from warmstart.results.summary import build_summary
from warmstart.runs.directory import RunDir

__all__ = ["build_report", "conclude"]


def conclude(folder: RunDir) -> None:
    """Write summary.json, report.html and the adapters' model cards; only the main process of a run does."""
    if not folder.writes:
        return
    folder.write_json(folder.summary_path, build_summary(folder))
    write_cards(folder)
    build_report(folder.path)
