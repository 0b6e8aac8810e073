"""Which files an entry of `sources` names, and what it takes of them, through the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, Done, chat, premask, write_rows
from inputs import write, write_parquet
from outputs import bytes_of
from premask.core.errors import SourceError
from premask.core.source_entry import Source
from premask.sources.cutting import whole
from premask.sources.listing import find_sources, inspect_sources
from premask.sources.reading import read_slice

ROWS = [
    chat(f"question {n}", f"answer {n**5}", id=f"id-{n}", score=n % 10, meta={"lang": ("en", "de")[n % 2]})
    for n in range(400)
]


def run(out: Path, *sources: Any, workers: int = 1) -> Done:
    recipe = out.with_suffix(".yaml")
    recipe.write_text(json.dumps({"sources": list(sources), "tokenizer": TOKENIZER, "output": str(out)}))
    return premask("run", recipe, "--workers", workers, "--unit-rows", 90)


def rows_in(out: Path, kind: str = "lineage") -> list[int]:
    tables = [pq.read_table(path) for path in sorted((out / kind).glob("*.parquet"))]
    return sorted(row for table in tables for row in table.column("row").to_pylist())


def files_of(folder: Path) -> list[str]:
    return [
        write_rows(folder / "a.jsonl", ROWS),
        write(folder / "a.json", json.dumps(ROWS)),
        write_parquet(folder / "a.parquet", ROWS),
    ]


def test_options_reach_the_output_and_it_verifies(tmp_path: Path) -> None:
    """The last rows are left out, so that the last batch of a unit has none."""
    taken = [n for n in range(300) if n % 10 > 3 and n % 2 == 0 and n < 200]
    for number, path in enumerate(files_of(tmp_path)):
        out = tmp_path / f"out-{number}"
        where = "score > 3 AND meta.lang = 'en' AND CAST(SUBSTR(id, 4) AS INT) < 200"
        done = run(out, {"path": path, "limit": 300, "where": where, "columns": ["messages", "id"]})

        assert done.code == 0, done.err
        assert rows_in(out) == taken
        (given,) = json.loads((out / "manifest.json").read_text())["inputs"]
        left_out = sum(given["left_out"].values())
        assert (given["rows"] - left_out, given["kept"], given["sha256"]) == (
            len(taken),
            len(taken),
            inspect_sources([Source(path=path)])[0].sha256,
        )
        checked = premask("verify", out, "--full", "--format", "json")
        assert checked.code == 0, checked.out
        assert json.loads(checked.out)["checked"]["rows_redone"] == len(taken)


def test_the_ledger_shows_only_the_columns_that_are_read(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "x", "messages": [], "secret": "s"}]
    for number, path in enumerate(
        [write_rows(tmp_path / "a.jsonl", rows), write_parquet(tmp_path / "a.parquet", rows)]
    ):
        out = tmp_path / f"out-{number}"
        assert run(out, {"path": path, "columns": ["messages", "id"]}).code == 0
        (row,) = [
            row for file in sorted((out / "rejects").glob("*")) for row in pq.read_table(file).to_pylist()
        ]
        assert json.loads(row["original"]) == {"id": "x", "messages": []}


def test_explain_keeps_to_them_too(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    source = {"path": write_rows(tmp_path / "a.jsonl", ROWS), "where": "score = 7", "limit": 30}
    recipe.write_text(json.dumps({"sources": [source], "tokenizer": TOKENIZER, "output": "-"}))
    done = premask("explain", recipe, "--format", "json")

    assert [json.loads(line)["row"] for line in done.out.splitlines()] == [7, 17, 27]


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    """Of arrays that are cut, with a condition and a sample."""
    write(tmp_path / "in" / "a.json", json.dumps(ROWS, indent=2))
    write(tmp_path / "in" / "b.json", json.dumps(ROWS))
    source = {"path": str(tmp_path / "in"), "where": "score < 8", "sample": 0.6}
    for workers in (1, 2):
        done = run(tmp_path / str(workers), source, workers=workers)
        assert done.code == 0, done.err
    one, two = (bytes_of(tmp_path / name) for name in "12")

    assert len([name for name in one if name.startswith("packed/")]) == 9
    assert one == two
    assert 0.5 < len(rows_in(tmp_path / "1")) / 640 < 0.7


def test_nothing_left_is_said(tmp_path: Path) -> None:
    done = run(tmp_path / "out", {"path": write_rows(tmp_path / "a.jsonl", ROWS), "where": "score > 100"})

    assert done.code == 2
    assert "every row was left out (400 left out by where); nothing was written" in done.err


def test_the_seed_changes_the_sample(tmp_path: Path) -> None:
    source = Source(path=write_rows(tmp_path / "a.jsonl", ROWS), sample=0.5)
    found = [
        [row.row for info in inspect_sources([source], seed=seed) for row in read_slice(whole(info))]
        for seed in (0, 0, 1)
    ]

    assert found[0] == found[1] != found[2]


def test_sources_keep_their_order(tmp_path: Path) -> None:
    names = ["b.jsonl", "a.jsonl", "sub/c.jsonl"]
    paths = [write(tmp_path / name, json.dumps(ROWS[0])) for name in names]
    entries = [Source(path=paths[2]), Source(path=f"{tmp_path}/*.jsonl"), Source(path=str(tmp_path))]

    infos = inspect_sources(entries)
    assert [(info.source, info.entry) for info in infos] == [(paths[2], 0), (paths[1], 1), (paths[0], 1)]


@pytest.mark.parametrize("path", ["no/such", "nowhere/chats"])
def test_a_name_that_is_neither_file_nor_dataset(tmp_path: Path, path: str) -> None:
    """The tests are offline; `test_hub_datasets.py` asks a Hub."""
    done = run(tmp_path / "out", path)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert (
        f"'{path}' is no file here (looked from {Path.cwd()}), and as a dataset of the Hub: HF_HUB_O"
        in done.err
    )


# ==== Which files there are ====


def test_paths_directories_and_globs_are_expanded_in_order_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patterns keep their order, what one yields is sorted, and a file named twice is read once."""
    for name in ("b.jsonl", "a.jsonl", "sub/deep/c.json.gz", "sub/notes.txt", "sub/.hidden.json", "z[1].csv"):
        write(tmp_path / name, "{}")
    monkeypatch.chdir(tmp_path)

    assert list(find_sources(["*.jsonl"])) == ["a.jsonl", "b.jsonl"]
    assert find_sources(["b.jsonl", "*.jsonl", "./b.jsonl"]) == {"b.jsonl": 0, "a.jsonl": 1}
    assert list(find_sources(["**/*.json.gz", "z[1].csv"])) == ["sub/deep/c.json.gz", "z[1].csv"]
    assert list(find_sources(["sub"])) == list(find_sources(["sub/"])) == ["sub/deep/c.json.gz"]
    assert list(find_sources([tmp_path.as_posix()])) == [
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
