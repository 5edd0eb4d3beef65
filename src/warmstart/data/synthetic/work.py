"""The steps of a worked solution: computed once, written out rightly or with slips."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field

_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}

Slip = Callable[[int], int]
"""Takes the right result of one line and returns what is written instead."""


class Result(int):
    """The value of an earlier step, used as an operand: an int that knows which step it came from."""

    step: int

    def __new__(cls, value: int, step: int) -> Result:
        """Return ``value`` with the index of its step."""
        result = super().__new__(cls, value)
        result.step = step
        return result


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a solution: ``text`` holds ``{}`` where the equation goes."""

    text: str
    left: int
    operation: str
    right: int


@dataclass(slots=True)
class Work:
    """The steps of one solution, in order; the last one's value is the answer."""

    steps: list[Step] = field(default_factory=list)
    answer: int = 0

    def step(self, text: str, left: int, operation: str, right: int) -> Result:
        """Add a line and return its value, to be used as an operand of later lines.

        Raises:
            ValueError: If the division leaves a remainder or the value is negative or over 9,999.
        """
        value = _OPERATIONS[operation](left, right)
        if operation == "/" and value * right != left:
            raise ValueError(f"{left}/{right} leaves a remainder in {text!r}")
        if not 0 <= value <= 9_999:
            raise ValueError(f"{left}{operation}{right}={value} is out of range in {text!r}")
        self.steps.append(Step(text, left, operation, right))
        self.answer = value
        return Result(value, len(self.steps) - 1)


def line_values(work: Work, slip: Slip | None = None) -> list[tuple[str, int]]:
    """Return each line with the value it writes; an error that ``slip`` makes is carried on.

    Without ``slip`` the values are the right ones and the last one is ``work.answer``.
    """
    lines: list[tuple[str, int]] = []
    for step in work.steps:
        left = lines[step.left.step][1] if isinstance(step.left, Result) else step.left
        right = lines[step.right.step][1] if isinstance(step.right, Result) else step.right
        value = 0 if step.operation == "/" and right == 0 else _OPERATIONS[step.operation](left, right)
        if slip is not None:
            value = slip(value)
        lines.append((step.text.format(f"{left}{step.operation}{right}={value}"), value))
    return lines


def write(work: Work, slip: Slip | None = None) -> str:
    """Return the solution as text, one line a step."""
    return "\n".join(line for line, _ in line_values(work, slip))
