"""The cache of labelled rows, for sources that grow: what is labelled again, and that no byte depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from commands import TOKENIZER, chat, premask, write_rows
from premask.core.recipe import Recipe
from premask.running import cache as cache_module
from premask.running.batches import BatchLabeller
from premask.running.run import RunResult, run
from premask.sources import cutting


def rows(first: int, stop: int) -> list[Any]:
    return [chat(f"Question {i}", f"Answer {i} {'more ' * (i % 7)}") for i in range(first, stop)]


def run_on(out: Path, *sources: Path, cache: Path | None, **keys: Any) -> RunResult:
    values = {"sources": [str(each) for each in sources], "tokenizer": TOKENIZER, "output": str(out)}
    both = {"layout": ["packed", "unpacked"], "cache": None if cache is None else str(cache)}
    return run(
        Recipe.model_validate({**values, **both, "max_length": 512, **keys}), workers=keys.pop("workers", 1)
    )


def bytes_of(out: Path) -> dict[str, bytes]:
    kinds = ("packed", "unpacked", "rejects", "lineage")
    return {str(path.relative_to(out)): path.read_bytes() for kind in kinds for path in out.glob(f"{kind}/*")}


@pytest.fixture
def small_blocks() -> Any:
    """Blocks and units of few rows."""
    with mock.patch.object(cache_module, "BLOCK_ROWS", 16), mock.patch.object(cutting, "UNIT_BYTES", 8000):
        yield


class Seen:
    """Counts the rows that are labelled."""

    def __init__(self) -> None:
        self.rows = 0

    def __enter__(self) -> Seen:
        real, seen = BatchLabeller.parts, self

        def parts(self: BatchLabeller, batch: Any, *args: Any) -> Any:
            seen.rows += len(batch)
            return real(self, batch, *args)

        self._patch = mock.patch.object(BatchLabeller, "parts", parts)
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


@pytest.mark.usefixtures("small_blocks")
def test_rows_at_the_end_of_a_file(tmp_path: Path) -> None:
    """Units begin elsewhere after that; only the blocks at old and new seams are labelled again."""
    path = tmp_path / "chats.jsonl"
    cache = tmp_path / "cache"
    first = run_on(tmp_path / "first", Path(write_rows(path, rows(0, 200))), cache=cache)
    assert first.rows_from_cache == 0
    with Seen() as seen:
        grown = run_on(tmp_path / "grown", Path(write_rows(path, rows(0, 230))), cache=cache)
    fresh = run_on(tmp_path / "fresh", path, cache=None)
    units = len(list((tmp_path / "grown" / "packed").iterdir()))

    assert units > 1
    assert bytes_of(tmp_path / "grown") == bytes_of(tmp_path / "fresh")
    assert fresh.rows_from_cache is None
    assert 30 <= seen.rows <= 30 + 16 * (2 * units + 1)
    assert grown.rows_from_cache == 230 - seen.rows


def test_a_new_file_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "a.jsonl", rows(0, 50))
    run_on(tmp_path / "first", folder / "*.jsonl", cache=tmp_path / "cache")
    write_rows(folder / "0.jsonl", rows(100, 120))
    with Seen() as seen:
        grown = run_on(tmp_path / "grown", folder / "*.jsonl", cache=tmp_path / "cache", shuffle=True)
    run_on(tmp_path / "fresh", folder / "*.jsonl", cache=None, shuffle=True)

    assert seen.rows == 20
    assert grown.rows_from_cache == 50
    assert bytes_of(tmp_path / "grown") == bytes_of(tmp_path / "fresh")


@pytest.mark.usefixtures("small_blocks")
def test_a_changed_row_is_labelled_again(tmp_path: Path) -> None:
    """Of the same length, so that all rows are where they were."""
    path, cache = Path(write_rows(tmp_path / "chats.jsonl", rows(0, 64))), tmp_path / "cache"
    run_on(tmp_path / "first", path, cache=cache)
    path.write_text(path.read_text().replace("Answer 20", "answer 20"))
    with Seen() as seen:
        run_on(tmp_path / "again", path, cache=cache)
    run_on(tmp_path / "fresh", path, cache=None)

    assert 1 <= seen.rows <= 16
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "fresh")


@pytest.mark.usefixtures("small_blocks")
def test_rows_that_a_setting_leaves_out_are_counted_once(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "chats.jsonl", rows(0, 100))
    source: Any = [{"path": str(path), "sample": 0.3, "limit": 90}]
    results = [
        run_on(tmp_path / name, path, cache=cache, sources=source)
        for name, cache in (("one", tmp_path / "cache"), ("two", tmp_path / "cache"), ("fresh", None))
    ]

    assert results[0].manifest["inputs"] == results[1].manifest["inputs"] == results[2].manifest["inputs"]
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two") == bytes_of(tmp_path / "fresh")


def test_the_summary_says_how_many_rows_are_from_the_cache(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "chats.jsonl", rows(0, 20))
    words = ["run", path, "--tokenizer", TOKENIZER, "--cache", tmp_path / "cache", "--workers", 1]
    first = premask(*words, "--output", tmp_path / "one")
    again = premask(*words, "--output", tmp_path / "two", "--max-length", 4096, "--pad-to-multiple", 8)

    assert "cache    0 of 20 rows were tokenized by an earlier run" in first.out
    assert "cache    20 of 20 rows were tokenized by an earlier run" in again.out
