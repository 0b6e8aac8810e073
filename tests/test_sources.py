"""Files -> rows: what is refused and how it is said, the cut into units, and that no row is lost."""

from __future__ import annotations

import gzip
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import sources
from pipeline.contracts import Row
from pipeline.errors import SourceError
from pipeline.sources import Slice, SourceInfo, find_sources, inspect_source, peek, plan_units, read_slice

SHARED = Path(__file__).parents[2] / "shared" / "corpus" / "conversations"

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def write(path: Path, data: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path.as_posix()


def whole(info: SourceInfo) -> Slice:
    ends = (0, info.bytes) if info.format == "jsonl" and info.compression is None else (None, None)
    return Slice(info.source, info.format, info.compression, 0, info.rows, *ends)


def rows_of(source: str) -> list[Row]:
    return list(read_slice(whole(inspect_source(source))))


def values_of(source: str) -> list[Any]:
    return [row.value for row in rows_of(source)]


def read_units(infos: Sequence[SourceInfo], unit_rows: int) -> list[Row]:
    units = plan_units(infos, unit_rows=unit_rows)
    return [row for unit in units for piece in unit.slices for row in read_slice(piece)]


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 1000) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path.as_posix()


def compressed(data: bytes, suffix: str) -> bytes:
    return gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_CHUNK", 3)


# ==== Finding ====


def test_paths_directories_and_globs_are_expanded_in_order_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patterns keep their order, what one yields is sorted, and a file named twice is read once."""
    for name in ("b.jsonl", "a.jsonl", "sub/deep/c.json.gz", "sub/notes.txt", "sub/.hidden.json", "z[1].csv"):
        write(tmp_path / name, "{}")
    monkeypatch.chdir(tmp_path)

    assert find_sources(["*.jsonl"]) == ["a.jsonl", "b.jsonl"]
    assert find_sources(["b.jsonl", "*.jsonl", "./b.jsonl"]) == ["b.jsonl", "a.jsonl"]
    assert find_sources(["**/*.json.gz", "z[1].csv"]) == ["sub/deep/c.json.gz", "z[1].csv"]
    assert find_sources(["sub"]) == find_sources(["sub/"]) == ["sub/deep/c.json.gz"]
    assert find_sources([tmp_path.as_posix()]) == [
        f"{tmp_path.as_posix()}/{name}" for name in ("a.jsonl", "b.jsonl", "sub/deep/c.json.gz", "z[1].csv")
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "a source has an empty name; name a file, a directory or a pattern"),
        ("none.jsonl", "source 'none.jsonl' does not exist; check the path"),
        ("none/*.jsonl", "pattern 'none/\\*.jsonl' matches no file"),
        (".", "directory '.' holds no data files; known names end in .jsonl,"),
    ],
)
def test_what_yields_no_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str
) -> None:
    write(tmp_path / "readme.txt", "no data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        find_sources([pattern])


# ==== Inspecting ====


def test_inspecting_hashes_and_counts(tmp_path: Path) -> None:
    """The sha256 is that of the file's bytes; blank lines and a last line without newline count."""
    info = inspect_source(write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}'))

    assert (info.format, info.compression, info.bytes, info.rows) == ("jsonl", None, 18, 3)
    assert info.sha256 == "c4084da8868272cd0e515531abefcb03a5ae595c32a9d4294e17f2c309f754ce"


@pytest.mark.parametrize(
    ("text", "rows"), [("{}", 1), ("{}\n", 1), ("{}\n\n", 2), ("{}\r\n{}\r\n", 2), ("\ufeff{}\n{}", 2)]
)
def test_line_count(tmp_path: Path, text: str, rows: int, small_chunks: None) -> None:
    assert inspect_source(write(tmp_path / "a.jsonl", text)).rows == rows


