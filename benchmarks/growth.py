"""How time and memory grow with the rows: premask on 10 thousand, 100 thousand and a million short rows.

    python benchmarks/growth.py [--kind short] [--rows 10000,100000,1000000] [--workers 1,2] [--rounds 3]

Printed are nanoseconds a token (CPU and wall, without start-up: `contender_premask.py`), the same for the
tokens between one size and the next, in which no fixed cost is left, and, of one run of the command
`premask run`, its wall time and the peak memory of its processes. Medians of alternating runs.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from typing import Any

from common import Finished, alternate, median, megabytes, parser, save, table
from data import ensure
from kinds import KINDS
from premask_runs import recipe, run_command, run_warm


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--kind", choices=KINDS, default="short")
    arguments.add_argument("--rows", default="10000,100000,1000000")
    arguments.add_argument("--workers", default="1,2")
    options = arguments.parse_args()
    warm, commands = measure_all(options)
    save(
        options.json, [{"size": size, "warm": each, "command": commands[size]} for size, each in warm.items()]
    )
    length = KINDS[options.kind].max_length
    print(f"\n**{options.kind} rows**, {length} tokens a pack, {options.rounds} rounds\n")
    print(growth_table(warm, commands))


Size = tuple[int, int]
"""Rows and workers."""


def measure_all(options: argparse.Namespace) -> tuple[dict[Size, list[Finished]], dict[Size, Finished]]:
    """Return the warm runs of each size, and one run of the command."""
    recipes: dict[Size, dict[str, Any]] = {}
    for rows in map(int, options.rows.split(",")):
        data = ensure(options.kind, rows, suffix=KINDS[options.kind].format, folder=options.work / "data")
        for workers in map(int, options.workers.split(",")):
            output = options.work / "outputs" / f"{options.kind}-growth-{rows}-{workers}"
            recipes[rows, workers] = recipe(options.kind, data, output, options)
    names = {size: f"{size[0]:,} rows, workers {size[1]}" for size in recipes}
    contenders = {names[size]: partial(run_warm, recipes[size], size[1]) for size in recipes}
    runs = alternate(contenders, options.rounds)
    commands = {}
    for (rows, workers), values in recipes.items():
        commands[rows, workers] = run_command(values, workers)
        shutil.rmtree(values["output"])
    return {size: runs[name] for size, name in names.items()}, commands


def growth_table(runs: dict[Size, list[Finished]], commands: dict[Size, Finished]) -> str:
    """Lay out time per token and memory, a line for each size and number of workers."""
    lines = []
    for workers in dict.fromkeys(workers for _, workers in runs):
        before = first = None
        for rows in sorted(size for size, number in runs if number == workers):
            each = runs[rows, workers]
            tokens = each[0].report["tokens"]
            wall, cpu = (median(run.report["work"][i] for run in each) for i in (0, 1))
            nanoseconds = 1e9 * cpu / tokens
            first = first or nanoseconds
            added: object = "-"
            if before is not None and tokens > before[0]:
                added = 1e9 * (cpu - before[1]) / (tokens - before[0])
            before = tokens, cpu
            lines.append([
                f"{rows:,} rows", workers, tokens, cpu, wall, nanoseconds, 1e9 * wall / tokens,
                1e6 * cpu / rows, nanoseconds / first, added, commands[rows, workers].wall,
                megabytes(commands[rows, workers].peak_mb), megabytes(commands[rows, workers].anonymous_mb),
            ])  # fmt: skip
    header = [
        "size", "workers", "tokens", "CPU s", "wall s", "CPU ns / token", "wall ns / token", "CPU us / row",
        "to the smallest", "CPU ns / token added", "command wall s", "peak MB", "anonymous MB",
    ]  # fmt: skip
    return table(header, lines)


if __name__ == "__main__":
    main()
