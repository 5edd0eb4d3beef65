r"""Exact, bounded reading of the one number in a short answer.

``read_number`` takes ``$1,234.50``, ``3/4 cup``, ``\boxed{\frac{3}{4}}``, ``2 + 3 = 5`` or
``-1 1/2`` to an exact rational, and refuses whatever is not one value: lists, ranges, hedges,
unevaluated sums, compound units. Nothing is evaluated but one power of bounded size. There is no
float and no symbolic algebra, and length, digits, exponent and nesting are bounded, so any text at
all is read in about a millisecond or less, in any thread.
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from typing import NamedTuple

from warmstart.grading.notation import boxes, plain
from warmstart.grading.words import CURRENCY_CODES, HEDGES, NOT_UNITS, PERCENT_WORDS, UNIT_LETTERS

MAX_LENGTH = 400
"""Longest answer that is read, in characters."""

MAX_DIGITS = 300
"""Most digits of one number. Below 640, the lowest limit that Python's int() can be set to."""

MAX_EXPONENT = 600
"""Largest exponent of ten, and largest size of a power in decimal digits."""

MAX_WORDS = 12
"""Most words before the number, and most words after it."""

RELATIVE_TOLERANCE = Fraction(1, 10**6)
"""How far a terminating decimal may be from a value that does not terminate, such as 1/3."""


class Number(NamedTuple):
    """A value as the answer gives it: ``50%`` is 50 with ``percent`` set."""

    value: int | Fraction
    percent: bool = False


class NotANumber(NamedTuple):
    """Why a text was not read as one number."""

    reason: str


_DIVISION_BY_ZERO = NotANumber("division by zero")
_EXPONENT_TOO_LARGE = NotANumber("exponent too large")
_POWER_TOO_LARGE = NotANumber("power too large")
_TOO_MANY_DIGITS = NotANumber(f"more than {MAX_DIGITS} digits")

IMPOSSIBLE = frozenset({_DIVISION_BY_ZERO, _EXPONENT_TOO_LARGE, _POWER_TOO_LARGE, _TOO_MANY_DIGITS})
"""The readings of texts that are written as one number but have no value here."""

# Only repeats of a single character are possessive: Python 3.11.0 to 3.11.4 takes a possessive repeat of a group
# for matched where it had to go back (gh-106052). A group repeated to its last has `(?!once more)` behind it.

# What clean completions hold, read without further ado: 18, -3, 1,234.50.
_CLEAN = re.compile(r"([-+]?+)([1-9]\d{0,2}+(?:,\d{3})+|\d++)(?:\.(\d++))?", re.ASCII)

_DIGITS = (
    r"(?:[1-9]\d{0,2}+(?:,\d{3})+(?!,\d{3}|\d)|[1-9]\d?+(?:,\d\d(?=,))+(?!,\d\d,),\d{3}(?!\d)"
    r"|[1-9]\d{0,2}+(?:[ ]\d{3})+(?![ ]\d{3}|[\d/])|[1-9]\d{0,2}+(?:_\d{3})+(?!_\d{3}|\d)|\d++)"
)
_PLAIN = rf"(?:{_DIGITS}(?:\.\d++)?|\.\d++)"
_EXPONENT = r"(?:[+-]?\d++|\{[ ]?[+-]?\d++[ ]?\}|\([+-]?\d++\))"
_NUMBER = re.compile(
    rf"""(?P<base>{_PLAIN})
    (?: [eE](?P<e>[+-]?\d++)
      | [ ]*+[*x][ ]*+10[ ]?(?:\^|\*\*)[ ]?(?P<ten>{_EXPONENT})
      | [ ]?(?:\^|\*\*)[ ]?(?P<power>{_EXPONENT})
      | [ ]?/[ ]?(?P<under>-?{_PLAIN})
      | [ ]++(?P<part>\d++)[ ]?/[ ]?(?P<parts>\d++)
    )?""",
    re.VERBOSE | re.ASCII,
)
_HAS_DIGIT = re.compile(r"\d", re.ASCII)
_LIST_MARK = re.compile(r";|,(?!\d)|\b(?:or|and|not)\b", re.IGNORECASE)
_OPERATOR = re.compile(r"[-+*/^]|\d[ ]?+[^\W\d_]")
_INEQUALITY = re.compile(r"[<>≤≥≠~∼]|[!=]=")
_LABEL = re.compile(r"(?:[^\W\d]|[ .,:;'\"#%&()]|[-/](?=[ ]?[^\W\d_]))*")
_UNIT = re.compile(r"(?:[^\W\d]|[ .,'\"/()%$€£¥₹-])*")
_UNIT_POWER = re.compile(r"(?<=[^\W\d_])(?:[ ]*+\^(?:\{-?[1-9]\}|-?[1-9](?!\d))|[23](?![\w.,]))")
_WORD = re.compile(r"[^\W\d_]++(?:['’][^\W\d_]++)?")
_SIGNS = (["negative"], ["minus"])
_CURRENCY = " $€£¥₹₽₩₱¢"
_TRAILING = " .,:;!*`\"'"


