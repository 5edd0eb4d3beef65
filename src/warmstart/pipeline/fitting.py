"""Problems that do not fit into the model, prompt and completion together, are left out before they cost a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from warmstart.data import DataSplits
from warmstart.errors import DataError
from warmstart.records import Problem
from warmstart.templates.prompter import Prompter

_AROUND = 512
"""Bytes of a template around a question, by far; only longer questions are tokenised."""


class Fitting:
    """Says which problems fit.

    Args:
        most: Tokens the model can look at.
        cap: Tokens of a completion.
        instructions: What stands in every prompt.
        load: Loads what makes the prompts; called if a question may be too long.
    """

    def __init__(self, most: int, cap: int, instructions: str, load: Callable[[], Prompter]) -> None:
        self._most, self._cap = most, cap
        self._around = len(instructions.encode()) + _AROUND
        self._load = load

    @cached_property
    def _prompter(self) -> Prompter:
        return self._load()

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self._prompter.tokenizer.get_vocab()))

    def fits(self, problem: Problem) -> bool:
        """Say whether prompt and completion fit; a token is a byte at least."""
        room = self._most - self._cap
        if len(problem.question.encode()) + self._around <= room:
            return True
        # A megabyte would take a tokenizer seconds.
        if len(problem.question) > room * self._longest_token:
            return False
        return len(self._prompter.prompt_ids(problem.question)) <= room

    def kept(self, splits: DataSplits, say: Callable[[str], None]) -> DataSplits:
        """Return the problems that fit, and say how many do not.

        Raises:
            DataError: If nothing of a part fits.
        """
        return DataSplits(
            self._part("training", splits.train, say),
            self._part("held-out", splits.eval, say),
            self._part("unseen", splits.unseen, say),
        )

    def _part(self, name: str, problems: list[Problem], say: Callable[[str], None]) -> list[Problem]:
        fit = [self.fits(problem) for problem in problems]
        left = [problem for problem, fits in zip(problems, fit, strict=True) if fits]
        if len(left) == len(problems):
            return problems
        told = f"{name} problems do not fit into the {self._most:,} tokens of the model with completions of {self._cap:,}"
        if not left:
            raise DataError(
                f"all {len(problems):,} {told}", "lower grpo.max_completion_tokens, or shorten the problems"
            )
        first = problems[fit.index(False)].id
        say(f"data: {len(problems) - len(left):,} {told}; they are left out ({first} first)")
        return left
