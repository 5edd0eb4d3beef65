"""Rewards of one's own, as a recipe names them: ``FILE.py:FUNCTION``, read but not run.

A recipe is checked without running what it names: the file is parsed and the function looked for.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from warmstart.trl_fields import did_you_mean


class RewardFile(NamedTuple):
    """A reward function in a file."""

    path: Path
    name: str
    """Of the function, and so of the reward."""


def reward_file(text: str) -> RewardFile:
    """Return what ``FILE.py:FUNCTION`` names.

    Raises:
        ValueError: If it is written in another way.
    """
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        raise ValueError(f"{text!r} is not FILE.py:FUNCTION")
    return RewardFile(Path(path).expanduser(), name)


def sources_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the text of the file of each reward, by the reward's name; bytes that are not UTF-8 survive."""
    files = map(reward_file, texts)
    return {name: path.read_bytes().decode("utf-8", "surrogateescape") for path, name in files}


def problems_of(texts: Sequence[str], taken: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each reward that cannot be used, its place in the list first.

    Args:
        texts: As the recipe has them.
        taken: Names of rewards that there are already.
    """
    seen = set(taken)
    for place, text in enumerate(texts):
        key = f"grpo.rewards.{place}"
        try:
            found = reward_file(text)
        except ValueError as error:
            yield f"{key}: {error}"
            continue
        if found.name in seen:
            yield f"{key}: there is a reward {found.name} already; give the function another name"
        seen.add(found.name)
        why_not = _why_not(found)
        if why_not is not None:
            yield f"{key}: {why_not}"


def _why_not(reward: RewardFile) -> str | None:
    try:
        tree = ast.parse(reward.path.read_bytes(), filename=str(reward.path))
    except OSError as error:
        return f"{reward.path} cannot be read: {error.strerror}"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"{reward.path}{line} is not Python: {getattr(error, 'msg', error)}"
    named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    named |= {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if reward.name not in named:
        return f"{reward.path} has no function {reward.name}{did_you_mean(reward.name, named)}"
    return None
