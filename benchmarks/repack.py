"""What an output packed again costs, and what a source that grew costs: against a run from scratch.

    python benchmarks/repack.py [--rows 20000] [--rounds 3] [--tokenizer DIR]

Commands alternate, each in a process of its own, with one worker, on generated rows in one JSONL file:

    run       another `max_length`, from scratch
    repack    the same from a finished output
    grown     the file with a tenth more rows at its end, from scratch
    cached    the same with the cache of a run on the file before it grew, which is copied each time

The shards must have the same bytes: those of `repack` and `run`, and those of `cached` and `grown`.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from common import WORK, Finished, alternate, fresh, measure, median, ratio, save, table
from data import ensure
from premask_runs import command, run_command

LONGEST = 20_000
"""Bytes of the longest row that is taken: rows that were rejected for their length cannot be packed."""

SAMPLE = Path(__file__).resolve().parents[1] / "pipeline" / "premask" / "sample"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--kind", default="chat")
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--tokenizer", type=Path, default=SAMPLE / "tokenizer")
    arguments.add_argument("--work", type=Path, default=WORK)
    arguments.add_argument("--json", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    save(options.json, compare(options))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all commands, print their table, and return the figures."""
    place: Path = options.work / "outputs" / "repack"
    fresh(place)
    place.mkdir(parents=True)
    large = ensure(options.kind, options.rows * 11 // 10, suffix="jsonl", folder=options.work / "data")
    source, cache = place / "chats.jsonl", place / "cache"
    lines = [line for line in large.read_bytes().splitlines(keepends=True) if len(line) < LONGEST]
    more = len(lines)
    first = more * 10 // 11
    common = {"sources": [str(source)], "tokenizer": str(options.tokenizer), "too_long": "truncate"}

    def grow(rows: int) -> None:
        source.write_bytes(b"".join(lines[:rows]))

    def run(name: str, rows: int, keys: Mapping[str, Any]) -> Finished:
        grow(rows)
        return run_command({**common, "max_length": 8192, "output": str(place / name), **keys}, 1)

    def cached() -> Finished:
        fresh(place / "copy")
        shutil.copytree(cache, place / "copy")
        return run("cached", more, {"cache": str(place / "copy")})

    def repack() -> Finished:
        fresh(place / "repack")
        words = [place / "before", "--max-length", 32_768, "--output", place / "repack", "--workers", 1]
        return measure([*command(), "repack", *map(str, words)])

    wide = {"max_length": 32_768, "too_long": "reject"}
    run("before", first, {"too_long": "reject", "max_length": 16_384})
    run("first", first, {"cache": str(cache)})
    contenders = {
        "run": partial(run, "run", first, wide),
        "repack": repack,
        "grown": partial(run, "grown", more, {}),
        "cached": cached,
    }
    runs = alternate(contenders, options.rounds)
    same = {pair: _same(place, *pair) for pair in (("run", "repack"), ("grown", "cached"))}
    figures = {name: {"cpu": [each.cpu for each in found], "wall": [each.wall for each in found]}
               for name, found in runs.items()}  # fmt: skip
    print(f"\n{first:,} {options.kind} rows, {more - first:,} more, {options.rounds} rounds\n")
    print(table(["command", "CPU s", "wall s", "less CPU", "less wall", "same bytes"], _lines(figures, same)))
    fresh(place / "cached")
    words = ["--max-length", "8192", "--too-long", "truncate", "--cache", str(cache), "--workers", "1"]
    named = ["--tokenizer", str(options.tokenizer), "--output", str(place / "cached")]
    said = subprocess.run(
        [*command(), "run", str(source), *named, *words], capture_output=True, text=True, check=True
    )
    print("\n" + next(line.strip() for line in said.stdout.splitlines() if line.startswith("cache")))
    return figures


def _lines(figures: Mapping[str, Any], same: Mapping[tuple[str, str], bool]) -> list[list[object]]:
    lines: list[list[object]] = []
    for (slow, fast), equal in same.items():
        for name in (slow, fast):
            own, base = figures[name], figures[slow]
            less = [ratio(own[key], base[key]) for key in ("cpu", "wall")]
            lines.append([name, median(own["cpu"]), median(own["wall"]), *less, "yes" if equal else "NO"])
    return lines


def _same(place: Path, one: str, other: str) -> bool:
    return _hashes(place / one) == _hashes(place / other)


def _hashes(out: Path) -> dict[str, str]:
    files = (path for kind in ("packed", "lineage", "rejects") for path in sorted((out / kind).iterdir()))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
