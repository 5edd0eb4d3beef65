"""The names and things that problems are about."""

from __future__ import annotations

from random import Random

NAMES = [
    "Ana",
    "Ben",
    "Cara",
    "Dan",
    "Ella",
    "Finn",
    "Gita",
    "Hugo",
    "Iris",
    "Jack",
    "Kim",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Quinn",
    "Rosa",
    "Sam",
    "Tina",
    "Umar",
    "Vera",
    "Will",
    "Zoe",
]
TOYS = ("marbles", "stickers", "cards", "shells", "coins", "stamps", "beads", "buttons")
FOODS = ("apples", "pears", "muffins", "cookies", "rolls", "plums", "cakes", "eggs")
GOODS = ("pens", "books", "cups", "hats", "lamps", "bags", "balls", "shirts", "plates", "brushes")


def two(rng: Random, words: tuple[str, ...] | list[str]) -> tuple[str, str]:
    """Return two different words."""
    first, second = rng.sample(words, 2)
    return first, second
