"""Problems about things that are counted, shared, gathered or travelled.

Every function draws the numbers, records the steps and returns the question.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from warmstart.data.synthetic.words import FOODS, NAMES, TOYS, two
from warmstart.data.synthetic.work import Work


def sharing(rng: Random, work: Work) -> str:
    """Things given to friends, and more of them found."""
    name, toy = rng.choice(NAMES), rng.choice(TOYS)
    friends, each, left = rng.randint(2, 8), rng.randint(2, 9), rng.randint(3, 40)
    start = friends * each + left
    given = work.step(f"{name} gives away {{}} {toy}.", friends, "*", each)
    rest = work.step("{} are left.", start, "-", given)
    text = rng.choice(
        (
            f"{name} has {start} {toy} and gives {each} to each of {friends} friends.",
            f"From a box of {start} {toy}, {name} gives {friends} friends {each} each.",
        )
    )
    if rng.random() < 0.6:
        found = rng.randint(2, 40)
        rest = work.step(f"With the new ones there are {{}} {toy}.", rest, "+", found)
        text += rng.choice((f" Then {name} finds {found} more.", f" Later {name} gets {found} new ones."))
        if rng.random() < 0.4:
            factor = rng.randint(2, 3)
            work.step(f"A friend has {{}} {toy}.", rest, "*", factor)
            times = "twice" if factor == 2 else "three times"
            return (
                f"{text} A friend has {times} as many as {name} has now. How many {toy} does the friend have?"
            )
    return f"{text} How many {toy} does {name} have now?"


def baking(rng: Random, work: Work) -> str:
    """Trays of food, some eaten, the rest packed into boxes."""
    name, food = rng.choice(NAMES), rng.choice(FOODS)
    trays, size, boxes = rng.randint(3, 9), rng.randint(4, 9), rng.randint(2, 6)
    made = trays * size
    packed = (made - rng.randint(1, made // 3)) // boxes * boxes
    eaten = made - packed
    total = work.step(f"{name} makes {{}} {food}.", trays, "*", size)
    rest = work.step(f"{{}} {food} are left.", total, "-", eaten)
    each = work.step("Each box holds {}.", rest, "/", boxes)
    text = rng.choice(
        (
            f"{name} fills {trays} trays with {size} {food} each. The family eats {eaten} of them.",
            f"There are {size} {food} on each of {trays} trays that {name} bakes, and {eaten} are eaten.",
        )
    )
    text += rng.choice(
        (f" The rest goes evenly into {boxes} boxes.", f" {boxes} boxes share the rest evenly.")
    )
    if rng.random() < 0.5:
        return f"{text} How many {food} are in a box?"
    price = rng.randint(2, 5)
    work.step("A box costs {} dollars.", each, "*", price)
    return f"{text} Each of the {food} is worth ${price}. What is the price of a box?"


def reading(rng: Random, work: Work) -> str:
    """A book read at two paces; the pages or days that remain."""
    name = rng.choice(NAMES)
    days, pace, more, fast = rng.randint(2, 6), rng.randint(4, 12), rng.randint(2, 5), rng.randint(4, 12)
    first = work.step("At first {} pages are read.", days, "*", pace)
    second = work.step("Then {} pages are read.", more, "*", fast)
    both = work.step("That makes {} pages.", first, "+", second)
    text = rng.choice(
        (
            f"{name} reads {pace} pages a day for {days} days, then {fast} pages a day for {more} days.",
            f"For {days} days {name} reads {pace} pages each day. On the next {more} days it is {fast} pages a day.",
        )
    )
    if rng.random() < 0.3:
        return f"{text} How many pages has {name} read?"
    if rng.random() < 0.5:
        left = rng.randint(5, 60)
        work.step("{} pages are left.", both + left, "-", both)
        return f"{text} The book has {both + left} pages. How many pages are left?"
    speed, rest_days = rng.randint(4, 12), rng.randint(2, 6)
    pages = both + speed * rest_days
    left_pages = work.step("{} pages are left.", pages, "-", both)
    work.step("That takes {} days.", left_pages, "/", speed)
    return f"{text} The book has {pages} pages. How many days does the rest take at {speed} pages a day?"


def travel(rng: Random, work: Work) -> str:
    """Legs of a journey at a speed each."""
    name = rng.choice(NAMES)
    hours, speed, more, slow = (
        rng.randint(2, 5),
        5 * rng.randint(2, 8),
        rng.randint(2, 5),
        5 * rng.randint(1, 6),
    )
    first = work.step("The first part is {} km.", hours, "*", speed)
    second = work.step("The second part is {} km.", more, "*", slow)
    both = work.step("Together that is {} km.", first, "+", second)
    verb = rng.choice(("drives", "rides", "travels"))
    text = rng.choice(
        (
            f"{name} {verb} {hours} hours at {speed} km an hour and then {more} hours at {slow} km an hour.",
            f"On a trip {name} {verb} at {speed} km an hour for {hours} hours. Then it is {slow} km an hour for {more} hours.",
        )
    )
    if rng.random() < 0.5:
        return f"{text} " + rng.choice(("How far is that?", "How many km is the trip?"))
    rest = rng.randint(5, 60)
    work.step("{} km remain.", both + rest, "-", both)
    return f"{text} The whole way is {both + rest} km. How many km remain?"


def garden(rng: Random, work: Work) -> str:
    """Rows of plants, some lost, each bearing fruit."""
    plant, fruit = rng.choice(
        (("trees", "apples"), ("bushes", "berries"), ("plants", "beans"), ("vines", "melons"))
    )
    rows, size, yield_ = rng.randint(2, 7), rng.randint(3, 7), rng.randint(2, 4)
    planted = work.step(f"There are {{}} {plant}.", rows, "*", size)
    lost = rng.randint(1, planted - 2)
    alive = work.step(f"{{}} {plant} live.", planted, "-", lost)
    crop = work.step(f"They bear {{}} {fruit}.", alive, "*", yield_)
    text = rng.choice(
        (
            f"A garden has {rows} rows of {size} {plant}. A storm takes {lost} of them.",
            f"{rng.choice(NAMES)} sets {rows} rows with {size} {plant} in each, but {lost} {plant} die.",
        )
    )
    text += rng.choice(
        (f" Each of the others bears {yield_} {fruit}.", f" Every one left gives {yield_} {fruit}.")
    )
    if rng.random() < 0.5:
        return f"{text} How many {fruit} are there?"
    eaten = rng.randint(1, crop - 1)
    work.step(f"{{}} {fruit} are left.", crop, "-", eaten)
    return f"{text} Birds eat {eaten} {fruit}. How many {fruit} are left?"


def ages(rng: Random, work: Work) -> str:
    """Ages told by comparison, now and in some years."""
    (a, b), c = two(rng, NAMES), rng.choice(("The mother", "The uncle", "The aunt"))
    young, gap, factor = rng.randint(3, 9), rng.randint(2, 9), rng.randint(2, 4)
    second = work.step(f"{b} is {{}} years old.", young, "+", gap)
    third = work.step(f"{c} is {{}}.", second, "*", factor)
    times = {2: "twice", 3: "three times", 4: "four times"}[factor]
    text = rng.choice(
        (
            f"{a} is {young} years old and {b} is {gap} years older.",
            f"{b} is {gap} years older than {a}, who is {young}.",
        )
    )
    text += f" {c} is {times} as old as {b}."
    kind = rng.random()
    if kind < 0.35:
        return f"{text} How old is {c.lower()}?"
    if kind < 0.65:
        years = rng.randint(2, 20)
        work.step("Then the age is {}.", third, "+", years)
        return f"{text} How old will {c.lower()} be in {years} years?"
    pair = work.step("The two are {} together.", young, "+", second)
    work.step("All three are {}.", pair, "+", third)
    return f"{text} What is the sum of the three ages?"


def school(rng: Random, work: Work) -> str:
    """Classes of pupils, teachers, and buses to carry them."""
    classes, size, teachers = rng.randint(2, 6), rng.randint(6, 15), rng.randint(2, 9)
    pupils = work.step("There are {} pupils.", classes, "*", size)
    everyone = work.step("With teachers there are {} people.", pupils, "+", teachers)
    text = rng.choice(
        (
            f"A school sends {classes} classes of {size} pupils and {teachers} teachers on a trip.",
            f"{classes} classes with {size} pupils each go to a show with {teachers} teachers.",
        )
    )
    kind = rng.random()
    if kind < 0.3:
        return f"{text} How many people go?"
    if kind < 0.65:
        sick = rng.randint(2, 12)
        work.step("{} people come.", everyone, "-", sick)
        return f"{text} But {sick} of them are ill and stay home. How many people come?"
    ticket = rng.randint(2, 3)
    cost = work.step("The tickets cost {} dollars.", everyone, "*", ticket)
    off = rng.randint(5, min(50, cost - 1))
    work.step("After the discount it is {} dollars.", cost, "-", off)
    return f"{text} A ticket is ${ticket} and the group gets ${off} off. How many dollars do they pay?"


def animals(rng: Random, work: Work) -> str:
    """Heads and legs on a farm."""
    four = rng.choice(("cows", "sheep", "goats", "horses"))
    two = rng.choice(("hens", "ducks", "geese"))
    a, b = rng.randint(3, 12), rng.randint(3, 12)
    first = work.step(f"The {four} have {{}} legs.", a, "*", 4)
    second = work.step(f"The {two} have {{}} legs.", b, "*", 2)
    legs = work.step("Together that is {} legs.", first, "+", second)
    text = rng.choice(
        (f"A farm has {a} {four} and {b} {two}.", f"There are {b} {two} and {a} {four} on a farm.")
    )
    if rng.random() < 0.5:
        return f"{text} How many legs do they have in all?"
    sold = rng.randint(1, a - 1)
    gone = work.step("{} legs leave.", sold, "*", 4)
    work.step("{} legs stay.", legs, "-", gone)
    return f"{text} Then {sold} {four} are sold. How many legs stay on the farm?"


def collections(rng: Random, work: Work) -> str:
    """Collections told by comparison, one after the other."""
    toy = rng.choice(TOYS)
    people = rng.sample(NAMES, rng.randint(3, 4))
    start = rng.randint(4, 20)
    text, value, total = f"{people[0]} has {start} {toy}.", start, start
    for before, name in pairwise(people):
        kind = rng.randrange(3)
        if kind == 0 and value <= 20:
            text += f" {name} has twice as many as {before}."
            value = work.step(f"{name} has {{}}.", value, "*", 2)
        elif kind == 1 and value > 6:
            less = rng.randint(2, value - 3)
            text += f" {name} has {less} fewer than {before}."
            value = work.step(f"{name} has {{}}.", value, "-", less)
        else:
            more = rng.randint(2, 15)
            text += f" {name} has {more} more than {before}."
            value = work.step(f"{name} has {{}}.", value, "+", more)
        total = work.step("So far that is {}.", total, "+", value)
    return f"{text} How many {toy} do they have together?"


def bus(rng: Random, work: Work) -> str:
    """People getting on and off at several stops."""
    people = rng.randint(5, 40)
    vehicle = rng.choice(("bus", "train", "boat", "tram"))
    text, now = f"A {vehicle} starts with {people} people.", people
    for stop in range(rng.randint(1, 3)):
        place = ("At the first stop", "At the second stop", "At the third stop")[stop]
        off, on = rng.randint(1, min(now, 20) - 1), rng.randint(2, 25)
        text += rng.choice(
            (f" {place} {off} get off and {on} get on.", f" {place} {off} people leave and {on} come in.")
        )
        now = work.step(f"{place} {{}} stay.", now, "-", off)
        now = work.step("Then there are {}.", now, "+", on)
    return f"{text} How many people are on the {vehicle} now?"


def water(rng: Random, work: Work) -> str:
    """A tank that is filled and drained."""
    tank = rng.choice(("tank", "pool", "pond", "barrel"))
    minutes, rate, start = rng.randint(3, 9), rng.randint(3, 9), rng.randint(5, 50)
    added = work.step("{} liters flow in.", minutes, "*", rate)
    full = work.step(f"The {tank} holds {{}} liters.", start, "+", added)
    text = rng.choice(
        (
            f"A {tank} holds {start} liters. A pipe adds {rate} liters a minute for {minutes} minutes.",
            f"For {minutes} minutes {rate} liters a minute run into a {tank} with {start} liters in it.",
        )
    )
    if rng.random() < 0.35:
        return f"{text} How many liters are in the {tank}?"
    span = rng.randint(2, 5)
    leak = rng.randint(1, min(9, full // span))
    lost = work.step("{} liters flow out.", span, "*", leak)
    work.step("{} liters are left.", full, "-", lost)
    return f"{text} Then {leak} liters a minute leak out for {span} minutes. How many liters are left?"


def halves(rng: Random, work: Work) -> str:
    """Half of something sold, the rest shared or added to."""
    name, food = rng.choice(NAMES), rng.choice(FOODS)
    baskets, size = rng.randint(2, 9), 2 * rng.randint(1, 6)
    total = work.step(f"There are {{}} {food}.", baskets, "*", size)
    half = work.step("Half of them is {}.", total, "/", 2)
    text = rng.choice(
        (
            f"{name} picks {baskets} baskets of {size} {food} and sells half of them.",
            f"Half of the {food} in {baskets} baskets of {size} are sold by {name}.",
        )
    )
    if rng.random() < 0.5:
        price = rng.randint(2, 6)
        work.step("That brings {} dollars.", half, "*", price)
        return f"{text} Each one sells for ${price}. How many dollars does {name} get?"
    more = rng.randint(3, 40)
    rest = work.step(f"Then there are {{}} {food}.", half, "+", more)
    text += f" Then {name} picks {more} more."
    if rng.random() < 0.5:
        gone = rng.randint(1, rest - 1)
        work.step(f"{{}} {food} are left.", rest, "-", gone)
        text += f" The neighbors take {gone}."
    return f"{text} How many {food} does {name} have?"


def recipe(rng: Random, work: Work) -> str:
    """Two ingredients for several cakes."""
    x, y = two(rng, ["flour", "sugar", "milk", "butter", "rice"])
    cakes, a, b = rng.randint(3, 9), rng.randint(2, 7), rng.randint(2, 7)
    first = work.step(f"That needs {{}} cups of {x}.", cakes, "*", a)
    second = work.step(f"That needs {{}} cups of {y}.", cakes, "*", b)
    both = work.step("Together that is {} cups.", first, "+", second)
    text = rng.choice(
        (
            f"A cake needs {a} cups of {x} and {b} cups of {y}. A baker makes {cakes} cakes.",
            f"For one cake a baker takes {a} cups of {x} and {b} cups of {y}. There are {cakes} cakes to make.",
        )
    )
    if rng.random() < 0.5:
        return f"{text} How many cups is that in all?"
    have = rng.randint(2, both - 1)
    work.step("{} cups must be bought.", both, "-", have)
    return f"{text} There are {have} cups in the kitchen. How many cups must be bought?"


def printing(rng: Random, work: Work) -> str:
    """Two printers and the pages still to do."""
    a, b, minutes = rng.randint(2, 6), rng.randint(2, 6), rng.randint(3, 9)
    both = work.step("Together they print {} pages a minute.", a, "+", b)
    done = work.step("They print {} pages.", both, "*", minutes)
    left = rng.randint(5, 60)
    work.step("{} pages are left.", done + left, "-", done)
    return (
        f"One printer does {a} pages a minute and another {b}. Both run for {minutes} minutes on a job of "
        f"{done + left} pages. How many pages are left?"
    )


def ledger(rng: Random, work: Work, steps: int) -> str:
    """A heap that changes ``steps`` times: a problem as long as one likes, never a family of its own."""
    name, toy = rng.choice(NAMES), rng.choice(TOYS)
    total: int = rng.randint(20, 60)
    text = f"{name} has {total} {toy}."
    for _ in range(steps):
        amount = rng.randint(2, 15)
        gives = total > amount and rng.random() < 0.5
        total = work.step("Then there are {}.", total, "-" if gives else "+", amount)
        text += f" {name} gives away {amount}." if gives else f" {name} finds {amount}."
    return f"{text} How many {toy} does {name} have now?"
