"""``--set a.b=value``: one value of a recipe changed on the command line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from warmstart.errors import ConfigError

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", re.ASCII)


def apply_override(values: dict[str, Any], override: str) -> None:
    """Put the value of ``a.b=value`` into the nested ``values``.

    Raises:
        ConfigError: If there is no ``=``, if a section on the way holds a plain value, or if the value is
            not YAML.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} has no '='", "write --set grpo.steps=20")
    *sections, last = key.strip().split(".")
    place = values
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {override!r}: {section!r} has no fields inside", "write --set grpo.steps=20"
            )
        place = inner
    try:
        place[last] = _scalar(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {override!r}: the value is not YAML", "quote it, as in --set 'data.path=\"a: b\"'"
        ) from error


def _scalar(text: str) -> Any:  # noqa: ANN401
    # YAML 1.1 takes 1e-5 for a text, because its floats need a point; what is in quotes stays a text.
    return float(text) if _EXPONENT.fullmatch(text.strip()) else yaml.safe_load(text)
