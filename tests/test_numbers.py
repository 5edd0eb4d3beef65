from __future__ import annotations

import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmstart.grading.numbers import (
    IMPOSSIBLE,
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_LENGTH,
    NotANumber,
    Number,
    equal,
    read_number,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
MATHS = st.text(st.sampled_from(r"0123456789+-*/^=.,%$ {}()\_abfrcxte" + "½²٣−\u200b\n"), max_size=30)

# One row per notation: what stands there, and the value it has.
VALUES = [
    ("18", 18),
    ("-18", -18),
    ("+18", 18),
    ("004", 4),
    ("-0", 0),
    ("18.", 18),
    ("18,", 18),
    ("18.0", 18),
    (".5", Fraction(1, 2)),
    ("1234.50", Fraction(2469, 2)),
    # thousands
    ("1,234", 1234),
    ("1,234,567.89", Fraction(123456789, 100)),
    ("1,00,000", 100000),
    ("12,34,567", 1234567),
    ("1 234 567", 1234567),
    ("1\u202f234", 1234),
    ("1_000", 1000),
    ("1{,}234", 1234),
    (r"12,\!000", 12000),
    (r"1\,234", 1234),
    # currency
    ("$29.00", 29),
    (r"\$18", 18),
    ("-$5", -5),
    ("$-5", -5),
    ("5€", 5),
    ("£1,234", 1234),
    ("US$5", 5),
    ("USD 5", 5),
    ("USD5", 5),
    ("18 USD", 18),
    ("Rs. 18", 18),
    # fractions and mixed numbers
    ("3/4", Fraction(3, 4)),
    ("-3 / 4", Fraction(-3, 4)),
    ("3/-4", Fraction(-3, 4)),
    ("0/5", 0),
    (r"\frac{3}{4}", Fraction(3, 4)),
    (r"\dfrac{-3}{4}", Fraction(-3, 4)),
    (r"-\frac34", Fraction(-3, 4)),
    (r"\frac 1 2", Fraction(1, 2)),
    ("1 1/2", Fraction(3, 2)),
    ("-1 1/2", Fraction(-3, 2)),
    (r"1\frac{1}{2}", Fraction(3, 2)),
    ("½", Fraction(1, 2)),
    ("1½", Fraction(3, 2)),
    ("-⅓", Fraction(-1, 3)),
    # powers
    ("1e3", 1000),
    ("1.5E-3", Fraction(3, 2000)),
    ("1.5 × 10^{-3}", Fraction(3, 2000)),
    (r"2 \times 10^3", 2000),
    ("10^3", 1000),
    ("2^{10}", 1024),
    ("2**10", 1024),
    ("5²", 25),
    ("10⁻³", Fraction(1, 1000)),
    ("2^(3)", 8),
    ("-2^2", -4),
    # other digits, signs and invisible characters
    ("１８", 18),
    ("－５", -5),
    ("−5", -5),
    ("–5", -5),
    ("٣", 3),
    ("\u200b18\ufeff", 18),
    ("negative 5", -5),
    ("minus $5", -5),
    # wrappers
    ("$18$", 18),
    ("$$ 18 $$", 18),
    (r"\(18\)", 18),
    (r"\[ 18 \]", 18),
    (r"\boxed{18}", 18),
    (r"\boxed{\frac{3}{4}}", Fraction(3, 4)),
    (r"$\boxed{18}$ dollars", 18),
    (r"\boxed{840}., so \boxed{840}", 840),
    (r"\text{Total: }18", 18),
    (r"\textbf{18}", 18),
    ("**18**", 18),
    ("**\n18\n**", 18),
    ("`18`", 18),
    ('"18"', 18),
    ("(18)", 18),
    ("{18}", 18),
    (r"\left(18\right)", 18),
    ("$<<2+16=18>>18", 18),
    # units
    ("18 apples", 18),
    ("18apples", 18),
    (r"12\text{ apples}", 12),
    ("60 km/h", 60),
    ("5 m^2", 5),
    ("5 m²", 5),
    ("5 m2", 5),
    (r"15\mbox{ cm}^2", 15),
    ("18 a day", 18),
    ("18 (dollars)", 18),
    ("18 个", 18),
    (r"90^\circ", 90),
    ("90°", 90),
    ("72, altogether", 72),
    ("18!", 18),
    # labels and equations
    ("Total: 18", 18),
    ("**Answer:** 18", 18),
    ("The answer is $18.", 18),
    ("answer is -5", -5),
    ("#### 18", 18),
    ("Total:\n18", 18),
    ("Natalia sold 72 clips altogether.", 72),
    ("x = 5", 5),
    ("x=-5", -5),
    ("5 = x", 5),
    ("2 + 3 = 5", 5),
    ("a = b = 5", 5),
    ("f(2) = 5", 5),
    ("x_1 = 5", 5),
    ("$80,000 + $50,000 = $130,000", 130000),
    (r"2 + 3 = \boxed{5}", 5),
    ("x ≈ 5", 5),
    ("100/3 ≈ 33.33", Fraction(100, 3)),
    (r"5/3 \cdot 20 \approx 33.33", Fraction(3333, 100)),
]

# What is not one value, by why.
REFUSED = [
    "",
    " ",
    "any number",
    "five",
    "nan",
    "inf",
    "∞",
    # lists, ranges, compound units
    "18, 20",
    "1, 2, 3, 18, 24, 72",
    "18; 20",
    "18 20",
    "18\n20",
    "18 or 20",
    "(1, 2)",
    "5-7",
    "5–7",
    "5 to 7",
    "between 5 and 7",
    "3 apples and 2 oranges",
    "5 feet 3 inches",
    "5'3\"",
    "2 hours 30 minutes",
    r"\boxed{18} or \boxed{20}",
    r"\boxed{18} and 20 and \boxed{18}",
    r"\boxed{\boxed{18}} \boxed{18}",
    "x = 5, y = 6",
    "x = 5 or x = 6",
    "a=5;b=6",
    # hedges
    "±5",
    r"\pm 5",
    "~18",
    "about 18",
    "at least 18",
    "not 18",
    "18 or so",
    "18?",
    "> 18",
    "x ≤ 18",
    # not evaluated
    "2 + 3",
    "10-5",
    "2*3",
    "x-5",
    "x - 5",
    "5x",
    "5 x",
    r"5\pi",
    r"2\sqrt{2}",
    "sqrt(5)",
    "log 5",
    "3i",
    "2x = 10",
    "2x + y = 10",
    "(-2)^2",
    r"\frac{1}{2006!}",
    # malformed
    "12,34",
    "0,111",
    "1,2345",
    "1_0",
    "1 2345",
    "1.2.3",
    "1..2",
    "--5",
    "- -5",
    "negative -5",
    "1 3/2",
    "1-1/2",
    "1/2/3",
    "l8",
    "AZYUK2A",
    "0x10",
    "2024-01-05",
    "3:30",
    # words that change the value
    "5 million",
    "5 dozen",
    "18 and a half",
    "5k",
    "3 PM",
    "June 5",
    r"\text{" * 20 + "18" + "}" * 20,
    # code
    "5;import os",
    "__import__('os').getcwd()",
    r"\n18\n",
    "18\0",
    "18\ud800",
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_every_notation_of_one_value_is_read_exactly(text, value):
    assert read_number(text) == Number(value)


@pytest.mark.parametrize(
    "text", ["50%", r"50\%", "50 %", "50 percent", "50 per cent", "50 pct", "50percentage", "$50$ %"]
)
def test_percentages_are_flagged_and_keep_their_number(text):
    assert read_number(text) == Number(50, percent=True)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_one_value_is_refused(text):
    assert isinstance(read_number(text), NotANumber)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1/0", "division by zero"),
        ("0^-1", "division by zero"),
        (f"1e{MAX_EXPONENT + 1}", "exponent too large"),
        ("1e" + "9" * 200, "exponent too large"),
        ("9^99999", "power too large"),
        ("1." + "3" * MAX_DIGITS, "more than 300 digits"),
    ],
)
def test_a_number_without_a_value_says_so(text, reason):
    reading = read_number(text)

    assert reading == NotANumber(reason)
    assert reading in IMPOSSIBLE


