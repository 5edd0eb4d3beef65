"""The run directory: every name and schema, written atomically, by one run at a time."""

from __future__ import annotations

from warmstart.runs.directory import RunDir

__all__ = ["RunDir"]
