"""What pydantic finds wrong with a recipe, as sentences with the key the user typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from warmstart.trl_fields import did_you_mean


def sentences(error: ValidationError, recipe: type[BaseModel]) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong, its key first."""
    for found in error.errors():
        key = ".".join(str(part) for part in found["loc"])
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            yield f"{key}: there is no such field{did_you_mean(str(found['loc'][-1]), _fields(recipe, found['loc'][:-1]))}"
        elif found["type"] == "missing":
            yield f"{key}: is needed"
        elif found["type"] == "value_error":
            yield from message.split("\n")
        elif found["type"] == "model_type":
            yield f"{key}: {_shown(found['input'])} does not do; it has fields of its own, as `warmstart recipes show tiny` does"
        elif found["type"] == "list_type" and isinstance(found["input"], str):
            yield f"{key}: {_shown(found['input'])} is no list; put it in brackets: '{key}=[…]'"
        elif found["type"] == "string_type":
            yield f"{key}: {_shown(found['input'])} is not read as text; quote it inside, as in {key}='\"1e5\"'"
        else:
            yield f"{key}: {_shown(found['input'])} does not do; {message[0].lower()}{message[1:]}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _fields(recipe: type[BaseModel], section: Sequence[int | str]) -> list[str]:
    model: Any = recipe
    for part in section:
        field = model.model_fields.get(part)
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)
