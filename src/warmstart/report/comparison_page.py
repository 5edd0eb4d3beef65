"""A comparison as one page: tables and intervals drawn to scale, without scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from warmstart import estimates
from warmstart.results.summary import MEASURES, describe_gain, describe_points, describe_rate
from warmstart.runs import durable
from warmstart.visible import shortened, visible

_LONGEST = 120


def write_comparison(path: Path, found: Mapping[str, Any]) -> None:
    """Write the page of a comparison, as `warmstart.results.comparison.compare` returns it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("warmstart.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "rate": describe_rate,
        "points": describe_points,
        "p": estimates.describe_p,
        "gain": describe_gain,
        "setting": _setting,
    }
    page = environment.get_template("compare.html").render(
        found=found,
        measures=MEASURES,
        alpha=estimates.ALPHA,
        styles=Markup((resources.files("warmstart.report") / "templates" / "report.css").read_text("utf-8")),
    )
    durable.replace(path, page.encode("utf-8", "replace"))


def _setting(value: object) -> str:
    return "unset" if value is None else shortened(json.dumps(value, ensure_ascii=False), _LONGEST)
