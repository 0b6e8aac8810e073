"""File -> what it holds: what is refused and how it is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inputs import compressed, rows_of, write
from premask.core.errors import SourceError
from premask.sources import files
from premask.sources.inspection import inspect_source

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def test_inspecting_hashes_and_counts(tmp_path: Path) -> None:
    """The sha256 is that of the file's bytes; blank lines and a last line without newline count."""
    info = inspect_source(write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}'))

    assert (info.format, info.compression, info.bytes, info.rows) == ("jsonl", None, 18, 3)
    assert info.sha256 == "c4084da8868272cd0e515531abefcb03a5ae595c32a9d4294e17f2c309f754ce"


@pytest.mark.parametrize(
    ("text", "rows"), [("{}", 1), ("{}\n", 1), ("{}\n\n", 2), ("{}\r\n{}\r\n", 2), ("\ufeff{}\n{}", 2)]
)
def test_line_count(tmp_path: Path, text: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", 3)
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
    "utf16-bare": ("a.jsonl", '{"a": 1}'.encode("utf-16-le"), "holds UTF-16 text; rename it, convert it"),
    "utf16-big": ("a.json", '{"a": 1}'.encode("utf-16-be"), "holds UTF-16 text"),
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
    monkeypatch.setattr(files, "CHUNK", max(chunk, 4) if case == "twice" else chunk)
    source = write(tmp_path / name, data)

    with pytest.raises(SourceError, match=message) as caught:
        inspect_source(source)
    assert source in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name, what in (("none.jsonl", "does not exist; check the path"), (".", "is a directory, not a file")):
        with pytest.raises(SourceError, match=what):
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
