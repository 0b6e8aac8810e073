"""The files with the rows that are left out because of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from premask.core.errors import OutputError
from premask.running.dropped import Drop, read_dropped, write_dropped

ROWS = [
    Drop(1, 4, "near_duplicate", "most of it is row 1"),
    Drop(0, 9, "contaminated", "it has a question", "gsm8k.jsonl"),
    Drop(0, 2, "duplicate", "it is row 1"),
    Drop(0, 9, "near_duplicate", "most of it is row 2"),
]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "work/hashes/00000.dropped.arrow"
    path.parent.mkdir(parents=True)
    return path


def test_rows_come_in_order_and_the_first_reason_counts(target: Path) -> None:
    write_dropped(target, ROWS)
    found = read_dropped(target)

    assert found.row.tolist() == [2, 9, 4]
    assert found.reason == ["duplicate", "contaminated", "near_duplicate"]
    assert found.of_piece(0).by == ["", "gsm8k.jsonl"]
    assert found.of_piece(1).row.tolist() == [4]
    assert found.of_piece(7).row.tolist() == []


def test_no_rows(target: Path) -> None:
    write_dropped(target, [])

    assert read_dropped(target).of_piece(0).row.tolist() == []


def test_rows_that_were_changed(target: Path) -> None:
    write_dropped(target, ROWS)
    data = target.read_bytes()
    for content in (b"", data[:50], b"PK" * 99, data[:-30], data.replace(b"detail", b"others")):
        target.write_bytes(content)
        with pytest.raises(OutputError, match="was changed and cannot be read"):
            read_dropped(target)
