"""Files for the fuzz: rows in every format, some lines cut or replaced by what is no row.

path = write_file(folder / "rows-1", rows, random.Random(7))
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from fuzz_values import RAW

_NO_TABLE = (pa.ArrowException, UnicodeError, OverflowError, ValueError)


def write_file(path: Path, rows: list[Any], dice: random.Random) -> Path:
    """Write rows in a format that the dice choose; returns the file, which has the suffix of its format."""
    return dice.choice(WRITERS)(path, rows, dice)


def jsonl_of(rows: list[Any], dice: random.Random) -> bytes:
    """Lines, one in a hundred of which is cut, and one in five hundred something else. One file in twenty is
    no UTF-8, so that it is refused."""
    end, lines = dice.choice([b"\n", b"\n", b"\n", b"\r\n"]), []
    broken = dice.random() < 0.05
    for row in rows:
        line = json.dumps(row, ensure_ascii=dice.random() < 0.5).encode("utf-8", "backslashreplace")
        chance = dice.random()
        if chance < 0.01:
            line = line[: dice.randrange(len(line) + 1)]
        elif chance < 0.012:
            line = dice.choice(RAW)
        lines.append(line if broken else line.decode("utf-8", "ignore").encode())
    return end.join(lines) + dice.choice([end, b""])


def write_jsonl(path: Path, rows: list[Any], dice: random.Random) -> Path:
    """JSONL, one line a row."""
    path = path.with_suffix(".jsonl")
    path.write_bytes(jsonl_of(rows, dice))
    return path


def write_packed_jsonl(path: Path, rows: list[Any], dice: random.Random) -> Path:
    """The same, compressed."""
    path = path.with_suffix(".jsonl.zst")
    path.write_bytes(zstandard.ZstdCompressor().compress(jsonl_of(rows, dice)))
    return path


def write_array(path: Path, rows: list[Any], _: random.Random) -> Path:
    """One JSON array, compressed."""
    path = path.with_suffix(".json.gz")
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return path


def write_csv(path: Path, rows: list[Any], _: random.Random) -> Path:
    """CSV; what is no text is JSON in a cell."""
    rows = [row if isinstance(row, dict) else {"text": row} for row in rows]
    names = list(dict.fromkeys(key for row in rows for key in row))[:40] or ["text"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        cells = (row.get(name) for name in names)
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    path = path.with_suffix(".csv")
    path.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))
    return path


def write_table(path: Path, rows: list[Any], dice: random.Random) -> Path:
    """Parquet, of those rows that go into a table with the columns of some of them; JSONL where none do."""
    objects = [row for row in rows if isinstance(row, dict) and row]
    schema = next(filter(None, (_schema_of(objects[:first]) for first in (200, 50, 10, 3, 1))), None)
    fitting = [row for row in objects if schema and _table_of([row], schema)]
    table = _table_of(fitting, schema) if fitting else None
    if table is None:
        return write_jsonl(path, rows, dice)
    path = path.with_suffix(".parquet")
    pq.write_table(table, path, row_group_size=dice.choice([100, 5000]))
    return path


def _schema_of(rows: list[Any]) -> pa.Schema | None:
    table = _table_of(rows)
    return None if table is None or not _is_written(table) else table.schema


def _table_of(rows: list[Any], schema: pa.Schema | None = None) -> pa.Table | None:
    with contextlib.suppress(*_NO_TABLE):
        return pa.Table.from_pylist(rows, schema)
    return None


def _is_written(table: pa.Table) -> bool:
    """Whether Parquet can hold it: it has no structs without fields."""
    with contextlib.suppress(*_NO_TABLE):
        pq.write_table(table, io.BytesIO())
        return True
    return False


WRITERS: list[Callable[[Path, list[Any], random.Random], Path]] = [
    write_jsonl,
    write_jsonl,
    write_packed_jsonl,
    write_array,
    write_csv,
    write_table,
]
