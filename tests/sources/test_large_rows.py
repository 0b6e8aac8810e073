"""Rows that are too large: one line of the reject log each, whatever the format; the rows after them are read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, chat, premask
from inputs import compressed, read_units, write
from premask.core.errors import RecipeError, SourceError
from premask.core.recipe_file import make_recipe
from premask.core.records import Row
from premask.core.strict_json import TooManyValuesError, parse_json
from premask.fast.plain_batches import read_batches
from premask.sources import files
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.large_rows import Cut, Growing, lines_of
from premask.sources.listing import find_sources
from premask.sources.reading import read_slice
from premask.sources.row_sizes import row_sizes
from premask.sources.where import condition

LIMIT = 1000
TEXTS = ["a", "b" * 5000, "c", "d" * 1_500_000, "", "e"]
ROWS = [chat(f"question {text}", "answer") for text in TEXTS]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
CELLS = "question,answer\n" + "".join(f'"q, ""{text}""\n",answer\n' for text in TEXTS)


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), target, **options)
    return target.getvalue()


FILES = {
    "a.jsonl": LINES,
    "b.jsonl": LINES.replace(b"\n", b"\r\n"),
    "a.jsonl.gz": compressed(LINES, ".gz"),
    "a.jsonl.zst": compressed(LINES, ".zst"),
    "a.json": json.dumps(ROWS, indent=1).encode(),
    "a.json.gz": compressed(json.dumps(ROWS).encode(), ".gz"),
    "a.csv": CELLS.encode(),
    "a.csv.gz": compressed(CELLS.encode(), ".gz"),
    "a.parquet": parquet(ROWS),
    "b.parquet": parquet(ROWS, row_group_size=2, use_dictionary=False),
}


def rows_within(source: str, limit: int = LIMIT) -> list[Row]:
    return list(read_slice(whole(replace(inspect_source(source), max_row_bytes=limit))))


@pytest.mark.parametrize("name", FILES)
def test_large_rows_are_listed_and_the_others_read(tmp_path: Path, name: str) -> None:
    rows = rows_within(write(tmp_path / name, FILES[name]))

    assert [row.row for row in rows] == [*range(len(TEXTS))]
    assert [row.row for row in rows if row.reason == "row_too_large"] == [1, 3]
    assert all(row.value is None and "max_row_bytes is 1,000" in str(row.error) for row in (rows[1], rows[3]))
    assert all(len(str(row.original)) < 1100 and "(cut, " in str(row.original) for row in (rows[1], rows[3]))
    assert [row.error for row in rows].count(None) == 4


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.csv"])
def test_units_and_batches_have_the_same_rows(tmp_path: Path, name: str) -> None:
    info = replace(inspect_source(write(tmp_path / name, FILES[name])), max_row_bytes=LIMIT)
    expected = list(read_slice(whole(info)))

    assert read_units([info], 2) == expected
    batches = list(read_batches(whole(info), "openai"))
    assert [batch.row(i) for batch in batches for i in range(len(batch))] == expected
    shaped = {int(batch.numbers[i]) for batch in batches for i in batch.shaped.index}
    assert not shaped & {1, 3}


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1 << 20])
def test_lines_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr(files, "CHUNK", cut)
    data = b"ab\n\nabcdef\nabcde\n" + b" " * 9 + b"\nx"

    found = [
        line
        for each in lines_of(io.BytesIO(data), 5)
        for line in (each if isinstance(each, list) else [each])
    ]

    assert found == [b"ab", b"", Cut(b"abcdef", 6), b"abcde", Cut(b" " * 9, 9, blank=True), b"x"]


def test_growing_keeps_a_head_only() -> None:
    growing = Growing(10)
    for _ in range(1000):
        growing.add(b"x" * 100)

    assert growing.take() == Cut(b"x" * 1000, 100_000)
    growing.add(b"y")
    assert growing.take() == b"y"


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    line = json.dumps(ROWS[0]).encode()
    source = write(tmp_path / "a.jsonl", line + b"\n")

    assert [row.error for row in rows_within(source, len(line))] == [None]
    assert [row.reason for row in rows_within(source, len(line) - 1)] == ["row_too_large"]


def test_texts_with_millions_of_values_are_not_parsed() -> None:
    with pytest.raises(TooManyValuesError, match="more than 4,000,000 values and keys"):
        parse_json("[" + "[]," * 3_000_000 + "[]]")
    assert len(parse_json(json.dumps([",:[{" * 3_000_000]))) == 1


def test_the_recipe_takes_sizes_as_people_write_them() -> None:
    least = {"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out"}

    assert [
        make_recipe({**least, "max_row_bytes": size}).max_row_bytes for size in (5, "5", "2MB", "1 KiB")
    ] == [*(5, 5, 2_000_000, 1024)]
    for wrong in ("much", 0, "-1", "3GB"):
        with pytest.raises(RecipeError, match="max_row_bytes"):
            make_recipe({**least, "max_row_bytes": wrong})


def test_a_run_lists_large_rows_and_verify_agrees(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.jsonl", LINES), tmp_path / "out"
    words = ["--tokenizer", TOKENIZER, "--workers", 1, "--max-row-bytes", "1kB", "--output", out]

    assert premask("run", source, *words).code == 0
    assert premask("verify", out, "--full").code == 0
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    assert counts["rejected_by_reason"]["row_too_large"] == 2


# ==== Parquet ====


def test_sizes_of_rows_count_entries_of_dictionaries_for_each_row() -> None:
    column = pa.array([["ab", None], None, ["ab", "c"]], pa.list_(pa.string()))
    table = pa.RecordBatch.from_pydict({"a": column, "b": pa.array(["xyz"] * 3).dictionary_encode()})

    assert row_sizes(table).tolist() == [5, 3, 6]
    assert row_sizes(table.slice(1)).tolist() == [3, 6]


_READ = """
import resource, sys
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_blocks
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
print(sum(len(block.numbers) for block in read_blocks(whole(inspect_source(sys.argv[1])), 1024)))
"""


@pytest.mark.parametrize("nested", [True, False])
def test_a_dictionary_does_not_become_gigabytes(tmp_path: Path, *, nested: bool) -> None:
    """2,000 rows of 4 MB each would be 8 GB."""
    text = "a" * 4_000_000
    rows = [chat("question", text) if nested else {"text": text}] * 2000
    schema = pa.Table.from_pylist(rows[:1]).schema
    one = pa.Table.from_pylist(rows[:1], schema)
    indices = pa.array([0] * 2000, pa.int32())
    if nested:
        turns = one["messages"].chunk(0).flatten()
        fields = [
            pa.DictionaryArray.from_arrays(pa.array([0, 1] * 2000, pa.int32()), each)
            for each in turns.flatten()
        ]
        structs = pa.StructArray.from_arrays(fields, names=[field.name for field in turns.type])
        table = pa.table(
            {"messages": pa.ListArray.from_arrays(pa.array(range(0, 4001, 2), pa.int32()), structs)}
        )
    else:
        table = pa.table({"text": pa.DictionaryArray.from_arrays(indices, one["text"].chunk(0))})
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)

    done = subprocess.run(
        [sys.executable, "-c", _READ, path], capture_output=True, check=False, env=dict(os.environ)
    )

    assert (done.stdout.decode().strip(), done.returncode) == ("2000", 0), done.stderr.decode()[-500:]


def test_plain_pages_that_are_all_compression_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({"text": ["a" * 60_000_000] * 10})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)

    with pytest.raises(SourceError, match=r"row group 0: text becomes 600,000,0\d\d bytes from"):
        list(read_slice(whole(inspect_source(path.as_posix()))))


# ==== Compression, names, conditions ====


def test_compressed_text_that_comes_from_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST", 1 << 22)
    source = write(tmp_path / "a.jsonl.gz", compressed(b'{"a": 1}\n' + b"\n" * (1 << 23), ".gz"))

    with pytest.raises(SourceError, match="is nearly all compression"):
        inspect_source(source)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("inside", [True, False])
def test_a_name_that_is_not_utf8_is_one_line(tmp_path: Path, *, inside: bool) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    Path(os.fsdecode(path)).write_bytes(LINES)

    with pytest.raises(SourceError, match=r"caf\\xe9.jsonl is not UTF-8; rename the file"):
        find_sources([str(tmp_path) if inside else os.fsdecode(path)])


@pytest.mark.parametrize(
    "where",
    [
        "replace(a, 'x', a) = 'q'",
        "replace(replace(a, 'x', 'yyyyyyyyyy'), 'y', 'zzzzzzzzzz') = 'q'",
        f"regexp_replace(a, 'x', '{'$0' * 40}') = 'q'",
        f"array_to_string(string_to_array(a, ''), '{'y' * 100}') = 'q'",
        f"concat({', '.join('a' * 100)}) = 'q'",
        f"{' || '.join('a' * 100)} = 'q'",
        "cast(a as decimal(1000000, 1000)) > 0",
        "a = '\ud800'",
        f"f{'f' * 10_000}(a) > 0",
        "a in (select * from read_parquet('/etc/passwd'))",
        "a > 0" + " or a > 0" * 5000,
    ],
)
def test_conditions_that_take_all_memory_are_refused_in_one_line(where: str) -> None:
    with pytest.raises(RecipeError) as error:
        condition(where)

    assert len(str(error.value)) < 700
    assert "\n" not in str(error.value)


def test_row_arguments_do_not_replace_tokens_of_the_tokenizer(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "chat_template_kwargs": {name: "X"}} for name in ("bos_token", "eos_token")]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in [*rows, ROWS[0]]))

    done = premask("run", source, "--tokenizer", TOKENIZER, "--workers", 1, "--output", tmp_path / "out")

    assert done.code == 0
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert counts["rejected_by_reason"] == {"wrong_type": 2}
