"""Files -> rows: that every row comes with its place, as it was written, and that no row is lost."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inputs import CORPUS, compressed, needs_corpus, read_units, rows_of, values_of, write, write_parquet
from premask.core.errors import SourceError
from premask.core.records import Row, Slice
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice

# ==== Reading JSONL ====


def test_rows_carry_line_numbers_and_bad_lines_their_error(tmp_path: Path) -> None:
    """`row` is the 0-based line; a blank line yields nothing but is counted."""
    source = write(tmp_path / "a.jsonl", '\ufeff{"a": 1}\r\n\n  \r\n{"a": NaN}\n{"a"\n"\u2028"\n null')

    assert rows_of(source) == [
        Row(source, 0, {"a": 1}, '{"a": 1}'),
        Row(source, 3, None, '{"a": NaN}', "NaN is not a JSON value"),
        Row(source, 4, None, '{"a"', "Expecting ':' delimiter at line 1 column 5"),
        Row(source, 5, "\u2028", '"\u2028"'),
        Row(source, 6, None, " null"),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),
        ('{"a": [1, 1.0, true, 12345678901234567890123]}', {"a": [1, 1.0, True, 12345678901234567890123]}),
        ('{"a": "\x85\\u0000"}', {"a": "\x85\x00"}),
        ("[" * 256 + "]" * 256, json.loads("[" * 256 + "]" * 256)),
        ('["' + "[" * 300 + '"]', ["[" * 300]),
    ],
)
def test_json_is_parsed_as_the_standard_library_does(tmp_path: Path, line: str, value: Any) -> None:
    rows = rows_of(write(tmp_path / "a.jsonl", f"{{}}\n{line}\n"))

    assert json.dumps(rows[1].value) == json.dumps(value)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("-Infinity", "-Infinity is not a JSON value"),
        ("[1e999]", "number 1e999 is out of range"),
        ("[" * 257 + "]" * 257, "nested more than 256 levels deep"),
        ("[" * 100_000, "nested more than 256 levels deep"),
        ('{"a": "\t"}', "Invalid control character"),
        ("{} {}", "Extra data at line 1 column 4"),
    ],
)
def test_invalid_json_becomes_a_row_with_its_error(tmp_path: Path, line: str, error: str) -> None:
    row = rows_of(write(tmp_path / "a.jsonl", f"{{}}\n{line}\n"))[1]

    assert (row.row, row.value, row.original) == (1, None, line)
    assert row.error is not None
    assert row.error.startswith(error)


def test_a_broken_first_line_does_not_make_the_file_something_else(tmp_path: Path) -> None:
    for first in ("oops", '{"a": 1,', '{"a": "x', "[1, 2"):
        rows = rows_of(write(tmp_path / "a.jsonl", f'{first}\n{{"a": 2}}\n'))

        assert [row.value for row in rows] == [None, {"a": 2}]
        assert [row.error is None for row in rows] == [False, True]


def test_a_single_row_may_be_an_array_of_turns(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "Hi"}]
    assert values_of(write(tmp_path / "a.jsonl", json.dumps(turns))) == [turns]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compressed_jsonl_reads_like_plain(tmp_path: Path, suffix: str) -> None:
    text = b"".join(b'{"n": %d}\n' % n for n in range(5000))
    data = compressed(text[:7000], suffix) + compressed(text[7000:], suffix) if suffix else text
    source = write(tmp_path / f"a.jsonl{suffix}", data)
    info = inspect_source(source)

    assert info.rows == (None if suffix else 5000)
    assert [(row.row, row.value) for row in read_units([info], 99)] == [(n, {"n": n}) for n in range(5000)]


def test_a_corrupt_gzip_is_refused_in_reading_too(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b'{"a": 1}\n' * 100))
    data[-6] ^= 1  # the checksum
    source = write(tmp_path / "a.jsonl.gz", bytes(data))
    with pytest.raises(SourceError, match=r"cannot be read as gzip: .*incorrect data check"):
        list(read_slice(Slice(source, "jsonl", "gzip", 0, None, None, None)))


def test_files_that_change_during_the_run_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    info = inspect_source(write(path, "{}\n" * 10))
    path.write_text("{}\n" * 5)

    with pytest.raises(SourceError, match=r"a.jsonl was changed while the run read it; start again"):
        plan_units([info], unit_rows=3)
    with pytest.raises(SourceError, match="was changed while the run read it"):
        list(read_slice(whole(info)))

    path.write_bytes(b"{}\n\xff\n")
    with pytest.raises(SourceError, match="not UTF-8: byte 0 of line 2: invalid start byte"):
        list(read_slice(whole(info)._replace(at=None)))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path, name: str) -> None:
    text = "[{}, {}]" if name == "a.json" else "{}\n" * 1000
    path = tmp_path / name
    write(path, gzip.compress(text.encode()) if name.endswith(".gz") else text.replace("{}", "1"))
    rows = read_slice(whole(inspect_source(path.as_posix())))
    next(rows)
    with path.open("ab") as file:
        file.write(b" ")

    with pytest.raises(SourceError, match=f"{name} was changed while the run read it"):
        list(rows)


def test_parquet_that_changes_during_the_run_is_noticed(tmp_path: Path) -> None:
    info = inspect_source(write_parquet(tmp_path / "a.parquet", [{"a": 1}] * 10))
    write_parquet(tmp_path / "a.parquet", [{"a": 1}] * 5)
    with pytest.raises(SourceError, match="was changed while the run read it"):
        read_units([info], 100)


# ==== Reading JSON, CSV and Parquet ====


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ('[{"a": 1},\n {"a": 2}]', "json", [{"a": 1}, {"a": 2}]),
        ('[{"a": 1}, 2]', "json", [{"a": 1}, 2]),
        ('\ufeff{\n "a": 1\n}', "json", [{"a": 1}]),
        ('{"a": 1}\n', "json", [{"a": 1}]),
        ('{"a":\n{"b": 1}\n}', "json", [{"a": {"b": 1}}]),
        ('[\n{"a": 1}\n]', "json", [{"a": 1}]),
        ('\n{"a": 1}\n\n{"a": 2}\n', "jsonl", [{"a": 1}, {"a": 2}]),
        ('[{"a": 1}]\n[{"a": 2}]\n', "jsonl", [[{"a": 1}], [{"a": 2}]]),
        ("[]", "json", []),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_json_may_hold_an_array_an_object_or_lines(
    tmp_path: Path, text: str, form: str, values: list[Any], suffix: str
) -> None:
    data = gzip.compress(text.encode()) if suffix else text
    source = write(tmp_path / f"a.json{suffix}", data)

    assert inspect_source(source).format == form
    assert values_of(source) == values


HUMAN, USER = {"from": "human", "value": "Hi"}, {"role": "user", "content": "Hi"}
CALLER = {"role": "assistant", "tool_calls": [{"name": "f"}]}


@pytest.mark.parametrize("turns", [[HUMAN, {"from": "gpt", "value": None}], [USER, CALLER], [USER]])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_json_file_that_is_one_conversation_is_one_row(
    tmp_path: Path, name: str, turns: list[Any], indent: int | None
) -> None:
    text = json.dumps(turns, indent=indent)
    source = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith(".gz") else text)

    assert rows_of(source) == [Row(source, 0, turns)]
    assert peek(inspect_source(source)) == [turns]


@pytest.mark.parametrize(
    "other",
    [
        {"role": "baker", "messages": [USER], "content": "x"},
        {"from": "a.txt", "conversations": [HUMAN], "value": 1},
        {"role": "baker", "wage": 3},
        {"content": "Hi"},
        [USER],
        "Hi",
    ],
)
def test_a_json_array_of_anything_but_turns_is_rows(tmp_path: Path, other: Any) -> None:
    """One element that is no turn is enough."""
    for values in ([other, USER], [USER, other], [other]):
        assert values_of(write(tmp_path / "a.json", json.dumps(values))) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"a": 1},\n{"a" 2}]',
            "not valid JSON: Expecting ':' delimiter at byte 16, line 2, row 1; fix it",
        ),
        ('[{"a": 1} {"a": 2}]', "Extra data at byte 10, line 1, row 0; fix it"),
        ('[{"a": 1},, {"a": 2}]', "Expecting value at byte 10, line 1, row 1; fix it"),
        ('[{"a": 1},\n]', "Expecting value at byte 11, line 2, row 1; fix it"),
        (
            '[{"a": 1},\n{"a": "x',
            "array does not end at byte 19, line 2, row 1; the file is cut short, fetch",
        ),
        ('[{"a": 1}] [', "something follows the array at byte 11, line 1, row 1; fix it"),
        ('[\n{"a": 1}]\n}', "something follows the array at byte 12, line 3, row 1"),
        ('[{"a": 1}}', "the array is closed by '}' at byte 9, line 1, row 0; fix it"),
        ("[" * 100_000, "the array does not end at byte 100000"),
        ('{"a": 1', "is not valid JSON: Expecting ',' delimiter at line 1 column 8; fix it"),
        ('"text"', "holds a single JSON value, not rows; remove it"),
    ],
)
def test_json_that_does_not_parse_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    for name, data in (("a.json", text.encode()), ("b.json.gz", gzip.compress(text.encode()))):
        with pytest.raises(SourceError, match=message.replace(", line", r"(, decompressed)?, line")):
            rows_of(write(tmp_path / name, data))


def test_an_element_with_a_number_that_json_has_not_is_a_row_with_its_error(tmp_path: Path) -> None:
    """Where it begins and ends is certain, so the rest of the file can be read."""
    source = write(tmp_path / "a.json", '[{"a": NaN},\n {"a":\n  1},\n [1e999]]')

    assert rows_of(source) == [
        Row(source, 0, None, '{"a": NaN}', "NaN is not a JSON value"),
        Row(source, 1, {"a": 1}, '{"a": 1}'),
        Row(source, 2, None, "[1e999]", "number 1e999 is out of range"),
    ]


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


# ==== Peeking ====


def test_peek_looks_at_the_start_and_the_middle(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(100, 200)))
    info = inspect_source(source)
    values = [row.value for row in read_slice(whole(info))]

    assert peek(info) == values
    assert peek(info, 10) == [*values[:5], *values[51:56]]


def test_peek_into_parquet_starts_at_the_middle_row_group(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "a.parquet", [{"n": n} for n in range(100)], group=15)

    values = peek(inspect_source(source), 10)

    assert [value["n"] for value in values] == [0, 1, 2, 3, 4, 45, 46, 47, 48, 49]


def test_peek_leaves_out_what_does_not_parse_and_stops_at_its_limit(tmp_path: Path) -> None:
    assert peek(inspect_source(write(tmp_path / "a.jsonl", "{oops\n{}\n"))) == [{}]
    assert peek(inspect_source(write(tmp_path / "a.csv", "a\n" + "x\n" * 9)), 3) == [{"a": "x"}] * 3


# ==== Real files ====


def corpus() -> list[Path]:
    return sorted(path for path in CORPUS.rglob("*") if path.is_file())


@needs_corpus
def test_every_corpus_file_is_read_or_refused() -> None:
    """Any real file gives rows or one SourceError, and cutting it loses nothing."""
    read = 0
    for path in corpus():
        try:
            info = inspect_source(path.as_posix())
        except SourceError:
            continue
        rows = list(read_slice(whole(info)))
        read += 1

        assert rows
        assert all(row.error is None for row in rows)
        if info.rows is not None:
            assert len(read_units([info], 97)) == len(rows)
    assert read > 100


@needs_corpus
@pytest.mark.parametrize(
    ("name", "form", "rows"),
    [
        ("gorilla/data/BFCL_v4_irrelevance.json", "jsonl", 240),
        ("gorilla/data/BFCL_v4_format_sensitivity.json", "json", 1),
        ("axolotl-fixtures/conversation.json", "json", 1),
        ("llamafactory/v1_multimodal_demo.jsonl", "jsonl", 24),
        ("open-assistant/history/en_100_message.jsonl.gz", "jsonl", 100),
        ("open-assistant/history/cocktail_recipes.parquet", "parquet", 875),
        ("alpaca-cleaned-ext/gsm_8k/gsm_8k_train.json", "json", 7473),
    ],
)
def test_corpus_files_hold_what_the_corpus_index_says(name: str, form: str, rows: int) -> None:
    source = (CORPUS / name).as_posix()

    assert inspect_source(source).format == form
    assert len(rows_of(source)) == rows


@needs_corpus
def test_corpus_csv_cells_stay_strings() -> None:
    first, second, _ = values_of((CORPUS / "ms-swift/alpaca.csv").as_posix())

    assert set(map(type, first.values())) == {str}
    assert [set(row) for row in (first, second)] == [
        {"system", "instruction", "input", "output"},
        {"instruction", "output"},
    ]