def read_number(text: str) -> Number | NotANumber:
    """Return the one number that the text holds, exactly, or why there is not exactly one."""
    text = text.strip()
    if text.isdigit() and text.isascii() and len(text) <= MAX_DIGITS:
        return Number(int(text))
    if len(text) <= MAX_DIGITS and (clean := _CLEAN.fullmatch(text)):
        return Number(_decimal(*clean.groups()))
    if len(text) > MAX_LENGTH:
        return NotANumber(f"longer than {MAX_LENGTH} characters")
    found = boxes(text) if "box" in text else []
    if len(found) > 1:
        return _read_boxes(text, found)
    line = _one_line(plain(text))
    return line if isinstance(line, NotANumber) else _read_line(line)


def equal(left: Number, right: Number) -> bool:
    """Return whether the two are the same value.

    Comparison is exact, except that a terminating decimal may be `RELATIVE_TOLERANCE` away from a
    value that does not terminate. A percentage equals both its number and its hundredth: ``50%``
    is 50 and 0.5; but ``50%`` is not ``0.5%``.
    """
    if _close(left.value, right.value):
        return True
    if left.percent == right.percent:
        return False
    percent, other = (left, right) if left.percent else (right, left)
    return _close(Fraction(percent.value, 100), other.value)


def _close(left: int | Fraction, right: int | Fraction) -> bool:
    if left == right:
        return True
    if _terminates(left) == _terminates(right):
        return False
    return abs(Fraction(left) - right) <= RELATIVE_TOLERANCE * max(abs(Fraction(left)), abs(Fraction(right)))


def _terminates(value: int | Fraction) -> bool:
    """Return whether the value is a finite decimal: its denominator divides a power of ten."""
    denominator = value.denominator
    return denominator == 1 or pow(10, denominator.bit_length(), denominator) == 0


def _decimal(sign: str, whole: str, fraction: str | None) -> int | Fraction:
    digits = whole.replace(",", "") if "," in whole else whole
    value: int | Fraction = Fraction(int(digits + fraction), 10 ** len(fraction)) if fraction else int(digits)
    return -value if sign == "-" else value


def _read_boxes(text: str, found: list[tuple[int, int, str]]) -> Number | NotANumber:
    """Return the value that all boxes agree on; nothing outside them may hold a digit."""
    outside = text[: found[0][0]] + text[found[-1][1] :]
    outside += " ".join(text[left[1] : right[0]] for left, right in itertools.pairwise(found))
    if _HAS_DIGIT.search(outside):
        return NotANumber("several values")
    readings = [read_number(content) for _, _, content in found if "box" not in content]
    numbers = [reading for reading in readings if isinstance(reading, Number)]
    if len(numbers) < len(found):
        return NotANumber("a box does not hold one number")
    if any(not equal(numbers[0], other) for other in numbers[1:]):
        return NotANumber("several values")
    return numbers[0]


def _one_line(text: str) -> str | NotANumber:
    """Return the text as one line; a list in lines is refused, a label above the value is not."""
    if "\n" not in text:
        return text
    lines = [line.strip() for line in text.split("\n") if _WORD.search(line) or _HAS_DIGIT.search(line)]
    if sum(map(bool, map(_HAS_DIGIT.search, lines))) > 1:
        return NotANumber("several lines with numbers")
    return "  ".join(lines)


def _read_line(line: str) -> Number | NotANumber:
    line = line.strip().rstrip(_TRAILING).lstrip("*`\"' ")
    if line.startswith("(") and line.endswith(")") and "," not in line and line.count("(") == 1:
        line = line[1:-1]
    if _INEQUALITY.search(line):
        return NotANumber("an inequality or an approximation")
    exact, _, rounded = line.partition("≈")
    reading = _read_equation(exact)
    return reading if isinstance(reading, Number) or not rounded else _read_equation(rounded)


def _read_equation(text: str) -> Number | NotANumber:
    """Return the value on the right-hand side; of ``5 = x`` the one on the left, of ``2x = 10`` none."""
    *left, last = text.split("=")
    if any(map(_LIST_MARK.search, left)):
        return NotANumber("several equations")
    if len(left) == 1 and not _HAS_DIGIT.search(last):
        left, last = [last], left[0]
    if any(map(_has_unknown, left)):
        return NotANumber("an equation, not a value")
    return _read_value(last)


def _has_unknown(side: str) -> bool:
    """Return whether a side computes with a variable, as ``2x + y`` does and ``f(x)`` does not."""
    return _OPERATOR.search(side) is not None and any(map(_is_variable, _WORD.findall(side)))


