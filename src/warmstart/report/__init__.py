"""From a run directory to one self-contained page: `build_report`. Reads files only, never imports torch."""

from __future__ import annotations

from warmstart.report.page import build_report

__all__ = ["build_report"]
