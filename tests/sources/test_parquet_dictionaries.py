"""Parquet columns with dictionaries within lists, over several row groups: as pandas writes categories."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice

ROWS = 90


def table(*, texts: bool) -> pa.Table:
    """Conversations whose roles, and texts if wanted, are entries of a dictionary."""
    roles = pa.DictionaryArray.from_arrays(pa.array([0, 1] * ROWS, pa.int32()), ["user", "assistant"])
    content = pa.array([f"{text} {i}" for i in range(ROWS) for text in ("question", "answer")])
    turns = pa.StructArray.from_arrays(
        [roles, content.dictionary_encode() if texts else content], names=["role", "content"]
    )
    lists = pa.ListArray.from_arrays(pa.array(range(0, 2 * ROWS + 1, 2), pa.int32()), turns)
    return pa.table({"messages": lists})


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("group", [7, 40, ROWS])
def test_all_rows_are_read(tmp_path: Path, group: int, *, texts: bool) -> None:
    made = table(texts=texts)
    pq.write_table(made, tmp_path / "a.parquet", row_group_size=group)
    info = inspect_source(str(tmp_path / "a.parquet"))

    assert [row.value for row in read_slice(whole(info))] == made.to_pylist()
    some = whole(info)._replace(start_row=33, stop_row=81)
    assert [(row.row, row.value) for row in read_slice(some)] == [*enumerate(made.to_pylist())][33:81]
    assert peek(info, 16)[0] == made.to_pylist()[0]
