"""JSONL: each row with its line, as it was written, and no line lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from inputs import compressed, read_units, rows_of, values_of, write
from premask.core.errors import SourceError
from premask.core.records import Row, Slice
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice


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
