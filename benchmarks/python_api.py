"""`premask.mask` against the command, on the same rows: what Python adds, or saves.

    python benchmarks/python_api.py [--rounds 3] [--rows 10000] [--kind chat]

Each runs in a process of its own, in turns: the command reads a Parquet file and writes unpacked shards;
Python reads the same file into a `Dataset`, a polars `DataFrame` or a list of rows, and masks it. `mask` are
the CPU seconds of the call alone, `process` those from start to end; for the command, both are the process. A
ratio above 1 says how many times as fast as the command Python is (`common.ratio`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Finished, alternate, fresh, measure, median, parser, ratio, save, table
from data import ensure
from kinds import KINDS


def main() -> None:
    made = parser(__doc__, rounds=3)
    made.add_argument("--rows", type=int, default=10_000)
    made.add_argument("--kind", choices=KINDS, default="chat")
    made.add_argument("--of", help="mask the file FORM:PATH in this process, and print what it took")
    options = made.parse_args()
    if options.of:
        _mask(*options.of.split(":", 1), options.tokenizer)
        return
    data = ensure(options.kind, options.rows, folder=options.work / "data")
    found = alternate(_contenders(data, options.tokenizer, options.work / "out"), options.rounds)
    command = [run.cpu for run in found["command"]]
    rows = [
        [
            name,
            median(run.cpu for run in runs),
            median(_call(run) for run in runs),
            ratio([run.cpu for run in runs], command),
            ratio([_call(run) for run in runs], command),
        ]
        for name, runs in found.items()
    ]
    save(options.json, {str(row[0]): row[1:] for row in rows})
    print(f"{options.rows:,} rows of {options.kind}, CPU seconds")
    print(table(["", "process", "mask", "process: as fast", "mask: as fast"], rows))


def _call(run: Finished) -> float:
    return float(run.report.get("cpu", run.cpu))


def _contenders(data: Path, tokenizer: Path, out: Path) -> dict[str, Callable[[], Finished]]:
    run = ("run", data, "--tokenizer", tokenizer, "--output", out, "--layout", "unpacked", "--workers", "1")

    def command() -> Finished:
        fresh(out)
        return measure([sys.executable, "-m", "premask", *run, "--max-length", str(2**31 - 1)])

    def python(form: str) -> Callable[[], Finished]:
        words = (__file__, "--of", f"{form}:{data}", "--tokenizer", tokenizer)
        return lambda: measure([sys.executable, *words])

    return {"command": command, **{form: python(form) for form in ("Dataset", "DataFrame", "list")}}


# ==== In a process of its own ====


def _mask(form: str, path: str, tokenizer: Path) -> None:
    import premask  # noqa: PLC0415  not where the rounds are counted

    data = _loaded(form, path)
    begin = time.process_time()
    masked = premask.mask(data, str(tokenizer))
    print(json.dumps({"cpu": time.process_time() - begin, "samples": len(masked)}))


def _loaded(form: str, path: str) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    if form == "Dataset":
        from datasets import Dataset  # noqa: PLC0415

        return Dataset(pq.read_table(path))
    if form == "DataFrame":
        import polars as pl  # noqa: PLC0415

        return pl.read_parquet(path)
    return pq.read_table(path).to_pylist()


if __name__ == "__main__":
    main()