@pytest.mark.parametrize("tower", ["9**9**9", r"\boxed{9^{9^{9^{9}}}}", "10^(10^10)", "2^2^2"])
def test_power_towers_are_refused(tower):
    assert isinstance(read_number(tower), NotANumber)


def test_the_largest_numbers_are_read_exactly():
    digits = "1" + "0" * (MAX_DIGITS - 2) + "1"

    assert read_number(digits) == Number(10 ** (MAX_DIGITS - 1) + 1)
    assert read_number(f"1e{MAX_EXPONENT}") == Number(10**MAX_EXPONENT)
    assert isinstance(read_number("1" * (MAX_DIGITS + 1)), NotANumber)
    assert isinstance(read_number("a" * (MAX_LENGTH + 1)), NotANumber)


def test_reading_works_under_the_lowest_digit_limit_of_python():
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert isinstance(read_number("9" * MAX_DIGITS), Number)
        assert isinstance(read_number("9." + "9" * (MAX_DIGITS - 1)), Number)
        assert isinstance(read_number("5e" + "9" * (MAX_LENGTH - 2)), NotANumber)
    finally:
        sys.set_int_max_str_digits(limit)


@given(st.integers(-(10**20), 10**20))
def test_every_spelling_of_an_integer_has_its_value(value):
    spellings = [str(value), f"{value:,}", f"{value:_}", f"{value}.00", f"${value}$", rf"\boxed{{{value:,}}}"]
    spellings += [f"Answer: {value}", f"x = {value}", f"{value} apples", f"**{value}**", f"({value})"]

    assert {read_number(spelling) for spelling in spellings} == {Number(value)}


