"""What the local runner and its workers report of tasks that are not done yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, chat, write_rows
from premask.core.recipe import Recipe
from premask.running.inputs import look_at
from premask.running.run import local, prepare, run
from premask.running.runners import copies
from premask.running.runners.local import _Counted
from premask.running.runners.process import may_fork
from premask.running.runners.worker import Worker
from premask.running.tasks import Progress, Task
from premask.running.units import run_unit

ROWS = 3000


class Seen(Progress):
    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        self.calls.append((rows, tokens, packs))

    @property
    def sums(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*self.calls, strict=True)))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", f"Answer {i}") for i in range(ROWS)])
    values: dict[str, Any] = {"sources": [source], "tokenizer": TOKENIZER, "output": str(tmp_path / "out")}
    return Recipe.model_validate(values)


def test_a_worker_reports_rows_within_a_unit(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not may_fork():
        pytest.skip("a worker that is a copy of this process needs one without other threads")
    monkeypatch.setattr(copies, "REPORT_S", 0)
    prepared = prepare(look_at(recipe))
    work, worker, seen = prepared.work, Worker(), Seen()
    task = Task(work.units[0], work.dialects, tmp_path / "unit", "key", tmp_path / "failures.json")
    try:
        worker.fork(prepared.batches)
        record = worker.do(prepared.batches.setup(), run_unit, task, seen)
    finally:
        worker.end()

    assert len(seen.calls) > 2
    assert seen.sums == (ROWS, record.tokens, record.packs)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_that_is_reported_is_what_was_done(recipe: Recipe, workers: int) -> None:
    seen = Seen()
    counts = run(recipe, make_runner=local(workers), progress=seen).manifest["counts"]

    assert seen.sums == (ROWS, counts["tokens"], counts["packs"])


def test_what_a_failed_task_reported_is_taken_back() -> None:
    seen = Seen()
    counted = _Counted(seen)
    counted.advance(10, 100, 1)
    counted.settle(0, 0, 0)
    counted.settle(7, 70, 2)

    assert seen.calls == [(10, 100, 1), (-10, -100, -1), (7, 70, 2)]
