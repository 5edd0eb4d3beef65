"""docs/metrics.md is what the code says, and says everything."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from warmstart.results.glossary import METRICS
from warmstart.training.callbacks import _RENAMED
from warmstart.training.trackers import our_names

ROOT = Path(__file__).parents[1]


def _script():
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / "scripts" / "build_metrics_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == _script().page(), (
        "run scripts/build_metrics_page.py"
    )


def test_every_number_of_a_step_is_in_the_glossary_under_its_trackers_name() -> None:
    assert set(_RENAMED.values()) - METRICS.keys() == set()
    # Of two that fill one number the later counts, where it is logged.
    trackers = {ours: next(iter(our_names({theirs: 0}))) for theirs, ours in _RENAMED.items()}
    for ours, tracker in trackers.items():
        assert METRICS[ours].tracker == tracker, ours


def test_every_metric_the_trainer_records_is_in_the_glossary() -> None:
    known = {metric.tracker for metric in METRICS.values()}
    for path in (ROOT / "src" / "warmstart" / "training").glob("*.py"):
        for name in re.findall(r'(?:_record|\.record)\(\s*f?"((?:signal|time)/\w+)"', path.read_text()):
            assert next(iter(our_names({name: 0}))) in known, f"{path.name}: {name}"
