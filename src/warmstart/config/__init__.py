"""The recipe: its schema, how it is loaded, and everything that is wrong with it at once."""

from __future__ import annotations

from warmstart.config.schema import Recipe, load_recipe, resolved

__all__ = ["Recipe", "load_recipe", "resolved"]
