"""A unit whose rows are labelled by several processes: the same batches, whoever labels what, and whoever dies."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inputs import write, write_parquet
from outputs import bytes_of
from places import SAMPLE, MakeBatches
from premask.core.recipe import Recipe
from premask.core.records import Slice
from premask.fast.plain_batches import read_batches
from premask.running.batches import BatchLabeller, LabelledBatch
from premask.running.run import run
from premask.running.runners.local import LocalRunner
from premask.running.sharing import PORTIONS, SharedSlice
from premask.sources.cutting import can_be_cut_again, plan_units, portions, whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice

ROWS = [
    {"messages": [{"role": "user", "content": f"Question {i}?"}, {"role": "assistant", "content": "Yes. " * (i % 9 + 1)}]}
    for i in range(300)
]  # fmt: skip


def _lines(rows: list[Any]) -> str:
    """JSONL with blank lines, lines that are no JSON, and no end of the last line."""
    lines = [json.dumps(row) for row in rows]
    for at in (1, 40, 41, 250):
        lines[at] = "" if at % 2 else "{"
    return "\n".join(lines)


@pytest.fixture(params=["jsonl", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "jsonl":
        return write(tmp_path / "rows.jsonl", _lines(ROWS))
    return write_parquet(tmp_path / "rows.parquet", ROWS, group=70)


@pytest.mark.parametrize("count", [1, 2, 7, 32, 1000])
@pytest.mark.parametrize("unit_rows", [None, 110])
def test_portions_have_the_rows_of_their_slice(source: str, count: int, unit_rows: int | None) -> None:
    info = inspect_source(source)
    assert can_be_cut_again(info)
    for unit in plan_units([info], unit_rows=unit_rows):
        for piece in unit.slices:
            found = portions(piece, count)
            assert 1 <= len(found) <= count
            assert [row for each in found for row in read_slice(each)] == list(read_slice(piece))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl.gz"])
def test_files_that_are_read_from_the_start_are_not_cut_again(tmp_path: Path, name: str) -> None:
    import gzip  # noqa: PLC0415

    data = json.dumps(ROWS).encode() if name.endswith("json") else gzip.compress(_lines(ROWS).encode())
    info = inspect_source(write(tmp_path / name, data))
    assert not can_be_cut_again(info)
    assert portions(whole(info), 7) == [whole(info)]


# ==== One slice, some processes ====


class _Labelling:
    """Labels portions, and notes which."""

    def __init__(self, batches: BatchLabeller) -> None:
        self.batches, self.done = batches, list[int]()

    def __call__(self, piece: Slice) -> Iterator[LabelledBatch]:
        self.done.append(piece.start_row)
        for batch in read_batches(piece, "openai"):
            yield from self.batches.parts(batch, "openai")


def _told(batches: Iterator[LabelledBatch]) -> list[Any]:
    """What batches have, one after another, however they are cut."""
    found: list[Any] = []
    for each in batches:
        found += each.samples.ids.tolist(), each.samples.labels.tolist(), each.numbers.tolist()
        found += each.samples.origin.to_pylist(), each.rejects, sorted(each.counted().items())
    return found


@pytest.fixture
def piece(source: str) -> Slice:
    return whole(inspect_source(source))


@pytest.fixture
def batches(make_batches: MakeBatches) -> BatchLabeller:
    return make_batches("sample", verify=0)


def _wanted(batches: BatchLabeller, piece: Slice) -> list[Any]:
    label = _Labelling(batches)
    return _told(batch for each in portions(piece, PORTIONS) for batch in label(each))


def test_without_helpers(batches: BatchLabeller, piece: Slice, tmp_path: Path) -> None:
    label = _Labelling(batches)

    assert _told(SharedSlice(tmp_path, 0, piece).batches(label)) == _wanted(batches, piece)
    assert len(label.done) == len(portions(piece, PORTIONS)) > 20


def test_a_helper_that_labels_all(batches: BatchLabeller, piece: Slice, tmp_path: Path) -> None:
    label, helper = _Labelling(batches), _Labelling(batches)
    SharedSlice(tmp_path, 0, piece).help(helper)

    assert _told(SharedSlice(tmp_path, 0, piece).batches(label)) == _wanted(batches, piece)
    assert label.done == []
    assert len(helper.done) == len(portions(piece, PORTIONS))
    assert not list(tmp_path.glob("*.arrow"))


@pytest.mark.parametrize("seed", range(4))
def test_helpers_that_come_at_any_time(
    batches: BatchLabeller, piece: Slice, tmp_path: Path, seed: int
) -> None:
    """A helper labels some portions between any two batches of the process that packs."""
    label, helper, draw = _Labelling(batches), _Labelling(batches), random.Random(seed)  # noqa: S311
    own, other = SharedSlice(tmp_path, 0, piece), SharedSlice(tmp_path, 0, piece)

    def taken() -> Iterator[LabelledBatch]:
        for batch in own.batches(label):
            for _ in range(draw.randrange(3)):
                other._help_once(helper)
            yield batch

    assert _told(taken()) == _wanted(batches, piece)
    assert label.done
    assert helper.done
    assert not {*label.done} & {*helper.done}


@pytest.mark.parametrize("dead", [{0}, {5, 6, 7}, {31}])
def test_portions_of_a_helper_that_died(
    batches: BatchLabeller, piece: Slice, tmp_path: Path, dead: set[int]
) -> None:
    """It had taken them, and what it had written has no name yet."""
    number = len(portions(piece, PORTIONS))
    for each in dead:
        (tmp_path / f"0-{min(each, number - 1)}.taken").touch()
        (tmp_path / f"0-{min(each, number - 1)}.part").write_bytes(b"ARROW1")
    label = _Labelling(batches)

    assert _told(SharedSlice(tmp_path, 0, piece).batches(label)) == _wanted(batches, piece)
    assert len(label.done) == number


def test_a_helper_of_a_unit_that_is_done(batches: BatchLabeller, piece: Slice, tmp_path: Path) -> None:
    helper = _Labelling(batches)
    SharedSlice(tmp_path / "gone", 0, piece).help(helper)

    assert helper.done == []
    assert not (tmp_path / "gone").exists()


# ==== Whole runs ====


def test_the_bytes_of_a_run_with_helpers(source: str, tmp_path: Path) -> None:
    """One unit, and two processes for it."""
    recipe = Recipe(
        sources=[source], tokenizer=str(SAMPLE / "tokenizer"), output=str(tmp_path / "one"), verify=0
    )
    run(recipe)
    other = recipe.model_copy(update={"output": str(tmp_path / "two")})
    run(other, make_runner=lambda _: LocalRunner(2))

    assert bytes_of(tmp_path / "two") == bytes_of(tmp_path / "one")
    assert not list(tmp_path.glob(".*"))
