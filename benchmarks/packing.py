"""Packing: how full the packs are and how long the plan takes, against TRL's and against the lower bound.

    python benchmarks/packing.py [--sizes 10000,1000000,10000000] [--trl-python VENV/bin/python]

Lengths are drawn, with a fixed seed, as those of the two kinds of rows are distributed: `chat` lognormal
with a median of 796 and a mean of 1,272 tokens, `short` with a median of 80 and a mean of 83; longer ones
are cut to the length of a pack. Compared are

    premask, together    plan_packs over all lengths at once
    premask, windows     as a run packs: units of `unit_rows` samples, in them windows of `pack_window` tokens
    TRL, together        TRL's function over all lengths at once, as far as `--trl-most` lengths
    TRL, as shipped      TRL's `pack_dataset`, a thousand rows at a time

The bound is the tokens divided by the length of a pack, rounded up: no packing needs fewer. Printed is how
many packs each makes more than that, in percent, and CPU seconds (medians of alternating runs) and memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import (
    HERE,
    Finished,
    alternate,
    largest,
    measure,
    median,
    megabytes,
    number,
    save,
    spent,
    table,
    trl_parser,
)
from kinds import PLAIN

LENGTHS = {"chat": (796.0, 1272.0), "short": (80.0, 83.0)}
"""Median and mean."""
WAYS = ("premask, together", "premask, windows", "TRL, together", "TRL, as shipped")
SHIPPED_MOST = 100_000
"""Batches of a thousand rows are as full at any size; there is no need to wait for more."""


def main() -> None:
    arguments = trl_parser(__doc__)
    arguments.add_argument("--sizes", default="10000,1000000,10000000")
    arguments.add_argument("--max-lengths", default="2048,8192,32768")
    arguments.add_argument("--trl-most", type=int, default=1_000_000)
    arguments.add_argument("--plan", nargs=3, metavar=("HOW", "FILE", "LENGTH"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.plan:
        how, file, capacity = options.plan
        print(json.dumps(_plan(how, np.load(file), int(capacity))))
        return
    figures = {}
    for kind in PLAIN.split(","):
        above, cost = [], []
        for size in map(int, options.sizes.split(",")):
            for capacity in map(int, options.max_lengths.split(",")):
                bound, found = compare(kind, size, capacity, options)
                figures[f"{kind} {size} {capacity}"] = {"bound": bound, "runs": found}
                name = f"{size:,} at {capacity}"
                above.append([name, bound, *(_percent_above(found[who], bound) for who in WAYS)])
                cost.append([name, *(_cost(found[who]) for who in WAYS)])
        print(f"\n**{kind} lengths**: packs more than the bound, %\n")
        print(table(["lengths", "bound", *WAYS], above))
        print(f"\n**{kind} lengths**: CPU seconds, peak MB; {options.rounds} rounds\n")
        print(table(["lengths", *WAYS], cost))
    save(options.json, figures)


def _percent_above(runs: list[Finished], bound: int) -> str:
    return f"{100 * (runs[0].report['bins'] / bound - 1):.3f}" if runs else "-"


def _cost(runs: list[Finished]) -> str:
    if not runs:
        return "-"
    return f"{number(median(run.report['work'][1] for run in runs))} s, {megabytes(largest(runs))} MB"


def draw(kind: str, size: int, capacity: int, *, seed: int = 4) -> np.ndarray:
    """Return so many lengths of a kind of rows, int64.

    >>> bool(780 < np.median(draw("chat", 10_000, 8192)) < 820)
    True
    """
    middle, mean = LENGTHS[kind]
    sigma = float(np.sqrt(2 * np.log(mean / middle)))
    drawn = np.random.default_rng(seed).lognormal(np.log(middle), sigma, size)
    lengths: np.ndarray = np.clip(drawn.astype(np.int64), 4, capacity)
    return lengths


def compare(
    kind: str, size: int, capacity: int, options: argparse.Namespace
) -> tuple[int, dict[str, list[Finished]]]:
    """Return the bound, and the runs of each way to pack; none where that would take too long."""
    lengths = draw(kind, size, capacity)
    bound = -(-int(lengths.sum()) // capacity)
    file: Path = options.work / "data" / f"lengths-{kind}-{size}-{capacity}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, lengths)
    ours: list[str | Path] = [sys.executable, HERE / "packing.py", "--plan"]
    ways = {name: partial(measure, [*ours, name.split()[-1], file, str(capacity)]) for name in WAYS[:2]}
    if options.trl_python:
        trl: list[str | Path] = [
            options.trl_python,
            HERE / "contender_packing.py",
            file,
            "--max-length",
            str(capacity),
        ]
        if size <= options.trl_most:
            ways["TRL, together"] = partial(measure, trl)
        if size <= SHIPPED_MOST:
            ways["TRL, as shipped"] = partial(measure, [*trl, "--shipped"])
    runs = alternate(ways, options.rounds, say=f"{kind} {size} at {capacity}")
    file.unlink()
    return bound, {name: runs.get(name, []) for name in WAYS}


def _plan(how: str, lengths: np.ndarray, capacity: int) -> dict[str, object]:
    """Pack with premask: all lengths at once, or in the windows of a run."""
    from premask.output.packing import plan_packs  # noqa: PLC0415  so that only this process has it in memory

    plan_packs(lengths[:100], capacity)
    cuts = _window_cuts(lengths) if how == "windows" else [0, len(lengths)]
    begin, bins = spent(), 0
    for start, end in pairwise(cuts):
        bins += len(plan_packs(lengths[start:end], capacity).offsets) - 1
    return {"work": spent() - begin, "bins": bins}


def _window_cuts(lengths: np.ndarray) -> list[int]:
    """Return where the windows of a run with the default recipe begin and end.

    A unit of work has `UNIT_BYTES` of text (four bytes a token, about), and in it `pack_window` tokens are
    packed together.
    """
    from premask.core.recipe import Recipe  # noqa: PLC0415
    from premask.sources.cutting import UNIT_BYTES  # noqa: PLC0415

    window = Recipe.model_fields["pack_window"].default
    units = max(1, round(4 * int(lengths.sum()) / UNIT_BYTES))
    unit = -(-len(lengths) // units)
    cuts = {0, len(lengths)}
    for start in range(0, len(lengths), unit):
        ends = np.cumsum(lengths[start : start + unit])
        full = np.arange(window, int(ends[-1]), window)
        cuts.update((start, *(start + 1 + np.searchsorted(ends, full)).tolist()))
    return sorted(cut for cut in cuts if cut <= len(lengths))


if __name__ == "__main__":
    main()
