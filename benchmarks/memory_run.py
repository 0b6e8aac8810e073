"""Peak memory of each process of a whole `premask run`, on inputs of 100 MB, of 1 GB and of 10 GB.

    python benchmarks/memory_run.py [--kinds chat,tools] [--megabytes 100,1000] [--workers 2] [--folder /tmp]

Inputs come from `bulk.py`; input and output lie in a folder for temporary files and are deleted after each
size. That takes 1.8 times the largest size of disk, and some 200 s for a gigabyte on two idle cores. Printed
are, of the driver (which does units too) and of each other worker, the most memory resident at once (VmHWM)
and the most that is backed by no file, which is what a limit of memory has to leave room for.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bulk import write_bulk
from common import Finished, manifest, note, parser, save, table
from kinds import wanted
from premask_runs import recipe, run_command

DISK = 1.8
"""Bytes on the disk for one byte of input: itself, and up to 0.8 of output."""


def main() -> None:
    arguments = parser(__doc__, rounds=1)
    arguments.add_argument("--kinds", default="chat")
    arguments.add_argument("--megabytes", default="100,1000,10000")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = arguments.parse_args()
    sizes = [int(size) * 1_000_000 for size in options.megabytes.split(",")]
    found = [measured(kind, size, options) for kind in wanted(options.kinds) for size in sizes]
    save(options.json, found)
    print(f"\n{options.workers} processes\n")
    print(memory_table(found))


def measured(kind: str, size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run premask on an input of so many bytes and return what its processes took."""
    with tempfile.TemporaryDirectory(prefix="premask-memory-", dir=options.folder) as place:
        if shutil.disk_usage(place).free < DISK * size:
            sys.exit(f"{options.folder} has no room for {DISK * size / 1e6:,.0f} MB; give another --folder")
        source = Path(place) / "input"
        files = write_bulk(kind, size, source, data=options.work / "data")
        values = recipe(kind, source, Path(place) / "output", options)
        finished = run_command(values, options.workers)
        told = manifest(values["output"])
        output = sum(path.stat().st_size for path in Path(values["output"]).rglob("*") if path.is_file())
        found = {
            "kind": kind, "input": sum(path.stat().st_size for path in files), "output": output,
            "rows": told["counts"]["rows"], "tokens": told["counts"]["tokens"],
            "units": sum(each["path"].startswith("lineage/") for each in told["shards"]),
            "run": finished,
        }  # fmt: skip
        note(f"{found}")
        return found


def memory_table(found: list[dict[str, Any]]) -> str:
    """Lay out the peaks, a line for each size."""
    header = ["rows of", "input, MB", "rows", "tokens", "units", "output, MB", "CPU s", "wall s",
              "driver, MB", "of that anonymous", "other workers, MB", "of that anonymous"]  # fmt: skip
    return table(header, [_line(each, each["run"]) for each in found])


def _line(each: dict[str, Any], run: Finished) -> list[object]:
    others, anonymous = (", ".join(map(str, peaks[1:])) or "-" for peaks in (run.peak_mb, run.anonymous_mb))
    sizes = [f"{each[name] / 1e6:,.0f}" for name in ("input", "output")]
    return [
        each["kind"], sizes[0], each["rows"], each["tokens"], each["units"], sizes[1], run.cpu, run.wall,
        run.peak_mb[0], run.anonymous_mb[0], others, anonymous,
    ]  # fmt: skip


if __name__ == "__main__":
    main()
