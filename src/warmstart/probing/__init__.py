"""The probe: sample, grade, call the rewards, diagnose."""

from __future__ import annotations

from warmstart.probing.probe import Probe, probe
from warmstart.probing.settings import ProbeSettings

__all__ = ["Probe", "ProbeSettings", "probe"]
