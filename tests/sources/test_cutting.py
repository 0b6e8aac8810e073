"""Files -> units: the cut, and that no row is lost or read twice whatever the cut."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import read_units, write
from premask.core.records import Slice, SourceInfo
from premask.sources import files
from premask.sources import reading as sources
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice


def shape(infos: Sequence[SourceInfo], unit_rows: int) -> list[list[tuple[int, int | None]]]:
    units = plan_units(infos, unit_rows=unit_rows)
    assert [unit.number for unit in units] == list(range(len(units)))
    return [[(piece.start_row, piece.stop_row) for piece in unit.slices] for unit in units]


def fake(rows: int | None, size: int = 0, compression: str | None = None) -> SourceInfo:
    return SourceInfo("a", "csv" if rows is None else "parquet", compression, size, "", rows)


def test_large_files_are_cut_and_small_ones_share_a_unit() -> None:
    assert shape([fake(25)], 10) == [[(0, 10)], [(10, 20)], [(20, 25)]]
    assert shape([fake(10)], 10) == [[(0, 10)]]
    assert shape([fake(4)] * 6, 10) == [[(0, 4)] * 3, [(0, 4)] * 3]
    assert shape([fake(14), fake(7)], 10) == [[(0, 10)], [(10, 14), (0, 7)]]
    assert shape([], 10) == []


def test_files_whose_rows_are_not_counted_weigh_by_bytes() -> None:
    """2048 bytes count as a row, compressed ones four times."""
    assert shape([fake(None, 5 * 2048)] * 3, 10) == [[(0, None)] * 2, [(0, None)]]
    assert shape([fake(None, 5 * 512, "gzip")] * 3, 10) == [[(0, None)] * 2, [(0, None)]]


def test_jsonl_is_cut_at_line_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 3)
    source = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"b": "é"}\n{}')

    info = inspect_source(source)
    pieces = [unit.slices for unit in plan_units([info], unit_rows=2)]

    assert pieces == [
        (Slice(source, "jsonl", None, 0, 2, 0, 10, at=info.at),),
        (Slice(source, "jsonl", None, 2, 4, 10, 24, at=info.at),),
    ]
    assert pickle.loads(pickle.dumps(pieces)) == pieces  # noqa: S301


def in_folder(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))


def reference(source: str, data: bytes) -> list[tuple[int, Any, bool]]:
    """The slow twin of the JSONL reader: all at once, one line after another."""
    found: list[tuple[int, Any, bool]] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line.decode()), False))
        except ValueError:
            found.append((number, None, True))
    return found


LINES = st.lists(
    st.one_of(
        st.sampled_from(["", "  ", "\r", "{oops", "[1,", "3"]),
        st.dictionaries(st.sampled_from("ab"), st.text('aé\u2028\U0001f600\x85\\"{', max_size=5)).map(
            lambda value: json.dumps(value, ensure_ascii=False)
        ),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    lines=LINES,
    end=st.sampled_from(["\n", "\r\n"]),
    edges=st.tuples(st.sampled_from(["", "\ufeff"]), st.booleans()),
    unit_rows=st.integers(1, 6),
    chunk=st.sampled_from([1, 2, 5, 1 << 20]),
)
def test_units_of_jsonl_hold_every_line_once(
    lines: list[str], end: str, edges: tuple[str, bool], unit_rows: int, chunk: int
) -> None:
    """However a file is cut, its units read in order give what the whole gives."""
    mark, closed = edges
    text = end.join(['{"first": 1}', *lines]) + (end if closed else "")
    data = (mark + text).encode()

    def check(folder: Path) -> None:
        source = write(folder / "a.jsonl", data)
        info = inspect_source(source)
        rows = read_units([info], unit_rows)

        assert [(row.row, row.value, row.error is not None) for row in rows] == reference(source, data)
        assert rows == list(read_slice(whole(info)))

    before, files.CHUNK = files.CHUNK, chunk
    try:
        in_folder(check)
    finally:
        files.CHUNK = before


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.text(max_size=3), min_size=1), min_size=1, max_size=30
    ),
    groups=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    unit_rows=st.integers(1, 12),
    batch=st.integers(1, 8),
)
def test_units_of_parquet_do_not_depend_on_row_groups(
    rows: list[dict[str, str]], groups: tuple[int, int], unit_rows: int, batch: int
) -> None:
    def check(folder: Path) -> None:
        read = []
        for group in groups:
            (folder / str(group)).mkdir(exist_ok=True)
            table = pa.Table.from_pylist(rows, schema=pa.schema([(key, pa.string()) for key in "abc"]))
            path = folder / str(group) / "a.parquet"
            pq.write_table(table, path, row_group_size=group)
            info = inspect_source(path.as_posix())
            units = plan_units([info], unit_rows=unit_rows)
            read.append(
                [
                    [(row.row, row.value) for piece in unit.slices for row in read_slice(piece)]
                    for unit in units
                ]
            )

        assert read[0] == read[1]
        assert [row for unit in read[0] for row in unit] == list(enumerate(rows))

    before, sources._BATCH_ROWS = sources._BATCH_ROWS, batch
    try:
        in_folder(check)
    finally:
        sources._BATCH_ROWS = before
