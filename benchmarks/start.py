"""What the start costs: `--help`, `explain` of one row, and runs of 300 rows, with an empty cache and not.

    python benchmarks/start.py [--kind chat] [--rounds 5]

Cold is an empty cache; the others find in it what a run before them has proved of the tokenizer and the
template. CPU and wall seconds of whole commands, medians of alternating runs.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial

from common import Finished, alternate, fresh, largest, measure, median, megabytes, parser, save, table
from data import ensure
from kinds import KINDS
from premask_runs import command, recipe, run_command

ROWS = 300


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--kind", choices=KINDS, default="chat")
    options = arguments.parse_args()
    data = ensure(options.kind, ROWS, suffix=KINDS[options.kind].format, folder=options.work / "data")
    values = recipe(options.kind, data, fresh(options.work / "outputs" / "start"), options)
    shown = ["--tokenizer", values["tokenizer"], "--chat-template", values["chat_template"], "--row", "0"]
    with tempfile.TemporaryDirectory() as warm:
        env = {"PREMASK_CACHE": warm}
        run_command(values, 1, env=env)
        contenders = {
            "premask --help": partial(measure, [*command(), "--help"], env=env),
            "premask run --help": partial(measure, [*command(), "run", "--help"], env=env),
            "explain, 1 row": partial(
                measure, [*command(), "explain", values["sources"][0], *shown], env=env
            ),
            f"run, {ROWS} rows, again": partial(run_command, values, 1, env=env),
            f"run, {ROWS} rows, cold": partial(_cold, values),
            "python -c 'import numpy, pyarrow'": partial(
                measure, [sys.executable, "-c", "import numpy, pyarrow"]
            ),
        }
        runs = alternate(contenders, options.rounds)
    save(options.json, runs)
    print(f"\n**{options.kind} rows**, {options.rounds} rounds\n")
    lines = [
        [name, median(run.cpu for run in each), median(run.wall for run in each), megabytes(largest(each))]
        for name, each in runs.items()
    ]
    print(table(["command", "CPU s", "wall s", "peak MB"], lines))


def _cold(values: dict[str, object]) -> Finished:
    with tempfile.TemporaryDirectory() as empty:
        return run_command(values, 1, env={"PREMASK_CACHE": empty})


if __name__ == "__main__":
    main()
