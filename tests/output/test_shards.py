"""The files of a unit: their form, and that a unit is all there or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import make_output, names_in, recipe_of, reject_of, samples_of
from premask.core.contract import LINEAGE_SCHEMA, PACKED_SCHEMA, REJECT_SCHEMA, UNPACKED_SCHEMA
from premask.core.errors import OutputError
from premask.output import shards
from premask.output.shards import REJECTS_A_GROUP, UnitWriter, load_record

# ==== Files ====


def test_rejects_are_written_alike_however_they_come_in(tmp_path: Path) -> None:
    rejects = [reject_of(i) for i in range(REJECTS_A_GROUP + 10)]
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as together:
        together.reject(rejects)
    with UnitWriter(tmp_path / "1", recipe_of().layout, 8) as singly:
        for reject in rejects:
            singly.reject([reject])
    files = [unit.commit(key="k", extra={}).files["rejects"] for unit in (together, singly)]

    assert files[0] == files[1]
    assert pq.read_metadata(tmp_path / "0" / "rejects.parquet").num_row_groups == 2


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("packed", PACKED_SCHEMA),
        ("unpacked", UNPACKED_SCHEMA),
        ("rejects", REJECT_SCHEMA),
        ("lineage", LINEAGE_SCHEMA),
    ],
)
def test_files_have_the_schema_of_the_contract_and_its_version(
    tmp_path: Path, kind: str, schema: pa.Schema
) -> None:
    make_output(tmp_path / "out")

    for file in (tmp_path / "out" / kind).iterdir():
        written = pq.read_schema(file)
        assert written.equals(schema)
        assert written.metadata == {b"premask.contract": b"1"}
        assert b"huggingface" not in pq.read_metadata(file).metadata


def groups_of(path: Path) -> list[int]:
    footer = pq.read_metadata(path)
    return [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]


def test_every_window_begins_a_row_group(tmp_path: Path) -> None:
    make_output(tmp_path / "out")

    for kind, rows in (("packed", [2, 2]), ("unpacked", [3, 2]), ("lineage", [3, 2])):
        (first, _) = sorted((tmp_path / "out" / kind).iterdir())
        assert groups_of(first) == rows


def test_row_groups_of_packs_hold_at_most_so_many_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP_TOKENS", 3 * 8)
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([7] * 8))
        unit.add(samples_of([8]))
    unit.commit(key="k", extra={})

    assert groups_of(tmp_path / "0/packed-train.parquet") == [3, 3, 2, 1]
    assert (
        groups_of(tmp_path / "0/unpacked-train.parquet")
        == groups_of(tmp_path / "0/lineage-train.parquet")
        == [8, 1]
    )


def test_a_pack_longer_than_a_row_group_may_be_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP_TOKENS", 4)
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([7, 7]))
    unit.commit(key="k", extra={})

    assert groups_of(tmp_path / "0/packed-train.parquet") == [1, 1]


def test_encodings_are_those_that_every_reader_knows(tmp_path: Path) -> None:
    """BYTE_STREAM_SPLIT would be faster, but DuckDB 1 refuses it for integers."""
    make_output(tmp_path / "out")
    known = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "DELTA_BINARY_PACKED"}

    for path in sorted((tmp_path / "out").glob("*/*.parquet")):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        assert all(set(column.encodings) <= known for column in columns)
        assert {column.compression for column in columns} <= {"ZSTD"}
        if path.parent.name != "lineage":
            assert not any(column.has_dictionary_page for column in columns)
        assert pl.read_parquet(path).to_dicts() == pq.read_table(path).to_pylist()


# ==== A unit of work ====


def test_a_unit_is_not_there_before_its_commit(tmp_path: Path) -> None:
    with UnitWriter(tmp_path / "00000", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    assert not (tmp_path / "00000").exists()

    record = unit.commit(key="k", extra={"rows": 2})

    assert names_in(tmp_path) == ["00000"]
    expected = ["done.json", "lineage-train.parquet", "packed-train.parquet", "unpacked-train.parquet"]
    assert names_in(tmp_path / "00000") == expected
    assert load_record(tmp_path / "00000", "k") == record
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    assert (record.splits["train"].samples, record.tokens, record.packs) == (2, 7, 1)
    assert record.extra == {"rows": 2}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_of_a_unit(tmp_path: Path, error: type[BaseException]) -> None:
    def work() -> None:
        with UnitWriter(tmp_path / "00000", recipe_of().layout, 8) as unit:
            unit.add(samples_of([3, 4]))
            unit.reject([reject_of(9)])
            raise error

    with pytest.raises(error):
        work()

    assert names_in(tmp_path) == []


def test_a_sample_longer_than_max_length_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="sample 1 has 9 tokens"),
        UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit,
    ):
        unit.add(samples_of([3, 9]))


def test_a_unit_that_a_lost_worker_finishes_late_does_not_disturb(tmp_path: Path) -> None:
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as late:
        late.add(samples_of([3, 4]))
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    record = unit.commit(key="k", extra={})
    inode = (tmp_path / "0/packed-train.parquet").stat().st_ino

    assert late.commit(key="k", extra={}) == record
    assert (tmp_path / "0/packed-train.parquet").stat().st_ino == inode
    assert names_in(tmp_path) == ["0"]


def test_a_unit_of_a_run_that_is_gone_does_not_come_back(tmp_path: Path) -> None:
    gone = tmp_path / ".out.partial" / "units" / "00000"
    with pytest.raises(OutputError, match=r"cannot write .*units/00000: No such file"):
        UnitWriter(gone, recipe_of().layout, 8).__enter__()

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("damage", ["size", "file", "record", "json", "field", "key"])
def test_a_unit_that_is_not_whole_has_no_record(tmp_path: Path, damage: str) -> None:
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    unit.commit(key="k", extra={})
    done, shard = tmp_path / "0/done.json", tmp_path / "0/packed-train.parquet"
    if damage == "size":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "file":
        shard.unlink()
    elif damage == "record":
        done.unlink()
    elif damage in {"json", "field"}:
        done.write_text("{" if damage == "json" else '{"key": "k", "files": {}}')

    assert load_record(tmp_path / "0", "other" if damage == "key" else "k") is None
