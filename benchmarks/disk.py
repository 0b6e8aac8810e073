"""What lies on disk: bytes a token, and how long `load_dataset` takes, of premask's packs and of TRL's.

    python benchmarks/disk.py [--trl-python VENV/bin/python] [--kinds chat,short] [--rounds 5]

Outputs are made anew by a run of premask (the command) and of TRL (its `_prepare_dataset`, then
`to_parquet`); each is then loaded in a process of its own with an empty cache, and read through once as
numpy arrays. Medians of alternating runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from against_trl import run_trl
from common import HERE, alternate, manifest, measure, median, save, spent, table, trl_parser
from data import ensure
from kinds import KINDS, PLAIN, add_rows, rows_of, wanted
from premask_runs import recipe, run_command


def main() -> None:
    arguments = trl_parser(__doc__)
    arguments.add_argument("--kinds", default=PLAIN)
    add_rows(arguments)
    arguments.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.load:
        print(json.dumps(_load(options.load)))
        return
    save(options.json, {kind: compare(kind, options) for kind in wanted(options.kinds)})


def compare(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one kind of rows, print its table, and return its figures."""
    rows = rows_of(kind, options)
    data = ensure(kind, rows, suffix=KINDS[kind].format, folder=options.work / "data")
    output = options.work / "outputs" / f"{kind}-disk"
    run_command(recipe(kind, data, output, options), 1)
    folders, tokens = {"premask": output / "packed"}, {"premask": int(manifest(output)["counts"]["tokens"])}
    if options.trl_python:
        tokens["TRL"] = run_trl(kind, data, 1, options).report["tokens"]
        folders["TRL"] = options.work / "outputs" / f"{kind}-TRL-1"
    loads = {
        name: partial(measure, [sys.executable, HERE / "disk.py", "--load", folder])
        for name, folder in folders.items()
    }
    figures: dict[str, Any] = {}
    for name, runs in alternate(loads, options.rounds, say=f"{kind} load").items():
        size = sum(file.stat().st_size for file in folders[name].glob("*.parquet"))
        figures[name] = {
            "columns": runs[0].report["columns"], "tokens": tokens[name], "bytes": size,
            "load": [median(run.report["load"][i] for run in runs) for i in (0, 1)],
            "read": [median(run.report["read"][i] for run in runs) for i in (0, 1)],
        }  # fmt: skip
    print(
        f"\n**{kind} rows**: {rows:,} rows, {KINDS[kind].max_length} tokens a pack, {options.rounds} rounds\n"
    )
    header = ["output", "columns", "tokens", "MB", "bytes / token", "load wall s", "load CPU ns / token",
              "read through, CPU ns / token"]  # fmt: skip
    lines = [
        [
            name, ", ".join(each["columns"]), each["tokens"], each["bytes"] / 1e6,
            each["bytes"] / each["tokens"], each["load"][0], 1e9 * each["load"][1] / each["tokens"],
            1e9 * each["read"][1] / each["tokens"],
        ]
        for name, each in figures.items()
    ]  # fmt: skip
    print(table(header, lines))
    return figures


def _load(folder: Path) -> dict[str, Any]:
    """Load packed Parquet files with an empty cache, and read all of it once."""
    import datasets  # noqa: PLC0415  so that it is not loaded where only figures are collected

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=folder.parent) as cache:
        few = f"{cache}/few.parquet"
        datasets.Dataset.from_dict({"input_ids": [[1]]}).to_parquet(few)
        datasets.load_dataset("parquet", data_files=few, cache_dir=f"{cache}/few")  # what is imported late
        begin = spent()
        files = [str(file) for file in sorted(folder.glob("*.parquet"))]
        loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
        load = spent() - begin
        begin = spent()
        for batch in loaded.with_format("numpy").iter(batch_size=16):
            sum(len(ids) for ids in batch["input_ids"])
        return {"load": load, "read": spent() - begin, "columns": loaded.column_names}


if __name__ == "__main__":
    main()
