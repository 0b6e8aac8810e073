"""The memory that reading takes, of files of 50 MB and of 5 GB: a JSON array and JSONL, rows of 2 kB.

    python benchmarks/memory_sources.py [--megabytes 50,5000] [--folder /tmp]

Each file is made in a folder for temporary files, read whole (inspected, planned and read in batches as in a
run, but not tokenized) by a process of its own, and deleted. Printed are the rows read, the peak memory of
that process (`ru_maxrss`), and its CPU seconds. Needs the largest size free on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import HERE, ROOT, table

FORMATS = ("json", "jsonl")
_TURNS = [
    "Was ist der Unterschied? ",
    'He said: "well, [it] depends, {as ever}". ',
    "Über \\ naïve\n",
    "ok, ",
]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--megabytes", default="50,5000")
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.read:
        print(json.dumps(read(options.read)))
        return
    lines = []
    for form in FORMATS:
        for size in map(int, options.megabytes.split(",")):
            found = measured(form, size * 1_000_000, options.folder)
            speed = found["bytes"] / found["cpu"] / 1e6
            lines.append(
                (
                    form,
                    f"{found['bytes'] / 1e6:,.0f}",
                    f"{found['rows']:,}",
                    f"{found['units']}",
                    f"{found['peak_mb']:,.0f}",
                    f"{found['start_mb']:,.0f}",
                    f"{found['cpu']:.0f}",
                    f"{speed:.0f}",
                )
            )
    print(table(("file", "MB", "rows", "units", "peak RSS, MB", "of which imports", "CPU, s", "MB/s"), lines))


def measured(form: str, size: int, folder: Path) -> dict[str, Any]:
    """Make a file, have it read by a process of its own, and delete it."""
    with tempfile.TemporaryDirectory(prefix="premask-memory-", dir=folder) as place:
        if shutil.disk_usage(place).free < size * 1.1:
            sys.exit(f"{folder} has no room for {size / 1e6:,.0f} MB; give another --folder")
        path = Path(place) / f"chats.{form}"
        with path.open("wb") as file:
            for part in text(form, size):
                file.write(part)
        command = [sys.executable, str(HERE / "memory_sources.py"), "--read", str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
        return dict(json.loads(subprocess.check_output(command, env=environment)))


def text(form: str, size: int) -> Iterator[bytes]:
    """The bytes of a file, some rows at a time."""
    done, number = 0, 0
    between = b",\n" if form == "json" else b"\n"
    yield b"[" if form == "json" else b""
    while done < size:
        rows = [json.dumps(row(number + i), ensure_ascii=False).encode() for i in range(500)]
        part = between.join(rows)
        yield (between if number and form == "json" else b"") + part + (b"\n" if form == "jsonl" else b"")
        number, done = number + len(rows), done + len(part)
    yield b"]\n" if form == "json" else b""


def row(number: int) -> dict[str, Any]:
    """A conversation of 2 kB, none like another."""
    turns = [
        {"role": ("user", "assistant")[i % 2], "content": f"{number}.{i} " + _TURNS[(number + i) % 4] * 20}
        for i in range(4)
    ]
    return {"id": number, "messages": turns}


def read(path: Path) -> dict[str, Any]:
    """Read a file as a run does, in this process, and say what that took."""
    from premask.core.source_entry import Source  # noqa: PLC0415
    from premask.fast.plain_batches import read_batches  # noqa: PLC0415
    from premask.sources.cutting import plan_units  # noqa: PLC0415
    from premask.sources.listing import inspect_sources  # noqa: PLC0415

    start, begin = _peak_mb(), time.process_time()
    infos = inspect_sources([Source(path=str(path))])
    units, rows = plan_units(infos), 0
    for unit in units:
        for piece in unit.slices:
            rows += sum(len(batch.shaped.index) for batch in read_batches(piece, "openai"))
    cpu = time.process_time() - begin
    about = {"bytes": infos[0].bytes, "rows": rows, "units": len(units)}
    return {**about, "cpu": cpu, "peak_mb": _peak_mb(), "start_mb": start}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
