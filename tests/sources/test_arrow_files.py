"""Arrow files: the rows of a folder of `save_to_disk` in order, and no damage that passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from inputs import read_units, rows_of, values_of, write, write_parquet
from premask.core.errors import SourceError
from premask.core.source_entry import Source
from premask.fast.plain_batches import read_batches
from premask.sources.cutting import plan_units
from premask.sources.inspection import inspect_source
from premask.sources.listing import find_sources, folders_of_splits, inspect_sources
from premask.sources.reading import read_slice

ROWS: list[Any] = [
    {"id": n, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": f"é{n}"}]}
    for n in range(25)
]


def write_arrow(path: Path, table: pa.Table, size: int = 4, *, footer: bool = False) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = pa.ipc.new_file if footer else pa.ipc.new_stream
    with new(path, table.schema) as file:
        file.write_table(table, max_chunksize=size)
    return path.as_posix()


@pytest.mark.parametrize("footer", [False, True])
def test_rows_are_those_of_parquet_whole_by_units_and_fast(tmp_path: Path, *, footer: bool) -> None:
    source = write_arrow(tmp_path / "a.arrow", pa.Table.from_pylist(ROWS), footer=footer)
    info, rows = inspect_source(source), rows_of(source)
    units = plan_units([info], unit_rows=6)
    batches = [batch for unit in units for batch in read_batches(unit.slices[0], "openai", 5)]

    assert info.rows == len(ROWS)
    assert [row.value for row in rows] == values_of(write_parquet(tmp_path / "a.parquet", ROWS)) == ROWS
    assert read_units([info], 6) == rows
    assert [text for batch in batches for texts in batch.shaped.texts for text in texts[1:]] == [
        row["messages"][1]["content"] for row in ROWS
    ]


def test_texts_in_dictionaries_and_views(tmp_path: Path) -> None:
    table = pa.table(
        {"a": pa.array(["x", "y", "x"]).dictionary_encode(), "b": pa.array(["1", "2", "3"], pa.string_view())}
    )

    assert values_of(write_arrow(tmp_path / "a.arrow", table, 2)) == [
        {"a": "x", "b": "1"},
        {"a": "y", "b": "2"},
        {"a": "x", "b": "3"},
    ]


def test_a_folder_of_save_to_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    data = datasets.Dataset.from_list(ROWS)
    data.shuffle(seed=1).save_to_disk(tmp_path / "one", num_shards=3)
    datasets.DatasetDict(train=data, test=data.select(range(3))).save_to_disk(tmp_path / "two")
    one = inspect_sources([Source(path=str(tmp_path / "one"))])
    two = inspect_sources([Source(path=str(tmp_path / "two"))])

    shuffled = [row["id"] for row in data.shuffle(seed=1)]
    assert [row.value["id"] for row in read_units(one, 4)] == shuffled
    assert sum(info.rows or 0 for info in two) == len(ROWS) + 3
    assert folders_of_splits(one) == {}
    assert folders_of_splits(two) == {str(tmp_path / "two"): ["test", "train"]}


def test_only_the_descriptions_beside_arrow_files_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    kept = [write_arrow(tmp_path / "d/train/data.arrow", table), write(tmp_path / "d/x/state.json", "[]")]
    write(tmp_path / "d/train/state.json", "{}")
    write(tmp_path / "d/dataset_dict.json", "{}")

    assert [*find_sources([(tmp_path / "d").as_posix()])] == kept


def test_a_condition_and_columns(tmp_path: Path) -> None:
    source = write_arrow(tmp_path / "a.arrow", pa.Table.from_pylist(ROWS))
    (info,) = inspect_sources([Source(path=source, where="id > 20", columns=["id"], limit=24)])
    (unit,) = plan_units([info])

    assert [row.value for row in read_slice(unit.slices[0])] == [{"id": 21}, {"id": 22}, {"id": 23}]
    assert info.left_out == 1


def test_damage_is_one_line(tmp_path: Path) -> None:
    data = Path(write_arrow(tmp_path / "a.arrow", pa.Table.from_pylist(ROWS))).read_bytes()
    damaged = {
        "is empty": b"",
        "it has no end, so rows may be missing": data[:-8],
        "cannot be read as Arrow": data[: len(data) // 2],
        "should hold arrow by its name but holds something else": b"hello" * 99,
        "is empty (Arrow with no rows)": Path(
            write_arrow(tmp_path / "b.arrow", pa.Table.from_pylist(ROWS)[:0])
        ).read_bytes(),
    }
    for message, content in damaged.items():
        with pytest.raises(SourceError) as caught:
            rows_of(write(tmp_path / "c.arrow", content))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_bytes_that_were_changed_end_the_run_or_change_a_value(tmp_path: Path) -> None:
    """Whatever is damaged, no other error than ours leaves the reader."""
    data = Path(write_arrow(tmp_path / "a.arrow", pa.Table.from_pylist(ROWS))).read_bytes()
    refused = 0
    for at in range(0, len(data), 37):
        source = write(tmp_path / "b.arrow", data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            assert len(rows_of(source)) <= len(ROWS)
        except SourceError:
            refused += 1
    assert refused
