"""The recipes that ship, and the text of any recipe."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from warmstart.errors import ConfigError
from warmstart.trl_fields import did_you_mean

SHOW = "`warmstart recipes show tiny` shows a whole recipe"
"""The hint of whoever wrote a recipe that is none."""

_OF_DATA = (".jsonl", ".csv", ".parquet")
_RECIPES = resources.files("warmstart") / "recipes"


def list_recipes() -> list[str]:
    """Return the names of the packaged recipes, ``tiny`` first."""
    names = [Path(entry.name).stem for entry in _RECIPES.iterdir() if entry.name.endswith(".yaml")]
    return sorted(names, key=lambda name: (name != "tiny", name))


def recipe_text(name_or_path: str | Path) -> str:
    """Return the YAML of a packaged recipe or a file.

    Raises:
        ConfigError: If there is neither, or if the file holds problems.
    """
    if Path(name_or_path).suffix in _OF_DATA:
        raise ConfigError(
            f"{name_or_path} is no recipe but a file of data",
            f"name a recipe and give it the file: tiny --set data.source=files --set data.path={name_or_path}",
        )
    if str(name_or_path) in list_recipes():
        return (_RECIPES / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name_or_path} is no UTF-8 text, and so no recipe", SHOW) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"there is no recipe {str(name_or_path)!r}{did_you_mean(str(name_or_path), list_recipes())}",
            f"packaged: {', '.join(list_recipes())}; or give a readable YAML file",
        ) from error
