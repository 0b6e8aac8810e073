"""Files that are not what they should be, through the command: one line that names the file and the place."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, Done, chat, premask, process, write_rows
from inputs import compressed, write, write_parquet
from premask.core.errors import SourceError
from premask.running import units
from premask.sources.inspection import inspect_source

CHATS = [chat(f"question {n**5}", f"answer {n**7}") for n in range(300)]
LINES = "".join(f"{json.dumps(row)}\n" for row in CHATS).encode()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def run(folder: Path, *sources: object, **environ: str) -> Done:
    return premask(
        "run", *sources, "--tokenizer", TOKENIZER, "--workers", 1, "--output", folder / "out", **environ
    )


def refused(folder: Path, source: object, *parts: str) -> None:
    done = run(folder, source)

    assert (done.code, done.out) == (2, ""), done
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("premask: ")
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err, done.err
    assert not (folder / "out").exists()


ARRAY = json.dumps(CHATS, indent=1).encode()
CASES: dict[str, tuple[str, bytes, list[str]]] = {
    "gzip-cut": (
        "a.jsonl.gz",
        compressed(LINES, ".gz")[:-900],
        ["a.jsonl.gz cannot be read as gzip", "fetch it again"],
    ),
    "zstd-cut": (
        "a.json.zst",
        compressed(ARRAY, ".zst")[:-900],
        ["a.json.zst cannot be read as zstd", "fetch it"],
    ),
    "array-cut": (
        "a.json",
        ARRAY[:5000],
        ["does not end at byte 5000, line 378, row 31; the file is cut short"],
    ),
    "array-gz": ("a.json.gz", gzip.compress(ARRAY[:5000]), ["does not end at byte 5000, decompressed, line"]),
    "array-one-line": (
        "a.json",
        json.dumps(CHATS).encode()[:-1],
        ["does not end at byte", "line 1, row 299"],
    ),
    "element": (
        "a.json",
        ARRAY.replace(b'"role"', b'"role', 1),
        ["a.json is not valid JSON", "Expecting ':' delimiter at byte 38, line 5, row 0; fix"],
    ),
    "lfs-jsonl": ("a.jsonl", POINTER, ["a.jsonl is a git-lfs pointer", "git lfs pull"]),
    "lfs-parquet": ("a.parquet", POINTER, ["a.parquet is a git-lfs pointer"]),
    "utf16": (
        "a.jsonl",
        LINES.decode().encode("utf-16"),
        ["a.jsonl should hold UTF-8 text", "holds UTF-16 text"],
    ),
    "utf16-bare": (
        "a.json",
        ARRAY.decode().encode("utf-16-le"),
        ["holds UTF-16 text; rename it, convert it"],
    ),
    "latin1": (
        "a.csv",
        "id,text\n1,ü\n".encode("latin-1"),
        ["not UTF-8: byte 10, line 2", "convert it to UTF-8"],
    ),
    "nul": ("a.json", bytes(4000), ["a.json is not valid JSON"]),
    "nul-csv": ("a.csv", bytes(4000), ["a.csv"]),
    "json-in-csv": ("a.csv", LINES, ["a.csv holds JSON, not CSV; rename it"]),
    "array-in-jsonl": ("a.jsonl", ARRAY, ["a.jsonl holds one JSON array", "rename it to .json"]),
    "csv-in-json": ("a.json", b"id,text\n1,x\n", ["a.json is not valid JSON: Expecting value at line 1"]),
    "parquet-in-jsonl": (
        "a.jsonl",
        b"PAR1\x15\x04",
        ["should hold UTF-8 text by its name but holds parquet"],
    ),
    "empty": ("a.jsonl", b"", ["a.jsonl is empty; remove it"]),
    "blank": ("a.csv", b"\xef\xbb\xbf\n \n", ["a.csv is empty (only whitespace)"]),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_file_names_itself_and_its_place(tmp_path: Path, case: str) -> None:
    name, data, parts = CASES[case]
    refused(tmp_path, write(tmp_path / name, data), *parts)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", LINES), ("b.json", ARRAY)):
        write(tmp_path / "in" / name, b"\xef\xbb\xbf" + data)
    done = run(tmp_path, tmp_path / "in")

    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["kept"] == 600


def test_a_file_of_nul_bytes_is_one_broken_row(tmp_path: Path) -> None:
    """Preallocated space, as a crash leaves it: JSONL has rows, so it is for the ledger."""
    write(tmp_path / "in" / "a.jsonl", LINES + bytes(4000))
    done = run(tmp_path, tmp_path / "in")

    assert done.code == 0, done.err
    (row,) = [
        row for path in (tmp_path / "out" / "rejects").glob("*") for row in pq.read_table(path).to_pylist()
    ]
    assert (row["row"], row["reason"]) == (300, "invalid_json")


# ==== Parquet ====


def test_parquet_cut_in_half(tmp_path: Path) -> None:
    path = Path(write_parquet(tmp_path / "a.parquet", CHATS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    refused(tmp_path, path, "a.parquet cannot be read as Parquet", "fetch or write it again")


def test_a_damaged_row_group_is_named(tmp_path: Path) -> None:
    """The footer is fine, a stretch of one column is not; the groups before it are."""
    path = Path(write_parquet(tmp_path / "a.parquet", CHATS, group=100))
    place = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = (place.dictionary_page_offset or place.data_page_offset) + 10
    data[begin : begin + place.total_compressed_size - 20] = bytes(place.total_compressed_size - 20)
    path.write_bytes(bytes(data))

    refused(
        tmp_path,
        path,
        "a.parquet cannot be read as Parquet: row group 1 (rows 100 to 199): ",
        "fetch or write",
    )


def test_a_page_whose_checksum_is_wrong_is_damaged(tmp_path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415

    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(CHATS), path, write_page_checksum=True, compression="none")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"answer 128", b"answer 129", 1))

    assert path.read_bytes() != data
    refused(tmp_path, path, "a.parquet cannot be read as Parquet: row group 0 (rows 0 to 299): ", "CRC")


# ==== What is no file ====


def test_directories_where_files_are_expected(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").mkdir()

    refused(tmp_path, tmp_path / "chats.jsonl", "chats.jsonl' holds no data files")
    refused(tmp_path, tmp_path / "*.jsonl", "*.jsonl' matches no file")


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("gone.jsonl")

    for source in (tmp_path / "a.jsonl", tmp_path / "*.jsonl", tmp_path):
        refused(tmp_path, source, "a.jsonl is a link to gone.jsonl, which does not exist; fix the link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_pipes_sockets_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is opened: a pipe that nobody writes to would wait for ever."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("a.jsonl")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("b.jsonl")
        refused(tmp_path, "a.jsonl", "a.jsonl is a pipe, not a file")
        refused(tmp_path, "a*.jsonl", "a.jsonl is a pipe, not a file")
        refused(tmp_path, "b.jsonl", "b.jsonl is a socket, not a file")
        refused(tmp_path, "/dev/null", "/dev/null is a device, not a file")


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    source = Path(write(tmp_path / "a.jsonl", LINES))
    source.chmod(0)
    try:
        if os.access(source, os.R_OK):  # root may: a mock says what the system would
            denied = mock.patch.object(Path, "open", side_effect=PermissionError(13, "Permission denied"))
            with (
                denied,
                pytest.raises(SourceError, match="cannot be read: Permission denied; check its perm"),
            ):
                inspect_source(str(source))
        else:
            refused(tmp_path, source, "a.jsonl cannot be read: Permission denied; check its permissions")
    finally:
        source.chmod(0o600)


# ==== Files that change ====


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.jsonl.gz"])
def test_a_file_that_changes_while_the_run_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    make: dict[str, Callable[[], Any]] = {
        "a.jsonl": lambda: write_rows(path, CHATS),
        "a.json": lambda: write(path, ARRAY),
        "a.parquet": lambda: write_parquet(path, CHATS),
        "a.jsonl.gz": lambda: write(path, compressed(LINES, ".gz")),
    }
    make[name]()
    original = units.read_batches

    def changing(*arguments: Any) -> Any:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return original(*arguments)

    monkeypatch.setattr(units, "read_batches", changing)
    done = run(tmp_path, path)

    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert f"{name} was changed while the run read it; start again once it is complete" in done.err


def test_a_real_process_prints_no_traceback(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", ARRAY[:5000])
    done = process("run", source, "--tokenizer", TOKENIZER, "--output", tmp_path / "out")

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"does not end at byte 5000" in done.stderr