PARQUET_HEAD = b"PAR1\x15\x04"

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "lfs-jsonl": ("a.jsonl", LFS_POINTER, "a.jsonl is a git-lfs pointer, .* run 'git lfs pull'"),
    "lfs-gzip": ("a.jsonl.gz", LFS_POINTER, "git-lfs pointer"),
    "lfs-parquet": ("a.parquet", LFS_POINTER, "git-lfs pointer"),
    "unknown-suffix": ("a.txt", b"{}", "no known file name suffix; known ones: .jsonl, .ndjson, .json, .csv"),
    "parquet-gz": ("a.parquet.gz", b"PAR1", "no known file name suffix"),
    "no-suffix": ("data", b"{}", "no known file name suffix"),
    "empty": ("a.jsonl", b"", "a.jsonl is empty; remove it"),
    "blank": ("a.json", b" \n\r\n\t", "a.json is empty \\(only whitespace\\)"),
    "only-bom": ("a.csv", b"\xef\xbb\xbf\n", "only whitespace"),
    "blank-gzip": ("a.jsonl.gz", gzip.compress(b"\n"), "only whitespace"),
    "hidden-gzip": ("a.jsonl", gzip.compress(b"{}"), "compressed \\(gzip\\) .* rename it to .*a.jsonl.gz"),
    "hidden-zstd": ("a.csv", compressed(b"a,b\n", ".zst"), "\\(zstd\\) .* rename it to .*a.csv.zst"),
    "not-gzip": ("a.jsonl.gz", b'{"a": 1}\n', "should hold gzip by its name but holds something else"),
    "not-zstd": ("a.jsonl.zst", gzip.compress(b"{}"), "should hold zstd by its name but holds gzip"),
    "twice": ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}")), "holds gzip within gzip; unpack it first"),
    "parquet-jsonl": ("a.jsonl", PARQUET_HEAD, "should hold UTF-8 text by its name but holds parquet"),
    "zip": ("a.json", b"PK\x03\x04zip", "holds a zip archive"),
    "utf16": ("a.csv", "a,b\n".encode("utf-16"), "holds UTF-16 text; rename it, convert it"),
    "html": ("a.json", b"<!DOCTYPE html><html></html>", "holds an HTML page"),
    "text-parquet": ("a.parquet", b"a,b\n1,2\n", "should hold parquet by its name but holds something else"),
    "cut-parquet": ("a.parquet", PARQUET_HEAD, "a.parquet cannot be read as Parquet: .*; fetch or write it"),
    "array-jsonl": ("a.jsonl", b'[{"a": 1}, {"a": 2}]', "holds one JSON array, .* rename it to .json"),
    "empty-array-jsonl": ("a.jsonl", b"[]", "holds one JSON array"),
    "pretty-array-jsonl": ("a.jsonl", b'[\n  {"a": 1}\n]', "one JSON array, not one JSON value a line"),
    "pretty-jsonl": ("a.ndjson", b'{\n  "a": 1\n}\n', "holds one JSON object, .* rename it to .json"),
    "pretty-gzip": ("a.jsonl.gz", gzip.compress(b'{\n"a": 1}'), "holds one JSON object"),
    "json-csv": ("a.csv", b'{"a": 1}\n', "holds JSON, not CSV; rename it to .jsonl or .json"),
    "utf8-start": ("a.jsonl", b"\xff{}", "not UTF-8: byte 0, line 1: invalid start byte; convert it"),
    "utf8-line": ("a.jsonl", b'{}\n{"a": "\xc3("}', "not UTF-8: byte 10, line 2: invalid continuation"),
    "utf8-end": ("a.jsonl", b'{}\n"\xe2\x80', "not UTF-8: byte 4, line 2: unexpected end of data"),
    "utf8-surrogate": ("a.json", b'["\xed\xa0\x80"]', "not UTF-8: byte 2, line 1"),
    "utf8-gzip": ("a.jsonl.gz", gzip.compress(b"{}\n\xff"), "not UTF-8: byte 3, decompressed, line 2"),
}


