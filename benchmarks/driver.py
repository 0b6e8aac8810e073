"""What the driver alone holds and does, by the number of units and of rows: records, manifest, duplicates.

    python benchmarks/driver.py [--units 1000,20000] [--rows 1000000,8000000]

Units are not done, only their records made up, as the driver holds them until the end, and then the manifest
and the card written from them. Rows are hashes drawn at random, 10,000 a unit, in which equal ones are looked
for: all at once, and in sixteen parts, as it is done with more than `duplicates.ROWS_AT_ONCE` of them. Each
line is a process of its own; memory is what its peak was above what imports take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, ROOT, WORK, save, spent, table

ROWS_A_UNIT = 10_000
PARTS = 16
COUNTS = ("tokens_user", "tokens_system", "tokens_assistant", "trained_assistant", "proved_plan", "verified")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", default="1000,20000")
    parser.add_argument("--rows", default="1000000,8000000")
    parser.add_argument("--json", type=Path, help="write the raw figures there")
    parser.add_argument("--do", nargs=2, metavar=("WHAT", "NUMBER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.do:
        sys.path.insert(0, str(ROOT))
        what, number = options.do
        print(json.dumps(in_this_process(what, int(number))))
        return
    wanted = [("records", int(number)) for number in options.units.split(",")]
    rows = [int(number) for number in options.rows.split(",")]
    wanted += [(what, number) for what in ("rows", "rows in parts") for number in rows]
    found = []
    for what, number in wanted:
        words = [sys.executable, str(HERE / "driver.py"), "--do", what, str(number)]
        found.append({"what": what, "number": number, **json.loads(subprocess.check_output(words, cwd=ROOT))})
    save(options.json, found)
    header = ["what", "number", "peak memory, MB", "bytes of each", "CPU s", "us for each", "written, MB"]
    print(table(header, map(_line, found)))


def _line(each: dict[str, Any]) -> list[object]:
    number = each["number"]
    memory, seconds = each["memory"] / 1e6, each["cpu"]
    mean = [1e6 * memory / number, seconds, 1e6 * seconds / number]
    return [each["what"], number, memory, *mean, each["written"] / 1e6]


def in_this_process(what: str, number: int) -> dict[str, Any]:
    """Do what a driver does with so many units or rows; returns what that took, and the bytes it wrote."""
    from premask.output import directory as output  # noqa: F401, PLC0415  imports are not measured
    from premask.running import duplicates  # noqa: PLC0415

    WORK.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as place:
        paths = [] if what == "records" else _hashes(Path(place), number)
        memory, begin = _peak(), spent()
        if what == "records":
            written = _records(Path(place), number)
        else:
            parts = 2 * number // PARTS if what == "rows in parts" else duplicates.ROWS_AT_ONCE
            found = duplicates.find_duplicates(paths, parts)
            duplicates.count_by_source(paths, [["chats.jsonl"]] * len(paths), found)
            written = 0
        return {"memory": _peak() - memory, "cpu": (spent() - begin).cpu, "written": written}


def _records(place: Path, number: int) -> int:
    """Hold the records of so many units, and write the manifest and the card of them; returns their bytes."""
    from premask.core.atomic_files import write_json  # noqa: PLC0415
    from premask.core.manifest import Manifest  # noqa: PLC0415
    from premask.output.shards import load_record  # noqa: PLC0415
    from premask.publish.card import make_card  # noqa: PLC0415

    records = []
    for unit in range(number):
        name = f"{unit:064x}"
        file = {"rows": 1200, "tokens": 9_800_000, "bytes": 0, "raw_bytes": 90_000_000, "sha256": name}
        split = {"samples": 9_400, "tokens": 9_800_000, "trained_tokens": 6_000_000, "packs": 1200}
        counts = dict.fromkeys(COUNTS, unit)
        account = {"rows": 9_400, "kept": 9_400, "dropped": 0, "rejected": {}, "left_out": {}}
        data = {
            "key": name, "files": {"packed/train": file, "lineage/train": file},
            "splits": {"train": split}, "rejects": {},
            "extra": {"counts": counts, "sources": {f"chats-{unit // 20:05d}.jsonl": account}},
        }  # fmt: skip
        (place / "done.json").write_text(json.dumps(data), encoding="utf-8")
        for kind in ("packed", "lineage"):
            (place / f"{kind}-train.parquet").touch()
        record = load_record(place, name)
        if record is None:
            sys.exit("a record of a unit looks different now; make it up as shards.UnitRecord has it")
        records.append(record)
    shards = [
        {"path": f"{kind}/train-{unit:05d}-of-{number:05d}.parquet", "rows": 1200, "tokens": 9_800_000,
         "bytes": 30_000_000, "raw_bytes": 90_000_000, "sha256": record.key}
        for kind in ("packed", "lineage") for unit, record in enumerate(records)
    ]  # fmt: skip
    examples = json.loads((ROOT / "schemas" / "examples" / "manifest.valid.json").read_text(encoding="utf-8"))
    manifest = {**examples[0], "shards": shards}
    write_json(place / "manifest.json", manifest)
    (place / "README.md").write_text(make_card(Manifest.model_validate(manifest)), encoding="utf-8")
    return sum((place / name).stat().st_size for name in ("manifest.json", "README.md"))


def _hashes(place: Path, number: int) -> list[Path]:
    """Files of the hashes of so many rows, one in ten thousand of them equal to an earlier one."""
    from premask.running.duplicates import HASHED, write_hashes  # noqa: PLC0415

    rng, paths = np.random.default_rng(4), []
    for start in range(0, number, ROWS_A_UNIT):
        rows = np.zeros(min(ROWS_A_UNIT, number - start), dtype=HASHED)
        rows["row"] = np.arange(start, start + len(rows))
        rows["hash"] = rng.integers(0, 256, (len(rows), rows["hash"].shape[1]), dtype=np.uint8)
        rows["hash"][-1] = 7
        paths.append(place / f"{start}.npy")
        write_hashes(paths[-1], [rows])
    return paths


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
