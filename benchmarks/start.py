"""What it takes before the first row: CPU seconds of small commands, with and without what is known already.

    python benchmarks/start.py [--rounds 5] [--rows 300] [--kind short] [--before CHECKOUT]

`first` starts with an empty cache folder, `again` with what the first one has left there (`core/facts.py`).
`--before` measures another checkout of the project as well, in turns with this one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from common import ROOT, Finished, alternate, fresh, measure, median, parser, save, table
from data import ensure


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rows", type=int, default=300)
    made.add_argument("--kind", choices=["short", "chat"], default="short")
    made.add_argument("--before", type=Path, help="another checkout of the project")
    options = made.parse_args()
    data = ensure(options.kind, options.rows, suffix="jsonl", folder=options.work / "data")
    trees = {"now": ROOT, **({"before": options.before} if options.before else {})}
    contenders = {
        (name, tree): command
        for tree, root in trees.items()
        for name, command in commands(root.resolve(), data, options.tokenizer, options.work / tree).items()
    }
    found = alternate(
        {f"{tree}: {name}": command for (name, tree), command in contenders.items()}, options.rounds
    )
    cpu = {name: median(run.cpu for run in runs) for name, runs in found.items()}
    save(options.json, cpu)
    names = dict.fromkeys(name for name, _ in contenders)
    rows = [[name, *(cpu[f"{tree}: {name}"] for tree in trees)] for name in names]
    print(table(["CPU seconds", *trees], rows))


def commands(root: Path, data: Path, tokenizer: Path, work: Path) -> dict[str, Callable[[], Finished]]:
    """Return what is measured, in this order: `again` follows `first`."""
    python, cache = sys.executable, work / "cache"
    explain = ("explain", data, "--tokenizer", tokenizer, "--row", "3")
    run = ("run", data, "--tokenizer", tokenizer, "--output", work / "out", "--max-length", "8192")

    def do(*words: str | Path, forget: bool = False) -> Callable[[], Finished]:
        def command() -> Finished:
            if forget:
                shutil.rmtree(cache, ignore_errors=True)
            fresh(work / "out")
            environ = {"PYTHONPATH": str(root / "pipeline"), "PREMASK_CACHE": str(cache)}
            return measure([python, *words], env={**os.environ, **environ})

        return command

    premask = ("-m", "premask")
    return {
        "python": do("-c", "pass"),
        "import premask": do("-c", "import premask"),
        "premask --help": do(*premask, "--help"),
        "premask run --help": do(*premask, "run", "--help"),
        "explain of a row, first": do(*premask, *explain, forget=True),
        "explain of a row, again": do(*premask, *explain),
        "run, first": do(*premask, *run, forget=True),
        "run, again": do(*premask, *run),
    }


if __name__ == "__main__":
    main()
