"""The mixture: how often rows of each source are used, so that it has its share, and the output its budget.

    write_sizes(task.sizes, [size_of_rows(recipe, piece, batch, duplicates), ...])      # of each unit
    repeats = resolve(recipe, [read_sizes(task.sizes) for task in tasks])   # a `repeat` for each source
    about = describe(recipe, totals)                                        # what the manifest says

Shares count rows of `train` after the mask, so all rows are labelled first, into the cache. Then each source
gets a `repeat`. Its whole part is how often each row is used. Its fraction decides which rows are used once
more: those whose hash is below it (`choosing.count_copies`). It is the smallest one with which the source
reaches its goal. So the result depends on the rows alone, not on units or workers.

The goals, for sources of the sizes n (rows, tokens or trained tokens, as `mix_by` says):

    temperature   p ~ n ** (1 / T), as in multilingual models (Conneau et al. 2020, arXiv 1911.02116, with
                  alpha = 1 / T); the output is as large as all sources together
    share         p as the recipe says; sources without one divide the rest by their sizes, times their
                  `repeat`, and are used as a whole: the others are sampled down or repeated to fit. If all
                  sources have a share, the output is as large as it can be without a repeated row
    budget        the size of the output, or less where sources without a share have no more rows

No row of a source with a goal is used more than `max_repeat` times.

Cost: 28 bytes a row on disk, and in the memory of the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.atomic_files import named, sync
from ..core.contract import IGNORE_INDEX
from ..core.recipe import Recipe

SIZES = np.dtype([("entry", "<i4"), ("chance", "<f8"), ("tokens", "<i8"), ("trained_tokens", "<i8")])
"""What is known of a row that may be used: entry of `sources`, its chance, and its size."""

UNITS = ("rows", "tokens", "trained_tokens")

_CLOSE = 0.01  # a share or budget that is this close is reached

Totals = Mapping[str, int]
"""Of one source, in train: `rows`, `tokens` and `trained_tokens` that were used, and with `of_` before the
names those that are there, each row once."""


def size_of_rows(batch_rows: int, of_row: np.ndarray, offsets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return tokens and trained tokens of each row of a batch, int64[2, rows]; `of_row` are those of its
    samples.

    >>> labels = np.array([-100, 1, 1, -100, -100])
    >>> size_of_rows(3, np.array([0, 0, 2]), np.array([0, 2, 3, 5]), labels).tolist()
    [[3, 0, 2], [2, 0, 0]]
    """
    trained = np.concatenate([[0], np.cumsum(labels != IGNORE_INDEX)])
    sizes = [np.diff(offsets), np.diff(trained[offsets - offsets[0]])]
    return np.stack([np.bincount(of_row, each, minlength=batch_rows).astype(np.int64) for each in sizes])


def write_sizes(path: Path, parts: Sequence[np.ndarray]) -> None:
    """Write the sizes of the rows of a unit."""
    with named(path):
        scratch = path.with_name(f".{path.name}")
        np.save(scratch, np.concatenate([np.zeros(0, SIZES), *parts]), allow_pickle=False)
        sync(scratch)
        scratch.rename(path)


def read_sizes(path: Path) -> np.ndarray:
    """Return the sizes of the rows of a unit, [n] of `SIZES`. Raises `ValueError` if they are none."""
    sizes: np.ndarray = np.load(path, allow_pickle=False)
    if sizes.dtype != SIZES or sizes.ndim != 1:
        raise ValueError("these are no sizes of rows")
    return sizes


class Goal(NamedTuple):
    """What a source is to have: a share of the output, its size, and how often a row may be used."""

    share: float
    size: float
    most: float


def goals(recipe: Recipe, sizes: Sequence[float]) -> list[Goal]:
    """Return the goal of each source of a recipe, given its size: `mix_by` of all its rows, each once.

    >>> recipe = Recipe(sources=[{"path": "a", "share": 0.25}, "b"], tokenizer="t", output="o")
    >>> [tuple(goal) for goal in goals(recipe, [100, 30])]
    [(0.25, 10.0, 4.0), (0.75, 30.0, 1.0)]
    """
    there = np.asarray(sizes, dtype=np.float64)
    own = np.array([entry.repeat for entry in recipe.sources]) * there
    asked = np.array([entry.share or 0.0 for entry in recipe.sources])
    if recipe.temperature is not None:
        weights = np.power(there, 1 / recipe.temperature, where=there > 0, out=np.zeros_like(there))
        shares, free = weights / max(weights.sum(), 1e-300), np.zeros(len(there), dtype=bool)
        total = recipe.budget or there.sum()
    else:
        free = asked == 0
        rest = own[free].sum()
        shares = np.where(free, (1 - asked.sum()) * own / max(rest, 1e-300), asked)
        total = _total(recipe.budget, there, asked, rest)
    most = np.where(free, [entry.repeat for entry in recipe.sources], recipe.max_repeat)
    return [
        Goal(*each) for each in zip(shares.tolist(), (shares * total).tolist(), most.tolist(), strict=True)
    ]


