"""Parquet: plain values, of the row groups that are needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inputs import read_units, rows_of, values_of, write_parquet
from premask.core.errors import SourceError
from premask.core.records import Row, Slice
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice


def test_parquet_that_changes_during_the_run_is_noticed(tmp_path: Path) -> None:
    info = inspect_source(write_parquet(tmp_path / "a.parquet", [{"a": 1}] * 10))
    write_parquet(tmp_path / "a.parquet", [{"a": 1}] * 5)
    with pytest.raises(SourceError, match="was changed while the run read it"):
        read_units([info], 100)


def test_parquet_gives_plain_values_without_the_nulls_arrow_adds(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "calls": [{"name": "f"}]}],
            "tags": None,
        },
        {"messages": [{"role": "user", "content": "Hi"}], "tags": ["a", None]},
    ]
    source = write_parquet(tmp_path / "a.parquet", rows)

    assert inspect_source(source).rows == 2
    del rows[0]["tags"]
    assert rows_of(source) == [Row(source, number, row) for number, row in enumerate(rows)]


def test_parquet_maps_become_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pa.array([[("x", 1), ("y", None)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"a": column}), path)

    assert values_of(path.as_posix()) == [{"a": {"x": 1}}]


def test_parquet_that_breaks_off_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, [{"a": f"text {n**7}"} for n in range(2000)])
    data = bytearray(path.read_bytes())
    data[20:400] = bytes(380)
    path.write_bytes(bytes(data))
    with pytest.raises(
        SourceError, match=r"a.parquet cannot be read as Parquet: .*; fetch or write it again"
    ):
        rows_of(path.as_posix())


def test_parquet_decodes_only_the_row_groups_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_parquet(tmp_path / "a.parquet", [{"n": n} for n in range(100)], group=10)
    asked: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self: Any, *, batch_size: int, row_groups: list[int]) -> Iterator[Any]:
        asked.append(row_groups)
        yield from original(self, batch_size=batch_size, row_groups=row_groups)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    rows = list(read_slice(Slice(source, "parquet", None, 15, 40, None, None)))

    assert [(row.row, row.value["n"]) for row in rows] == [(n, n) for n in range(15, 40)]
    assert asked == [[1, 2, 3]]


def test_peek_into_parquet_starts_at_the_middle_row_group(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [{"n": n} for n in range(100)], group=15)

    values = peek(inspect_source(source), 10)

    assert [value["n"] for value in values] == [0, 1, 2, 3, 4, 45, 46, 47, 48, 49]