def _read_value(text: str) -> Number | NotANumber:
    match = _NUMBER.search(text)
    if match is None:
        return NotANumber("no number")
    sign = _read_prefix(text[: match.start()])
    if isinstance(sign, NotANumber):
        return sign
    percent = _read_unit(text[match.end() :])
    if isinstance(percent, NotANumber):
        return percent
    value = _evaluate(match, sign)
    return value if isinstance(value, NotANumber) else Number(value, percent)


def _read_prefix(prefix: str) -> int | NotANumber:
    """Return the sign, 1 or -1, that the text before a number gives it."""
    head = prefix.rstrip(_CURRENCY)
    signed = head.endswith(("-", "+"))
    label = head[:-1] if signed else head
    if signed and not _is_sign(label, prefix[len(head) :]):
        return NotANumber("an unevaluated sum or a range")
    label = label.rstrip(_CURRENCY)
    words = [word.casefold() for word in _WORD.findall(label)]
    if not _LABEL.fullmatch(label) or ("(" in label and not label.rstrip().endswith(":")):
        return NotANumber("an expression, not a value")
    if prefix[-1:].isalpha() and words[-1] not in CURRENCY_CODES:
        return NotANumber("a number glued to a word")
    if len(words) > MAX_WORDS or not HEDGES.isdisjoint(words[:-1] if words[-1:] in _SIGNS else words):
        return NotANumber("a hedge, or more than a label, before the number")
    if words[-1:] in _SIGNS:
        return NotANumber("two signs") if signed else -1
    return -1 if signed and head[-1] == "-" else 1


def _is_sign(label: str, gap: str) -> bool:
    """Return whether a sign is one, and not an operator between the label and the number after the gap."""
    if not label.strip(_CURRENCY) or label.rstrip().endswith(":"):
        return True
    return label[-1] in _CURRENCY and not gap.startswith(" ")


def _read_unit(suffix: str) -> bool | NotANumber:
    """Return whether the text after a number is a percent sign, with or without words that follow."""
    unit = suffix.strip(_CURRENCY).rstrip(_TRAILING)
    percent = unit.startswith("%")
    unit = _UNIT_POWER.sub("", unit.removeprefix("%"))
    if _HAS_DIGIT.search(unit):
        return NotANumber("several numbers")
    if not _UNIT.fullmatch(unit):
        return NotANumber("more than a unit after the number")
    words = _WORD.findall(unit)
    if words and _is_variable(words[0]) and (words[0] != "a" or len(words) == 1):
        return NotANumber("a variable after the number")
    folded = [word.casefold() for word in words]
    if len(folded) > MAX_WORDS or not NOT_UNITS.isdisjoint(folded):
        return NotANumber("a hedge or a number word after the number")
    return percent or folded[:2] == ["per", "cent"] or not PERCENT_WORDS.isdisjoint(folded[:1])


def _is_variable(word: str) -> bool:
    """Return whether a word is one Latin or Greek letter that is no unit."""
    return len(word) == 1 and word < "\u0400" and word not in UNIT_LETTERS


def _evaluate(match: re.Match[str], sign: int) -> int | Fraction | NotANumber:
    text = match[0]
    if sum(map(str.isdigit, text)) > MAX_DIGITS:
        return _TOO_MANY_DIGITS
    base = sign * _magnitude(match["base"])
    if (exponent := match["e"] or match["ten"]) is not None:
        return _scaled(base, int(exponent.strip("{}() ")))
    if match["power"] is not None:
        return _power(base, sign, int(match["power"].strip("{}() ")))
    if match["under"] is not None:
        under = _magnitude(match["under"].lstrip("-")) * (-1 if match["under"][0] == "-" else 1)
        return _DIVISION_BY_ZERO if under == 0 else Fraction(base) / under
    if match["part"] is not None:
        part, parts = int(match["part"]), int(match["parts"])
        if part >= parts or not isinstance(base, int):
            return NotANumber("several numbers")
        return Fraction(base) + Fraction(sign * part, parts)
    return base


def _magnitude(text: str) -> int | Fraction:
    whole, _, fraction = text.partition(".")
    return _decimal("", whole.translate({44: None, 32: None, 95: None}) or "0", fraction or None)


def _scaled(base: int | Fraction, exponent: int) -> int | Fraction | NotANumber:
    if abs(exponent) > MAX_EXPONENT:
        return _EXPONENT_TOO_LARGE
    return Fraction(base) * Fraction(10) ** exponent


def _power(base: int | Fraction, sign: int, exponent: int) -> int | Fraction | NotANumber:
    """Return ``sign * |base| ** exponent``: ``-2^2`` is -4."""
    size = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
    if abs(exponent) * size > 3 * MAX_EXPONENT:
        return _POWER_TOO_LARGE
    if base == 0 and exponent < 0:
        return _DIVISION_BY_ZERO
    return sign * abs(Fraction(base)) ** exponent
