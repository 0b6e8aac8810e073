"""CSV: cells as they are, and no record lost."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from inputs import CORPUS, needs_corpus, rows_of, values_of, write
from premask.core.errors import RecipeError, SourceError
from premask.core.source_entry import Source
from premask.sources.cutting import whole
from premask.sources.listing import inspect_sources
from premask.sources.reading import read_slice


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


@pytest.mark.parametrize("sign", [";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_the_header_shows_another_delimiter(tmp_path: Path, name: str, sign: str) -> None:
    text = f'\n"q"{sign}a\r\n"1{sign}2, x"{sign}3\r\n'.encode()
    data = gzip.compress(text) if name.endswith(".gz") else text

    assert values_of(write(tmp_path / name, data)) == [{"q": f"1{sign}2, x", "a": "3"}]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "\ufeffsep=;"])
def test_the_first_line_of_excel_is_no_header(tmp_path: Path, line: str) -> None:
    text = f"{line}\r\nq, r;a\r\n1;2\r\n"

    assert values_of(write(tmp_path / "a.csv", text)) == [{"q, r": "1", "a": "2"}]
    with pytest.raises(SourceError, match="line 4: unexpected end"):
        rows_of(write(tmp_path / "b.csv", text + '"x'))


def test_commas_in_a_file_named_tsv(tmp_path: Path) -> None:
    assert values_of(write(tmp_path / "a.tsv", "q,a\n1,2\n")) == [{"q": "1", "a": "2"}]


def test_a_comma_in_the_header_leaves_it_at_commas_unless_the_source_says(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "q;a, b\n1;2\n")
    (said,) = inspect_sources([Source(path=source, delimiter=";")])

    assert values_of(source) == [{"q;a": "1;2"}]
    assert [row.value for row in read_slice(whole(said))] == [{"q": "1", "a, b": "2"}]


def test_a_header_with_two_other_signs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"separated by ';' or '\|'; write one as the 'delimiter'"):
        rows_of(write(tmp_path / "a.csv", "q;a|b\n1;2|3\n"))


def test_a_delimiter_is_for_csv(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", "{}")
    with pytest.raises(RecipeError, match="'delimiter' is for CSV and TSV; leave it out"):
        inspect_sources([Source(path=source, delimiter=";")])


@pytest.mark.parametrize("sign", ["", "ab", '"', " ", "\n", "x"])
def test_a_delimiter_is_one_sign(sign: str) -> None:
    with pytest.raises(ValueError, match="write one sign, such as"):
        Source(path="a.csv", delimiter=sign)


def test_a_tab_has_a_name() -> None:
    assert (
        Source(path="a.csv", delimiter="tab").delimiter == Source(path="a", delimiter="\\t").delimiter == "\t"
    )


def test_a_file_behind_another_one(tmp_path: Path) -> None:
    """Its mark is no part of a cell, and its header is no row."""
    rows = rows_of(write(tmp_path / "a.csv", '\ufeffq,a\n1,2\n\ufeff"q",a\n\ufeff"3,4",5\n'))

    assert [row.value for row in rows] == [{"q": "1", "a": "2"}, None, {"q": "3,4", "a": "5"}]
    assert rows[1].error == "the record is the header again"


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
