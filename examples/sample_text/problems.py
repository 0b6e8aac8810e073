"""Word problems with worked answers, each with numbers drawn by chance; see `../build_sample.py`."""

from __future__ import annotations

import random
from collections.abc import Callable

Exchange = tuple[str, str]


def train_problem(rng: random.Random) -> Exchange:
    """Distance from speed and time."""
    speed, hours = rng.randrange(40, 130, 10), rng.randint(2, 6)
    full, half = hours * speed, speed // 2
    return (
        f"A train travels at {speed} km/h for {hours} and a half hours. How far does it get?",
        (
            f"In {hours} hours it covers {hours} · {speed} = {full} km. "
            f"Half an hour adds {speed} / 2 = {half} km.\n\n"
            f"Together: {full} + {half} = **{full + half} km**."
        ),
    )


def discount_problem(rng: random.Random) -> Exchange:
    """Two discounts one after another."""
    price = rng.randrange(200, 1000, 100)
    once = price * 80 // 100
    twice = once - once // 10
    return (
        (
            f"A coat costs {price} crowns. It is reduced by 20 %, and at the till by another 10 %. "
            "Is that 30 % less?"
        ),
        (
            "No. The second discount is taken from the smaller price.\n\n"
            f"1. 20 % of {price} is {price - once}, which leaves {once}.\n"
            f"2. 10 % of {once} is {once // 10}, which leaves {twice}.\n\n"
            f"You pay **{twice} crowns**. That is 28 % less than {price}, because 0.8 · 0.9 = 0.72."
        ),
    )


def ages_problem(rng: random.Random) -> Exchange:
    """A linear equation in words."""
    child, factor = rng.randint(5, 14), rng.randint(3, 5)
    total = child * (factor + 1)
    return (
        f"A father is {factor} times as old as his son. Together they are {total}. How old are they?",
        (
            f"Let the son be x years old. Then the father is {factor}x, and\n\n"
            f"x + {factor}x = {total}\n{factor + 1}x = {total}\nx = {child}\n\n"
            f"The son is {child} and the father {factor} · {child} = {child * factor}. "
            f"Check: {child} + {child * factor} = {total}."
        ),
    )


def fence_problem(rng: random.Random) -> Exchange:
    """Posts along a fence: one more than gaps."""
    gap, count = rng.randint(2, 5), rng.randint(8, 30)
    return (
        f"I build a straight fence of {gap * count} metres with a post every {gap} metres. How many posts?",
        (
            f"{gap * count} / {gap} = {count} gaps. A straight fence has a post at both ends, so one post more "
            f"than gaps: {count} + 1 = **{count + 1} posts**. If the fence ran in a ring, {count} would do."
        ),
    )


def area_problem(rng: random.Random) -> Exchange:
    """Area of a rectangle."""
    width, length = rng.randint(3, 12), rng.randint(13, 30)
    area = width * length
    return (
        f"My garden is {length} m long and {width} m wide. How much grass seed at 30 g per square metre?",
        (
            f"The area is {length} · {width} = {area} m². At 30 g each that makes {area} · 30 = {area * 30} g, "
            f"or **{area * 30 / 1000:.2f} kg**. Subtract the beds and the path if you have any."
        ),
    )


def chance_problem(rng: random.Random) -> Exchange:
    """Two draws without putting back."""
    red, blue = rng.randint(3, 7), rng.randint(3, 7)
    total = red + blue
    good, all_ = red * (red - 1), total * (total - 1)
    return (
        f"A bag holds {red} red and {blue} blue marbles. I draw two. How likely is it that both are red?",
        (
            f"The first is red in {red} of {total} cases. After that {red - 1} of the {total - 1} marbles left "
            f"are red.\n\n{red}/{total} · {red - 1}/{total - 1} = {good}/{all_}, about {good / all_:.3f}"
        ),
    )


def sum_problem(rng: random.Random) -> Exchange:
    """A plain sum: short question, short answer."""
    a, b = rng.randint(100, 999), rng.randint(100, 999)
    return f"{a} + {b} = ?", str(a + b)


PROBLEMS: tuple[Callable[[random.Random], Exchange], ...] = (
    train_problem,
    discount_problem,
    ages_problem,
    fence_problem,
    area_problem,
    chance_problem,
    sum_problem,
)