@given(st.decimals(-(10**9), 10**9, places=4))
def test_decimals_are_read_exactly_not_as_floats(value):
    assert read_number(f"{value:f}") == Number(Fraction(f"{value:f}"))


@given(st.text(st.sampled_from("0123456789,.-+"), max_size=9))
def test_the_short_cut_for_clean_numbers_agrees_with_the_full_reader(text):
    short, full = read_number(text), read_number(f"Answer: {text}")

    assert isinstance(short, Number) <= (short == full)


@given(ANY_TEXT | MATHS)
def test_any_text_at_all_is_read_or_refused(text):
    reading = read_number(text)

    assert isinstance(reading, Number | NotANumber)
    assert reading == read_number(f" {text}\n")


# --- comparison


def number(text: str) -> Number:
    reading = read_number(text)
    assert isinstance(reading, Number)
    return reading


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("0.75", "3/4"),
        ("6/8", "3/4"),
        ("0.333333", "1/3"),
        ("33.33333", "100/3"),
        ("50%", "50"),
        ("50%", "0.5"),
        ("50%", "1/2"),
        ("50%", "50%"),
        ("33.33333%", "1/3"),
    ],
)
def test_equal_values_are_equal_both_ways_round(left, right):
    assert equal(number(left), number(right))
    assert equal(number(right), number(left))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("0.33", "1/3"),
        ("0.33333", "1/3"),
        ("33.3", "100/3"),
        ("18.000001", "18"),
        ("1e-12", "0"),
        ("9007199254740993", "9007199254740992"),
        ("1000000/3000001", "1/3"),
        ("0.5%", "50%"),
        ("50%", "5000"),
        ("1.234", "1234"),
    ],
)
def test_different_values_are_different_both_ways_round(left, right):
    assert not equal(number(left), number(right))
    assert not equal(number(right), number(left))
