"""The formats: what is asked of each, and that nobody asks for one by its name."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import premask
import pytest
from inputs import compressed, write, write_parquet
from premask.sources.cutting import whole
from premask.sources.formats import FORMATS, is_data, known_suffixes, split_name
from premask.sources.inspection import inspect_source
from premask.sources.reading import part_of, read_slice

PACKAGE = Path(premask.__file__).parent
ROWS = [{"n": n, "text": "x" * (n % 7)} for n in range(100)]
LINES = "\ufeff" + "".join(f"{json.dumps(row)}\n" for row in ROWS)


def files_of(folder: Path) -> dict[str, str]:
    return {
        "jsonl": write(folder / "a.jsonl", LINES),
        "jsonl.gz": write(folder / "a.jsonl.gz", compressed(LINES.encode(), ".gz")),
        "json": write(folder / "a.json", json.dumps(ROWS)),
        "csv": write(folder / "a.csv", "n,text\n" + "".join(f"{row['n']},{row['text']}\n" for row in ROWS)),
        "parquet": write_parquet(folder / "a.parquet", ROWS, group=30),
    }


def numbers(piece: object) -> list[int]:
    return [int(row.value["n"]) for row in read_slice(piece)]


def test_names_promise_formats() -> None:
    found = {
        name: split_name(name)
        for name in ("a.NDJSON", "b/a.tsv.ZST", "a.parquet", "https://x/a.json?b=c.csv")
    }

    assert {name: (form.name, packed) for name, (form, packed) in found.items()} == {
        "a.NDJSON": ("jsonl", None),
        "b/a.tsv.ZST": ("csv", "zstd"),
        "a.parquet": ("parquet", None),
        "https://x/a.json?b=c.csv": ("json", None),
    }
    assert [is_data(name) for name in ("a.parquet.gz", "a.txt", "gz", ".jsonl", "a.csv.gz")] == [
        False
    ] * 4 + [True]
    assert known_suffixes() == (
        ".jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, each but .parquet and .arrow also with .gz or .zst"
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.999])
def test_a_part_begins_at_a_share_of_the_rows_where_that_is_cheap(tmp_path: Path, share: float) -> None:
    found = {}
    for name, source in files_of(tmp_path).items():
        piece = whole(inspect_source(source))
        part = part_of(piece, share, 10)
        found[name] = None if part is None else numbers(part)

    assert {name for name, rows in found.items() if rows is None} == {"jsonl.gz", "json", "csv"}
    assert len(found["parquet"]) == 10
    assert abs(found["parquet"][0] - share * 90) <= 1
    for rows in (found["parquet"], found["jsonl"]):
        assert rows == list(range(rows[0], rows[0] + len(rows))) if rows else share > 0.99
    assert not found["jsonl"] or (found["jsonl"][-1] == 99 and abs(found["jsonl"][0] - share * 100) < 6)


def test_a_part_of_a_slice_ends_with_it(tmp_path: Path) -> None:
    info = inspect_source(files_of(tmp_path)["jsonl"])
    first, second = (each for each in _halves(info))

    assert numbers(part_of(first, 0.5, 10))[-1] == 49
    assert numbers(part_of(second, 0.5, 10))[-1] == 99
    assert numbers(first) + numbers(second) == list(range(100))


def _halves(info: object) -> list[object]:
    start, middle, end = FORMATS["jsonl"].cut(info, [0, 50, 100])
    piece = whole(info)
    return [
        piece._replace(stop_row=50, start_byte=start, end_byte=middle),
        piece._replace(start_row=50, stop_row=100, start_byte=middle, end_byte=end),
    ]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_nobody_asks_for_a_format_by_its_name(path: Path) -> None:
    """What differs between formats is in their own modules: `FORMATS[info.format]` says it."""
    compared = [
        ast.unparse(side)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
    ]

    assert [side for side in compared if side.endswith(".format")] == []
