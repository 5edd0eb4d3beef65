"""The program of one grader process: answers questions about equality with Math-Verify.

`warmstart.grading.symbolic` starts this file as a script. One line of JSON in, one out, so that nothing a
model wrote is ever unpickled. It imports nothing of warmstart and may be killed at any time.
"""

from __future__ import annotations

import json
import os
import sys
from functools import lru_cache
from typing import Any

import math_verify
import sympy
from math_verify.errors import TimeoutException

MEMORY_BYTES = 2 * 1024**3
"""Address space of one process; a power tower then ends in MemoryError instead of swapping."""

CPU_S = 30
"""Processor seconds of one comparison. The parent kills by the clock and sooner; this ends a process that
lost its parent in the middle of one."""

# Math-Verify's alarm ends what can be interrupted and spares us a new process. It needs POSIX.
_ALARM_S = 2 if os.name == "posix" else None

# What sympy and its parsers are known to raise on formulas they cannot handle. Anything else ends
# this process, which makes the comparison undecided just the same.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    sympy.polys.polyerrors.BasePolynomialError,
)


def compare(gold: str, given: str, options: dict[str, Any]) -> str:
    """Return the value of the `warmstart.grading.symbolic.Outcome` of one comparison. The gold is read first."""
    try:
        golds = _read(gold, options["latex"], options["expr"])
        if not golds:
            return "gold_unreadable"
        givens = _read(given, options["latex"], options["expr"])
        if not givens:
            return "unreadable"
        return _compare_all(golds, givens, options)
    except TimeoutException:  # derives from BaseException
        return "timeout"


def _compare_all(golds: list[object], givens: list[object], options: dict[str, Any]) -> str:
    failed = False
    for gold in golds:
        for given in givens:
            try:
                if _equal(gold, given, options):
                    return "equal"
            except _FAILURES:
                failed = True
    return "failed" if failed else "different"


def _equal(gold: object, given: object, options: dict[str, Any]) -> bool:
    same = math_verify.verify(
        gold,
        given,
        float_rounding=options["precision"],
        strict=options["strict"],
        allow_set_relation_comp=options["allow_set_relation_comp"],
        timeout_seconds=_ALARM_S,
        raise_on_error=True,
    )
    return bool(same) and _same_size(gold, given, options["precision"])


def _same_size(gold: object, given: object, precision: int) -> bool:
    """Return False for two numbers that are equal only because rounding took both to the same decimals.

    Math-Verify rounds to decimal places, which can make 1/2006! equal 1/2004!. A factor of 100
    passes: Math-Verify has judged what is a percentage.
    """
    if not (isinstance(gold, sympy.Expr) and isinstance(given, sympy.Expr)):
        return True
    if not (gold.is_number and given.is_number and gold.is_real and given.is_real):
        return True
    left, right = gold.evalf(30), given.evalf(30)
    tolerance = abs(left) * sympy.Float(10) ** -precision
    return any(abs(left - right * factor) <= tolerance for factor in (1, 100, sympy.Rational(1, 100)))


@lru_cache(maxsize=1024)
def _read(text: str, latex: bool, expr: bool) -> list[object]:
    targets: list[object] = []
    if latex:
        targets.append(math_verify.LatexExtractionConfig(boxed_match_priority=0))
    if expr:
        targets.append(math_verify.ExprExtractionConfig())
    try:
        return list(math_verify.parse(text, targets, parsing_timeout=_ALARM_S, raise_on_error=True))
    except _FAILURES:
        return []


def limit_process() -> None:
    """Bound the memory, and let the process write no file and leave no core."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_cpu(seconds: int = CPU_S) -> None:
    """Let the system end the process if it computes for so many seconds more."""
    if sys.platform == "linux":
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + seconds, most))


def main() -> None:
    """Answer one request per line until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # whatever the libraries print must not look like an answer
    limit_process()
    answer = "ready"
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        line = sys.stdin.readline()
        if not line:
            break
        limit_cpu()
        request = json.loads(line)
        answer = compare(request["gold"], request["given"], request["options"])


if __name__ == "__main__":
    main()
