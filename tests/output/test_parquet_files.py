"""Parquet files from strangers: what they declare is checked before it is believed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import make_output
from premask.output.dataset import raw_bytes
from premask.output.parquet_files import FOOTER_BYTES, open_parquet, runs_of_groups, undone, undone_schema

MANY = {"rows": 1000, "values": 1000}


def write(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **options)
    return path


def refused(path: Path, what: str, **bounds: int) -> None:
    with pytest.raises(pa.ArrowInvalid, match=what), open_parquet(path, **{**MANY, **bounds}):
        pass


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_what_libraries_write_is_read(
    tmp_path: Path, version: str, compression: str, *, dictionary: bool
) -> None:
    table = pa.table({"a": [[1, 2], [], [3]], "b": ["x", None, "y"], "c": [True, False, None]})
    options = {"data_page_version": version, "compression": compression, "use_dictionary": dictionary}
    path = write(tmp_path / "a.parquet", table, row_group_size=2, **options)

    with open_parquet(path, **MANY) as (file, footer):
        assert footer.rows == 3
        assert file.read().to_pylist() == table.to_pylist()


def test_all_shards_of_an_output_are_read(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.parquet"):
        with open_parquet(path, **MANY) as (file, footer):
            found = file.metadata
            assert (footer.rows, footer.raw_bytes) == (found.num_rows, raw_bytes(found))


def test_bounds_of_rows_and_values(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"a": [[1] * 50, [2] * 50]}), row_group_size=1)

    with open_parquet(path, rows=2, values=50) as (_, footer):
        assert [group.columns[0].values for group in footer.groups] == [50, 50]
    refused(path, "rows", rows=1)
    refused(path, "values of a row group: 50", values=49)


def test_a_footer_that_is_too_large(tmp_path: Path) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"x": "y" * FOOTER_BYTES})
    refused(write(tmp_path / "a.parquet", table), "its footer is said to have")


def test_too_many_columns(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.parquet", pa.table({f"c{i}": [1] for i in range(65)})), "columns: 65")


def test_files_that_are_cut_or_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"a": [1, 2]}))
    data = path.read_bytes()
    for some in (b"", b"PAR1", data[:-1], data[:20], b"x" * 100):
        path.write_bytes(some)
        refused(path, "no whole Parquet file")
    for size in (2**31 - 1, 2**32 - 1, len(data)):
        path.write_bytes(data[:-8] + size.to_bytes(4, "little") + b"PAR1")
        refused(path, "its footer is said to have")


def test_a_page_that_says_it_is_large(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet", pa.table({"a": ["x" * 100]}), compression="zstd", use_dictionary=False
    )
    data = path.read_bytes()
    assert (
        data[4:7] == b"\x15\x00\x15"
    )  # the kind of page, then its size once decompressed: a varint of two bytes
    for size, what in ((b"\xff\x7f", "-8,192"), (b"\xfe\xff\xff\xff\x0f", "2,147,483,647")):
        path.write_bytes(data[:7] + size + data[9:])
        refused(path, f"a page is said to have {what} bytes")

    path.write_bytes(data[:7] + b"\xfe\x7f" + data[9:])
    with open_parquet(path, **MANY) as (file, _), pytest.raises((OSError, pa.ArrowException)):
        file.read()  # a size within bounds that is wrong is pyarrow's to find


def test_a_bomb_is_refused_before_it_is_decompressed(tmp_path: Path) -> None:
    text = pa.array(["a" * (300 << 20)])
    path = write(tmp_path / "a.parquet", pa.table({"a": text}), compression="zstd", use_dictionary=False)
    assert path.stat().st_size < 1 << 20

    refused(path, "a page is said to have 314,5")


def test_row_groups_that_are_read_together(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet", pa.table({"a": [[1] * n for n in (3, 4, 9, 1, 1)]}), row_group_size=1
    )
    with open_parquet(path, **MANY) as (_, footer):
        assert list(runs_of_groups(footer, 8)) == [([0, 1], 4), ([2], 9), ([3, 4], 1)]


def test_a_footer_over_which_pyarrow_ends_the_process(tmp_path: Path) -> None:
    """The column is optional by the levels that are counted, but not by its schema."""
    path = write(tmp_path / "a.parquet", pa.table({"a": [1, 2]}), write_statistics=False)
    data = path.read_bytes()
    optional = data.rindex(b"\x25\x02\x18\x01a")
    path.write_bytes(data[: optional + 1] + b"\x00" + data[optional + 2 :])

    with pytest.raises((pa.ArrowException, OSError)), open_parquet(path, **MANY) as (file, _):
        file.read()


def test_a_text_that_is_repeated_takes_its_bytes_once(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x" * (1 << 20), "y"]).take(pa.array([0] * 500 + [1]))})
    path = write(tmp_path / "a.parquet", table, compression="zstd")
    with open_parquet(path, **MANY, texts=["a"]) as (file, footer):
        assert footer.dictionaries == {"a"}
        few, many = next(file.iter_batches(3)), next(file.iter_batches())
        assert many.nbytes < 2 << 20
        assert undone(few).equals(table.slice(0, 3).to_batches()[0])
        assert undone_schema(file.schema_arrow).equals(table.schema)
        with pytest.raises(pa.ArrowInvalid, match="column a repeats a text of 1,048,576 bytes"):
            undone(many)