def _total(budget: int | None, there: np.ndarray, asked: np.ndarray, rest: float) -> float:
    """Return the size of the output; `rest` is that of the sources without a share."""
    limit = float("inf") if budget is None else float(budget)
    if rest:
        return min(limit, rest / (1 - float(asked.sum())))
    some = (asked > 0) & (there > 0)
    without_repeat = float((there[some] / asked[some]).min()) if some.any() else 0.0
    return limit if budget is not None else without_repeat


def resolve(recipe: Recipe, parts: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Return the `repeat` of each source of a recipe that mixes, from the sizes of all rows (`SIZES`)."""
    rows = np.concatenate([np.zeros(0, SIZES), *parts])
    by = recipe.mix_by.value
    sizes = np.ones(len(rows), np.int64) if by == "rows" else rows[by]
    own = [np.flatnonzero(rows["entry"] == number) for number in range(len(recipe.sources))]
    wanted = goals(recipe, [int(sizes[each].sum()) for each in own])
    return tuple(
        _repeat(goal, rows["chance"][each], sizes[each]) for goal, each in zip(wanted, own, strict=True)
    )


def _repeat(goal: Goal, chances: np.ndarray, sizes: np.ndarray) -> float:
    """Return the smallest `repeat` with which rows reach a goal, but no more than they may be used.

    >>> chances, sizes = np.array([0.5, 0.1, 0.9]), np.array([5, 3, 2])
    >>> [round(_repeat(Goal(0, size, 4), chances, sizes), 9) for size in (3, 4, 10, 23, 99)]
    [0.3, 0.7, 1.0, 2.3, 4]
    """
    there = int(sizes.sum())
    if not there or goal.size >= goal.most * there * (1 - 1e-12):
        return goal.most
    whole, rest = divmod(goal.size, there)
    if rest < 1e-6 * there and whole:
        return float(whole)
    order = np.argsort(chances, kind="stable")
    taken = int(np.searchsorted(np.cumsum(sizes[order]), rest - 1e-6)) + 1
    if taken >= len(order):
        return float(whole) + 1
    return float(whole) + float(chances[order[taken - 1 : taken + 1]].mean())


# ==== What the manifest and a forecast say ====


def describe(recipe: Recipe, totals: Sequence[Totals]) -> dict[str, Any]:
    """Return the mixture as asked and as got, in the form of the manifest."""
    by = recipe.mix_by.value
    wanted, whole = goals(recipe, [each[f"of_{by}"] for each in totals]), sum(each[by] for each in totals)
    entries = recipe.model_dump(mode="json")["sources"]
    return {
        "by": by,
        "budget": recipe.budget,
        "got": whole,
        "sources": [
            {
                "source": entry if isinstance(entry, str) else entry["path"],
                "asked": round(goal.share, 6),
                "got": round(each[by] / whole, 6) if whole else 0.0,
                "repeat": round(each["rows"] / each["of_rows"], 6) if each["of_rows"] else 0.0,
                **{name: int(each[name]) for unit in UNITS for name in (unit, f"of_{unit}")},
            }
            for entry, goal, each in zip(entries, wanted, totals, strict=True)
        ],
    }


def not_reached(recipe: Recipe, about: Mapping[str, Any]) -> list[str]:
    """Return a line for each share, and for the budget, that a mixture has not reached."""
    unit = about["by"].replace("_", " ")
    asked = [entry.share is not None or recipe.temperature is not None for entry in recipe.sources]
    missed = [
        each
        for each, is_asked in zip(about["sources"], asked, strict=True)
        if is_asked and abs(each["got"] - each["asked"]) > _CLOSE
    ]
    limited = [each for each in missed if each["repeat"] > recipe.max_repeat - 0.01]
    lines = [
        f"{each['source']} has {each['got']:.1%} of the {unit}, not {each['asked']:.1%}: its "
        f"{each['of_rows']:,} rows are used {each['repeat']:.2f} times, {_limit(recipe, each)}"
        for each in limited or missed
    ]
    if recipe.budget and about["got"] < (1 - _CLOSE) * recipe.budget:
        lines.append(
            f"the budget of {recipe.budget:,} {unit} is not reached, there are {about['got']:,}; add rows, "
            "raise 'repeat' of sources without a share, or max_repeat for the others"
        )
    return lines


def _limit(recipe: Recipe, each: Mapping[str, Any]) -> str:
    if each["repeat"] > recipe.max_repeat - 0.01:
        return f"which is the most that max_repeat {recipe.max_repeat:g} allows; add rows, or raise it"
    return "and only whole rows can be used"
