"""Input files for tests: writing small ones, and reading files whole or by units."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from places import SHARED
from premask.core.records import Row, SourceInfo
from premask.dialects import shaped_rows
from premask.fast.plain_batches import RowBatch
from premask.sources.blocks import RowBlock
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice

CORPUS = SHARED / "corpus" / "conversations"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus {CORPUS} is not here")


def write(path: Path, data: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path.as_posix()


def rows_of(source: str) -> list[Row]:
    return list(read_slice(whole(inspect_source(source))))


def values_of(source: str) -> list[Any]:
    return [row.value for row in rows_of(source)]


def read_units(infos: Sequence[SourceInfo], unit_rows: int) -> list[Row]:
    units = plan_units(infos, unit_rows=unit_rows)
    return [row for unit in units for piece in unit.slices for row in read_slice(piece)]


def batch_of(rows: Sequence[Row], dialect: str) -> RowBatch:
    """Rows as `read_batches` would have them."""
    source = rows[0].source if rows else "-"
    block = RowBlock(source, np.array([row.row for row in rows], dtype=np.int64), rows)
    return RowBatch(block, shaped_rows((row.value for row in rows), dialect))


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 1000) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path.as_posix()


def compressed(data: bytes, suffix: str) -> bytes:
    return gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data)
