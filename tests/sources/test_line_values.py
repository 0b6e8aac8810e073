"""Lines that are no JSON: what is read all the same, and what says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from inputs import read_units, rows_of, values_of, write
from premask.sources.inspection import inspect_source

BOM = "\ufeff"


@pytest.mark.parametrize("end", [",\n", ", \r\n", "\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_line_may_end_in_a_comma(tmp_path: Path, name: str, end: str) -> None:
    text = '{"id": 1}' + end + '[{"role": "user"}]' + end + '{"id": 3}'

    assert values_of(write(tmp_path / name, text)) == [{"id": 1}, [{"role": "user"}], {"id": 3}]


@pytest.mark.parametrize("line", ['{"id": 1},,', "1,", '"a",', ",", '{"id": 1,}'])
def test_a_comma_elsewhere_is_an_error(tmp_path: Path, line: str) -> None:
    rows = rows_of(write(tmp_path / "a.jsonl", f'{{"id": 1}}\n{line}\n{{"id": 3}}\n'))

    assert [row.row for row in rows if row.error is not None] == [1]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lines_in_the_notation_of_python(tmp_path: Path, name: str) -> None:
    text = "{'id': 1, 'a': None}\n{'id': 2, 'a': array([{'b': True}\n], dtype=object)}\n".replace("\n]", "]")

    assert values_of(write(tmp_path / name, text)) == [{"id": 1, "a": None}, {"id": 2, "a": [{"b": True}]}]


def test_marks_before_lines_are_no_part_of_them(tmp_path: Path) -> None:
    """Files that were put one behind another have them; the numbers of rows are those of the lines."""
    lines = [BOM + BOM + '{"id": 1}', BOM + '{"id": 2}', BOM, '{"id": 4}', BOM + "\r", BOM + '{"id": 6}']
    source = write(tmp_path / "a.jsonl", "\n".join(lines))
    rows = rows_of(source)

    assert [(row.row, row.value["id"]) for row in rows] == [(0, 1), (1, 2), (3, 4), (5, 6)]
    assert read_units([inspect_source(source)], 2) == rows


def test_several_values_between_cr_are_named(tmp_path: Path) -> None:
    text = '{"id": 1}\n{"id": 2}\r{"id": 3}\n{"id": 4}\n'
    rows = rows_of(write(tmp_path / "a.jsonl", text))

    assert [row.row for row in rows if row.error is None] == [0, 2]
    assert "with CR alone between them; write LF after each" in (rows[1].error or "")
