"""Whether cost grows with the turns of a conversation: premask on agents of 20 to 1,000 rounds of tools.

    python benchmarks/linear.py [--kinds agents20,agents100,agents400,agents1000] [--scale 0.5]

Every file has about two million tokens, in fewer and longer rows. Printed are CPU nanoseconds a token without
start-up (`contender_premask.py`), what that is to the first line's, and the peak memory. Medians of
alternating runs; ratios are taken each round, then the median.
"""

from __future__ import annotations

from functools import partial

from common import alternate, largest, median, megabytes, parser, ratio, save, table
from data import ensure
from kinds import KINDS, add_rows, rows_of, wanted
from premask_runs import recipe, run_warm

AGENTS = "agents20,agents100,agents400,agents1000"


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--kinds", default=AGENTS)
    add_rows(arguments)
    options = arguments.parse_args()
    contenders = {}
    for kind in wanted(options.kinds):
        data = ensure(kind, rows_of(kind, options), suffix=KINDS[kind].format, folder=options.work / "data")
        values = recipe(kind, data, options.work / "outputs" / f"{kind}-linear", options)
        contenders[kind] = partial(run_warm, values, 1)
    runs = alternate(contenders, options.rounds)
    save(options.json, runs)
    cost = {
        kind: [1e9 * run.report["work"][1] / run.report["tokens"] for run in each]
        for kind, each in runs.items()
    }
    first = next(iter(cost.values()))
    lines = [
        [
            kind, rows_of(kind, options), runs[kind][0].report["tokens"], median(each), ratio(first, each),
            1e6 / median(each), megabytes(largest(runs[kind])),
        ]
        for kind, each in cost.items()
    ]  # fmt: skip
    print(f"\n{options.rounds} rounds\n")
    header = ["rows of", "rows", "tokens", "CPU ns / token", "to the first", "k tokens / CPU-s", "peak MB"]
    print(table(header, lines))


if __name__ == "__main__":
    main()
