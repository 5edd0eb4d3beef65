"""The few English words that decide whether the text around a number leaves it one value."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PERCENT_WORDS = _words("percent percents percentage pct")

CURRENCY_CODES = _words(
    "usd us eur gbp inr rs jpy cny rmb aud cad chf nzd sgd hkd krw mxn brl zar sek nok dkk"
)

UNIT_LETTERS = frozenset("mghlstdLCFVWAJN")
"""The single letters that are read as units; after a number any other is a variable."""

_NEGATIONS = _words("not never no neither nor isn't aren't wasn't don't doesn't cannot can't except without")
_MONTHS = _words(
    "january february march april june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
_FUNCTIONS = _words("sqrt log ln exp sin cos tan pi mod factorial")
_SCALES = _words(
    "hundred thousand million billion trillion lakh lakhs crore crores dozen dozens score k mn bn"
)
_NUMBER_WORDS = _words(
    "half halves third thirds quarter quarters zero one two three four five six seven eight nine ten eleven "
    "twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty "
    "seventy eighty ninety"
)
_DOUBTS = _words(
    "or maybe perhaps possibly probably likely either approximately approx roughly infinity than "
    "plus minus times divided squared cubed root"
)

HEDGES = (
    _NEGATIONS | _MONTHS | _FUNCTIONS | _DOUBTS
    | _words("about around nearly almost over under above below between least most beyond exceeds")
    | _words("hundred thousand million billion trillion square cube twice double triple half negative")
)  # fmt: skip
"""Words before a number after which it is no longer one plain value."""

NOT_UNITS = (
    _NEGATIONS | _FUNCTIONS | _SCALES | _NUMBER_WORDS | _DOUBTS | _words("am pm bc ad ish")
)  # fmt: skip
"""Words after a number that change its value or leave it open."""
