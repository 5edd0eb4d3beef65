"""Problems about buying, earning and saving.

Every function draws the numbers, records the steps and returns the question.
"""

from __future__ import annotations

from random import Random

from warmstart.data.synthetic.words import GOODS, NAMES, two
from warmstart.data.synthetic.work import Work


def shopping(rng: Random, work: Work) -> str:
    """Several things at a price each; sometimes the change from a sum."""
    name, (x, y) = rng.choice(NAMES), two(rng, GOODS)
    a, p, b, q = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)
    first = work.step(f"The {x} cost {{}} dollars.", a, "*", p)
    second = work.step(f"The {y} cost {{}} dollars.", b, "*", q)
    total = work.step("Together that is {} dollars.", first, "+", second)
    bought = rng.choice(
        (
            f"{name} buys {a} {x} for ${p} each and {b} {y} for ${q} each.",
            f"In a shop {x} cost ${p} and {y} cost ${q}. {name} takes {a} {x} and {b} {y}.",
        )
    )
    if rng.random() < 0.5:
        return f"{bought} " + rng.choice(
            (f"How much does {name} pay?", "How many dollars is that in all?", "What is the total cost?")
        )
    paid = total + rng.randint(1, 40)
    work.step("The change is {} dollars.", paid, "-", total)
    return f"{bought} {name} pays with ${paid}. " + rng.choice(
        ("How much change is there?", "How many dollars come back?")
    )


def wages(rng: Random, work: Work) -> str:
    """Hours a day, days and pay an hour; something is spent."""
    name = rng.choice(NAMES)
    hours, days, pay = rng.randint(2, 6), rng.randint(2, 5), rng.randint(2, 9)
    time = work.step(f"{name} works {{}} hours.", hours, "*", days)
    money = work.step("That pays {} dollars.", time, "*", pay)
    text = rng.choice(
        (
            f"{name} works {hours} hours a day for {days} days and gets ${pay} an hour.",
            f"A job pays ${pay} an hour. {name} does it {hours} hours a day on {days} days.",
        )
    )
    if rng.random() < 0.4:
        return f"{text} How much does {name} earn?"
    spent = rng.randint(2, min(60, money - 1))
    rest = work.step("After the costs {} dollars are left.", money, "-", spent)
    text += rng.choice((f" {name} spends ${spent} on food.", f" The bus costs {name} ${spent}."))
    if rng.random() < 0.4:
        gift = rng.randint(5, 50)
        work.step("With the gift it is {} dollars.", rest, "+", gift)
        text += f" Then {name} gets a gift of ${gift}."
    return f"{text} How many dollars does {name} have?"


def saving(rng: Random, work: Work) -> str:
    """Money put by each week, towards a price."""
    name, thing = rng.choice(NAMES), rng.choice(("bike", "phone", "guitar", "tent", "camera"))
    weeks, each, start = rng.randint(3, 9), rng.randint(3, 9), rng.randint(5, 40)
    saved = work.step(f"{name} saves {{}} dollars.", weeks, "*", each)
    total = work.step(f"{name} then has {{}} dollars.", start, "+", saved)
    text = rng.choice(
        (
            f"{name} has ${start} and saves ${each} a week for {weeks} weeks.",
            f"With ${start} to begin with, {name} puts ${each} aside in each of {weeks} weeks.",
        )
    )
    kind = rng.random()
    if kind < 0.3:
        return f"{text} How much money does {name} have?"
    if kind < 0.65:
        short = rng.randint(3, 50)
        work.step("{} dollars are missing.", total + short, "-", total)
        return f"{text} A {thing} costs ${total + short}. How many dollars are missing?"
    price = total - rng.randint(1, total // 2)
    rest = work.step("{} dollars are left.", total, "-", price)
    more = rng.randint(5, 40)
    work.step("In the end it is {} dollars.", rest, "+", more)
    return (
        f"{text} {name} buys a {thing} for ${price} and then gets ${more}. How many dollars does {name} have?"
    )


def tickets(rng: Random, work: Work) -> str:
    """Two kinds of ticket and the costs of the evening."""
    adults, children = rng.randint(3, 9), rng.randint(3, 9)
    high, low = rng.randint(5, 9), rng.randint(2, 4)
    first = work.step("The adults pay {} dollars.", adults, "*", high)
    second = work.step("The children pay {} dollars.", children, "*", low)
    income = work.step("Together that is {} dollars.", first, "+", second)
    costs = rng.randint(5, income - 1)
    work.step("After the costs {} dollars are left.", income, "-", costs)
    return (
        f"At a show {adults} adults pay ${high} each and {children} children pay ${low} each. "
        f"The hall costs ${costs}. How many dollars are left?"
    )


def necklaces(rng: Random, work: Work) -> str:
    """Beads on necklaces, and what selling them earns."""
    name = rng.choice(NAMES)
    beads, count, cost, price = rng.randint(5, 9), rng.randint(3, 6), 2, rng.randint(20, 40)
    used = work.step(f"{name} uses {{}} beads.", beads, "*", count)
    paid = work.step("The beads cost {} dollars.", used, "*", cost)
    earned = work.step("The necklaces sell for {} dollars.", count, "*", price)
    work.step(f"{name} gains {{}} dollars.", earned, "-", paid)
    return (
        f"{name} makes {count} necklaces of {beads} beads. A bead costs ${cost} and a necklace sells for ${price}. "
        f"How many dollars does {name} gain?"
    )
