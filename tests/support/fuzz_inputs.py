"""Mutated and inflated input files through real runs: `python tests/support/fuzz_inputs.py --files 500`.

Each file is read by a child with a limit of memory and of time. It may end with exit code 0, or with 2 and one line.
Anything else (a traceback, a signal, a hang) is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": "answer " * n},
        ]
    }
    for n in range(1, 40)
]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
MEMORY = 4 << 30
SECONDS = 120

_READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
from premask.core.errors import PremaskError, RowError
from premask.core.source_entry import Source
from premask.dialects import recognize_file
from premask.fast.plain_batches import read_batches
from premask.sources.cutting import plan_units
from premask.sources.listing import inspect_sources
from premask.sources.reading import peek
for name in sys.argv[1:]:
    try:
        infos = inspect_sources([Source(path=name)], max_row_bytes=2_000_000)
        form = recognize_file(peek(infos[0]), source=name)
        rows = 0
        for unit in plan_units(infos, unit_rows=7):
            for piece in unit.slices:
                for batch in read_batches(piece, form):
                    rows += len([batch.row(i) for i in range(len(batch))])
        print("read", name, rows, flush=True)
    except PremaskError as error:
        print("refused", name, repr(str(error)), flush=True)
        assert "\\n" not in str(error), error
""".replace("MEMORY", str(MEMORY))


def parquet(**options: object) -> bytes:
    """The rows as Parquet."""
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), target, **options)
    return target.getvalue()


def seeds() -> dict[str, bytes]:
    """A sound file of each format, by its suffix."""
    text = "question,answer\n" + "".join(f'"q {n}\n""x""",answer\n' for n in range(40))
    return {
        "jsonl": LINES,
        "json": json.dumps(ROWS).encode(),
        "one.json": json.dumps(ROWS[0]).encode(),
        "csv": text.encode(),
        "tsv": text.replace(",", "\t").encode(),
        "jsonl.gz": gzip.compress(LINES),
        "json.gz": gzip.compress(json.dumps(ROWS).encode()),
        "jsonl.zst": zstandard.ZstdCompressor().compress(LINES),
        "csv.gz": gzip.compress(text.encode()),
        "parquet": parquet(),
        "plain.parquet": parquet(use_dictionary=False, compression="none", row_group_size=7),
        "zstd.parquet": parquet(compression="zstd", row_group_size=5, data_page_version="2.0"),
        "bz2.jsonl": bz2.compress(LINES),
    }


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut, doubled, or made very long."""
    for _ in range(chance.randint(1, 4)):
        at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        match chance.randrange(7):
            case 0:
                data = data[:at] + chance.randbytes(chance.randint(1, 8)) + data[end:]
            case 1:
                data = data[:at]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                place = min(at, len(data) - 1)
                data = data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
            case 4:
                odd = [
                    b"\0",
                    b"\r",
                    b"\n",
                    b'"',
                    b"\\",
                    b"[",
                    b"{",
                    b"}",
                    b",",
                    b"\xff",
                    b"\xed\xa0\x80",
                    b"\\ud800",
                ]
                data = data[:at] + chance.choice(odd) * chance.choice([1, 2, 300, 100_000]) + data[at:]
            case 5:
                long = chance.choice(
                    [b"a", b" ", b"[", b"1", b"[],", b'"k":1,', b"\\n", b'""', b"9e9,", b"\xc3\xa9"]
                )
                data = data[:at] + long * chance.choice([1000, 1_000_000, 5_000_000]) + data[at:]
            case _:
                data = data[:at] + data[end:]
        data = data or b"x"
    return data


def files(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Files of all formats, mutated; texts are mutated before they are compressed as well."""
    chance, kinds = random.Random(seed), list(seeds().items())  # noqa: S311  no secrets
    for number in range(count):
        suffix, data = kinds[number % len(kinds)]
        if suffix.endswith(".gz") and chance.random() < 0.6:
            data = gzip.compress(mutated(gzip.decompress(data), chance), 1)
        else:
            data = mutated(data, chance)
        path = folder / f"{number}.{suffix}"
        path.write_bytes(data)
        yield path


def main(arguments: list[str] | None = None) -> int:
    """Read the files, some at a time; print what went wrong and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found, slowest = Counter[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        waiting = [str(path) for path in files(Path(folder), options.files, options.seed)]
        while waiting:
            some, start = waiting[:25], time.monotonic()
            try:
                done = subprocess.run(
                    [sys.executable, "-c", _READ, *some],
                    capture_output=True,
                    timeout=SECONDS * 5,
                    check=False,
                )
                out, code = done.stdout.decode(errors="replace").splitlines(), done.returncode
                errors = done.stderr.decode(errors="replace").strip().splitlines()
            except subprocess.TimeoutExpired as late:
                out, code, errors = (late.stdout or b"").decode().splitlines(), -1, ["hang"]
            slowest = max(slowest, time.monotonic() - start)
            found.update(line.split()[0] for line in out)
            waiting = waiting[len(out) + bool(code) :]
            if code:
                found["failed"] += 1
                name = some[min(len(out), len(some) - 1)]
                print("FAILED", Path(name).name, code, errors[-1:] and errors[-1][:300])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(
        f"{options.files} files: {dict(found)}; highest memory {memory} MB, slowest 25 files {slowest:.0f} s"
    )
    return int(found["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
