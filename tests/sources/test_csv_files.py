"""CSV: cells as they are, and no record lost."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from inputs import CORPUS, needs_corpus, rows_of, values_of, write
from premask.core.errors import SourceError


@pytest.mark.parametrize(("name", "tab"), [("a.csv", ","), ("A.TSV", "\t"), ("a.tsv.gz", "\t")])
def test_csv_cells_stay_strings_and_empty_ones_are_missing(tmp_path: Path, name: str, tab: str) -> None:
    text = '\ufeffid,q,a\r\n00000,3.3,"x\ny, ""z"""\r\n\r\n,,\r\n1,2\r\n1,2,3,4\r\n'.replace(",", tab)
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text
    rows = rows_of(write(tmp_path / name, data))

    assert [row.row for row in rows] == [0, 1, 2, 3]
    assert [row.value for row in rows] == [
        {"id": "00000", "q": "3.3", "a": f'x\ny{tab} "z"'},
        {},
        {"id": "1", "q": "2"},
        None,
    ]
    assert rows[3].error == "the record has 4 cells, the header 3"
    assert rows[3].original == '["1", "2", "3", "4"]'


def test_large_csv_cells_are_read(tmp_path: Path) -> None:
    assert values_of(write(tmp_path / "a.csv", "a\n" + "x" * 200_000)) == [{"a": "x" * 200_000}]


def test_a_quote_that_never_closes_is_refused(tmp_path: Path) -> None:
    """Else one cell would swallow the rest of the file, and rows would vanish."""
    with pytest.raises(SourceError, match="is not valid CSV: line 4: unexpected end of data; fix or export"):
        rows_of(write(tmp_path / "a.csv", 'a,b\n1,"2\n3,4\n5,6\n'))


@needs_corpus
def test_corpus_csv_cells_stay_strings() -> None:
    first, second, _ = values_of((CORPUS / "ms-swift/alpaca.csv").as_posix())

    assert set(map(type, first.values())) == {str}
    assert [set(row) for row in (first, second)] == [
        {"system", "instruction", "input", "output"},
        {"instruction", "output"},
    ]