@pytest.mark.parametrize("chunk", [3, 1 << 20])
@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, chunk: int
) -> None:
    """One line that names the file, what is wrong and what to do, wherever the chunks are cut."""
    name, data, message = REFUSED[case]
    monkeypatch.setattr(sources, "_CHUNK", max(chunk, 4) if case == "twice" else chunk)
    source = write(tmp_path / name, data)

    with pytest.raises(SourceError, match=message) as caught:
        inspect_source(source)
    assert source in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("none.jsonl", "."):
        with pytest.raises(SourceError, match="does not exist or is not a file; check the path"):
            inspect_source(f"{tmp_path}/{name}")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "a.jsonl", "{}")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        SourceError, match=r"a.jsonl cannot be read: Permission denied; check its permissions"
    ):
        inspect_source(source)


def test_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    with pytest.raises(SourceError, match="is empty \\(Parquet with no rows\\)"):
        inspect_source(path.as_posix())


def test_columns_of_the_same_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["1"]), pa.array(["2"])], names=["a", "a"]), path)
    with pytest.raises(SourceError, match="has columns of the same name \\(a\\)"):
        inspect_source(path.as_posix())

    with pytest.raises(SourceError, match="has columns of the same name \\(a\\)"):
        rows_of(write(tmp_path / "a.csv", "a,b,a\n1,2,3\n"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_compressed_file_cut_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    """No prefix of a compressed file passes for a shorter file."""
    data = compressed(b"".join(b'{"a": "%d"}\n' % (n**5) for n in range(50)), suffix)
    for length in range(4, len(data)):
        source = write(tmp_path / f"a.jsonl{suffix}", data[:length])
        with pytest.raises(SourceError, match="the file is broken, fetch it again"):
            inspect_source(source)


def test_a_corrupt_gzip_is_refused_in_reading_too(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b'{"a": 1}\n' * 100))
    data[-6] ^= 1  # the checksum
    source = write(tmp_path / "a.jsonl.gz", bytes(data))
    with pytest.raises(SourceError, match=r"cannot be read as gzip: .*incorrect data check"):
        list(read_slice(Slice(source, "jsonl", "gzip", 0, None, None, None)))


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
        list(read_slice(whole(info)))


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1},\n{"a" 2}]', "is not valid JSON: Expecting ':' delimiter at line 2 column 6; mend it"),
        ('[{"a": NaN}]', "is not valid JSON: NaN is not a JSON value"),
        ("[" * 100_000, "is not valid JSON: nested more than 256 levels deep"),
        ('"text"', "holds a single JSON value, not rows; remove it"),
    ],
)
def test_json_that_does_not_parse_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        rows_of(write(tmp_path / "a.json", text))


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
    with pytest.raises(SourceError, match="is not valid CSV: line 4: unexpected end of data; mend or export"):
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


# ==== Planning ====


def shape(infos: Sequence[SourceInfo], unit_rows: int) -> list[list[tuple[int, int | None]]]:
    units = plan_units(infos, unit_rows=unit_rows)
    assert [unit.number for unit in units] == list(range(len(units)))
    return [[(piece.start_row, piece.stop_row) for piece in unit.slices] for unit in units]


def fake(rows: int | None, size: int = 0, compression: str | None = None) -> SourceInfo:
    return SourceInfo("a", "csv" if rows is None else "parquet", compression, size, "", rows)


def test_large_files_are_cut_and_small_ones_share_a_unit() -> None:
    assert shape([fake(25)], 10) == [[(0, 10)], [(10, 20)], [(20, 25)]]
    assert shape([fake(10)], 10) == [[(0, 10)]]
    assert shape([fake(4)] * 6, 10) == [[(0, 4)] * 3, [(0, 4)] * 3]
    assert shape([fake(14), fake(7)], 10) == [[(0, 10)], [(10, 14), (0, 7)]]
    assert shape([], 10) == []


def test_files_whose_rows_are_not_counted_weigh_by_bytes() -> None:
    """2048 bytes count as a row, compressed ones four times."""
    assert shape([fake(None, 5 * 2048)] * 3, 10) == [[(0, None)] * 2, [(0, None)]]
    assert shape([fake(None, 5 * 512, "gzip")] * 3, 10) == [[(0, None)] * 2, [(0, None)]]


