"""YAML that cannot surprise: no key twice, no aliases, no error but one."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_CHARS = 1_000_000
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", re.ASCII)


class NotYaml(ValueError):
    """Raised when a text is no YAML that a recipe may be."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases of aliases make a short text a tree without end.
        if self.check_event(yaml.AliasEvent):
            raise NotYaml("aliases (*name) are not used in recipes")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # YAML's own rule, which PyYAML leaves to the reader: the last of two silently wins.
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise NotYaml(f"line {key.start_mark.line + 1}: the key {key.value!r} occurs twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:  # noqa: ANN401
    """Return what the YAML text holds: containers, texts, numbers and switches.

    Raises:
        NotYaml: If it is not YAML, too large, too deep, or holds a key twice or an alias.
    """
    if len(text) > MAX_CHARS:
        raise NotYaml(f"longer than {MAX_CHARS:,} characters")
    try:
        return yaml.load(text, Loader=_Loader)
    except NotYaml:
        raise
    except RecursionError as error:
        raise NotYaml("nested too deep") from error
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
        # PyYAML raises Python's own errors on dates, numbers and keys that cannot be.
        raise NotYaml(" ".join(str(error).split()) or type(error).__name__) from error


def load_value(text: str) -> Any:  # noqa: ANN401
    """Return one value. YAML 1.1 takes 1e-5 for a text, because its floats need a point; this does not.

    Raises:
        NotYaml: As `load` does.
    """
    return float(text) if _EXPONENT.fullmatch(text.strip()) else load(text)
