"""``--set a.b=value``: one value of a recipe changed on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from warmstart.config.yaml_loader import NotYaml, load_value
from warmstart.errors import ConfigError


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> list[ConfigError]:
    """Put the value of each ``a.b=value`` into the nested ``values``; return what is wrong with the others."""
    refused = []
    for override in overrides:
        try:
            apply_override(values, override)
        except ConfigError as error:
            refused.append(error)
    return refused


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
        place[last] = load_value(text)
    except NotYaml as error:
        raise ConfigError(
            f"--set {override!r}: the value is not YAML: {error}",
            "quote it, as in --set 'data.path=\"a: b\"'",
        ) from error