def test_jsonl_is_cut_at_line_starts(tmp_path: Path, small_chunks: None) -> None:
    source = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"b": "é"}\n{}')

    pieces = [unit.slices for unit in plan_units([inspect_source(source)], unit_rows=2)]

    assert pieces == [
        (Slice(source, "jsonl", None, 0, 2, 0, 10),),
        (Slice(source, "jsonl", None, 2, 4, 10, 24),),
    ]
    assert pickle.loads(pickle.dumps(pieces)) == pieces  # noqa: S301


def in_folder(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))


def reference(source: str, data: bytes) -> list[tuple[int, Any, bool]]:
    """The slow twin of the JSONL reader: all at once, one line after another."""
    found: list[tuple[int, Any, bool]] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line.decode()), False))
        except ValueError:
            found.append((number, None, True))
    return found


LINES = st.lists(
    st.one_of(
        st.sampled_from(["", "  ", "\r", "{oops", "[1,", "3"]),
        st.dictionaries(st.sampled_from("ab"), st.text('aé\u2028\U0001f600\x85\\"{', max_size=5)).map(
            lambda value: json.dumps(value, ensure_ascii=False)
        ),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    lines=LINES,
    end=st.sampled_from(["\n", "\r\n"]),
    edges=st.tuples(st.sampled_from(["", "\ufeff"]), st.booleans()),
    unit_rows=st.integers(1, 6),
    chunk=st.sampled_from([1, 2, 5, 1 << 20]),
)
def test_units_of_jsonl_hold_every_line_once(
    lines: list[str], end: str, edges: tuple[str, bool], unit_rows: int, chunk: int
) -> None:
    """However a file is cut, its units read in order give what the whole gives."""
    mark, closed = edges
    text = end.join(['{"first": 1}', *lines]) + (end if closed else "")
    data = (mark + text).encode()

    def check(folder: Path) -> None:
        source = write(folder / "a.jsonl", data)
        info = inspect_source(source)
        rows = read_units([info], unit_rows)

        assert [(row.row, row.value, row.error is not None) for row in rows] == reference(source, data)
        assert rows == list(read_slice(whole(info)))

    before, sources._CHUNK = sources._CHUNK, chunk
    try:
        in_folder(check)
    finally:
        sources._CHUNK = before


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from("abc"), st.text(max_size=3), min_size=1), min_size=1, max_size=30
    ),
    groups=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    unit_rows=st.integers(1, 12),
    batch=st.integers(1, 8),
)
def test_units_of_parquet_do_not_depend_on_row_groups(
    rows: list[dict[str, str]], groups: tuple[int, int], unit_rows: int, batch: int
) -> None:
    def check(folder: Path) -> None:
        read = []
        for group in groups:
            (folder / str(group)).mkdir(exist_ok=True)
            table = pa.Table.from_pylist(rows, schema=pa.schema([(key, pa.string()) for key in "abc"]))
            path = folder / str(group) / "a.parquet"
            pq.write_table(table, path, row_group_size=group)
            info = inspect_source(path.as_posix())
            units = plan_units([info], unit_rows=unit_rows)
            read.append(
                [
                    [(row.row, row.value) for piece in unit.slices for row in read_slice(piece)]
                    for unit in units
                ]
            )

        assert read[0] == read[1]
        assert [row for unit in read[0] for row in unit] == list(enumerate(rows))

    before, sources._BATCH_ROWS = sources._BATCH_ROWS, batch
    try:
        in_folder(check)
    finally:
        sources._BATCH_ROWS = before


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
    return sorted(path for path in SHARED.rglob("*") if path.is_file()) if SHARED.is_dir() else []


needs_corpus = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the corpus {SHARED} is not here")


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
    source = (SHARED / name).as_posix()

    assert inspect_source(source).format == form
    assert len(rows_of(source)) == rows


@needs_corpus
def test_corpus_csv_cells_stay_strings() -> None:
    first, second, _ = values_of((SHARED / "ms-swift/alpaca.csv").as_posix())

    assert set(map(type, first.values())) == {str}
    assert [set(row) for row in (first, second)] == [
        {"system", "instruction", "input", "output"},
        {"instruction", "output"},
    ]
