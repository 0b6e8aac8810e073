"""Processes that die, rows that take them down, interrupts: the run goes on, or ends with one line and can go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import HANG_S, ROOT, SAMPLE, TOKENIZER, Done, command_line, wait_until, without_progress
from outputs import bytes_of
from poison import poisoned, processes_started, switch_off, switch_on
from premask.core.recipe import Recipe
from premask.output.dataset import open_dataset
from premask.review.verify import verify
from premask.running.run import run
from premask.running.runners.local import LocalRunner
from premask.running.tasks import Progress

ROWS = 360
UNIT = 60
POISON = 100  # a row of the second unit


def write_input(path: Path) -> None:
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    rows = [lines[i % len(lines)].replace('"value": "', f'"value": "({i}) ', 1) for i in range(ROWS)]
    good = next(line for line in rows if '"gpt"' in line)
    rows[POISON] = good.replace('"value": "', '"value": "XYZZY ', 1)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run gives."""
    folder = tmp_path_factory.mktemp("plain")
    before = Path.cwd()
    os.chdir(folder)
    try:
        write_input(Path("a.jsonl"))
        values = {"sources": ["a.jsonl"], "tokenizer": TOKENIZER, "output": "out", "unit_rows": UNIT}
        run(Recipe.model_validate(values))
        return bytes_of(Path("out"))
    finally:
        os.chdir(before)


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the input and a `sitecustomize` that can poison."""
    monkeypatch.setattr(os, "environ", poisoned(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_input(Path("a.jsonl"))
    return tmp_path


def words(*more: object) -> list[str]:
    return command_line(
        "run", "a.jsonl", "--tokenizer", TOKENIZER, "--output", "out", "--unit-rows", UNIT, *more
    )


def command(*more: object) -> Done:
    done = subprocess.run(words(*more), env=os.environ, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def crashed(out: Path) -> list[dict[str, Any]]:
    lines = pq.read_table(out / "rejects").to_pylist()
    return [line for line in lines if line["reason"] == "crashed"]


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


# ==== Rows that kill their process ====


@pytest.mark.parametrize(
    ("what", "workers", "attempts", "why"),
    [
        ("kill", 1, 1, "its process ended by SIGKILL (out of memory?)"),
        ("kill", 2, 3, "its process ended by SIGKILL (out of memory?)"),
        ("raise", 2, 1, "IndexError: nothing should raise this"),
        ("panic", 2, 1, "Panic: a library in Rust"),
        ("too-slow", 1, 1, "its process ended by SIGVTALRM (too much CPU time)"),
    ],
)
def test_only_the_row_that_kills_is_skipped(
    box: Path, plain: dict[str, bytes], what: str, workers: int, attempts: int, why: str
) -> None:
    switch_on(box, "XYZZY", what)
    done = command("--workers", workers, "--attempts", attempts)

    assert done.code == 1, done.err
    assert done.err.count(f"row {POISON} of a.jsonl skipped: ") == 1
    lines = crashed(Path("out"))
    assert [line["row"] for line in lines] == [POISON]
    assert all(line["detail"].startswith(why) and "XYZZY" in line["original"] for line in lines)
    manifest = open_dataset(Path("out")).manifest.as_dict()
    whole = manifest["counts"]
    assert whole["rows"] == ROWS == whole["kept"] + whole["rejected"]
    assert whole["rejected_by_reason"]["crashed"] == 1
    assert [(each["unit"], each["rows"]) for each in manifest["set_aside"]] == [(1, 1)]
    found = bytes_of(Path("out"))
    assert verify(str(Path("out")), full=True).findings == ()
    shards = {name for name in found if name.startswith("packed/")}
    other = {name for name in shards if name.split("-")[1] != "00001"}
    assert (len(shards), len(other)) == (6, 5)
    assert {name: found[name] for name in other} == {name: plain[name] for name in other}

    if what == "raise":
        again = command("--workers", 1, "--attempts", 1)
        assert (again.code, again.err.count("searching for the cause")) == (1, 1)
        assert bytes_of(Path("out")) == found

    switch_off(box)
    again = command("--workers", workers)

    assert again.code == 0, again.err
    assert bytes_of(Path("out")) == plain
    assert names() == ["a.jsonl", "out"]


@pytest.mark.parametrize(("what", "processes"), [("raise", 2), ("kill", 4)])
def test_many_rows_are_skipped_by_few_processes(box: Path, what: str, processes: int) -> None:
    """The driver and a worker, and once another one of both if they are killed: no row takes a process of its
    own to start."""
    rows = Path("a.jsonl").read_text(encoding="utf-8").split("\n")
    rows[5:ROWS:20] = [rows[POISON].replace("XYZZY", f"XYZZY {at}") for at in range(5, ROWS, 20)]
    Path("a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    switch_on(box, "XYZZY", what)
    done = command("--workers", 1)

    assert done.code == 1, done.err
    assert [line["row"] for line in crashed(Path("out"))] == sorted([*range(5, ROWS, 20), POISON])
    assert processes_started(box) <= processes
    assert "Traceback" not in done.err


def test_too_little_memory_is_no_fault_of_a_row(box: Path, plain: dict[str, bytes]) -> None:
    switch_on(box, "XYZZY", "memory")
    for workers in (1, 2):
        done = command("--workers", workers)
        said = without_progress(done.err)
        assert (done.code, said.count("\n")) == (2, 1), said
        assert said.startswith("premask: memory is short (MemoryError"), said
        assert said.endswith("with more memory, or with fewer workers\n")
    switch_off(box)

    assert command("--workers", 2).code == 0
    assert bytes_of(Path("out")) == plain


def test_rows_that_kill_only_together_are_skipped_with_their_batch(
    box: Path, plain: dict[str, bytes]
) -> None:
    rows = Path("a.jsonl").read_text(encoding="utf-8").split("\n")
    rows[110] = rows[POISON]
    Path("a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    switch_on(box, "XYZZY", "kill-two")
    done = command("--workers", 2, "--attempts", 1)

    assert done.code == 1, done.err
    assert [line["row"] for line in crashed(Path("out"))] == list(range(60, 120))
    assert open_dataset(Path("out")).manifest.counts.rows == ROWS


def test_duplicates_and_a_shuffle_around_a_row_that_kills(box: Path) -> None:
    more = ("--duplicates", "drop", "--shuffle", "--splits", "validation=0.1", "--workers", 2)
    switch_on(box, "XYZZY", "kill")
    done = command(*more, "--attempts", 1)
    assert done.code == 1, done.err
    assert [line["row"] for line in crashed(Path("out"))] == [POISON]
    switch_off(box)

    assert command(*more).code == 0
    assert command(*more, "--output", "other").code == 0
    assert bytes_of(Path("out")) == bytes_of(Path("other"))


# ==== Processes that are killed from outside ====


class _KillsWorkers(Progress):
    """Kills all other processes of a runner once they are at work; the caller of `say` waits for that."""

    def __init__(self, runner: LocalRunner) -> None:
        self._runner, self.killed = runner, 0
        self.said: list[str] = []

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        del rows, tokens, packs
        if not self.killed:
            for other in self._runner._others:
                wait_until(lambda other=other: other._setup is not None)
                other._process.kill()
                self.killed += 1

    def say(self, text: str) -> None:
        self.said.append(text)


def test_workers_that_are_killed_are_replaced(box: Path) -> None:
    del box
    values = {"sources": ["a.jsonl"], "tokenizer": TOKENIZER, "unit_rows": ROWS // 60}
    run(Recipe.model_validate(values | {"output": "plain"}))
    runner = LocalRunner(3)
    killer = _KillsWorkers(runner)
    result = run(
        Recipe.model_validate(values | {"output": "out"}), make_runner=lambda _: runner, progress=killer
    )

    assert killer.killed == 2
    assert [text for text in killer.said if "(1 of 3): its process ended by SIGKILL" in text]
    assert result.skipped_rows == 0
    assert bytes_of(Path("out")) == bytes_of(Path("plain"))
    assert names() == ["a.jsonl", "out", "plain"]


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


def finished_units() -> int:
    return len(list(Path(".out.partial/units").glob("[0-9]*")))


@pytest.fixture
def started(box: Path) -> Iterator[Any]:
    """Starts the command; what is left of it is killed at the end."""
    del box
    running: list[subprocess.Popen[str]] = []

    def start(*more: object) -> subprocess.Popen[str]:
        each = subprocess.Popen(
            words(*more), env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=hear_interrupts,  # noqa: PLW1509  no thread runs here
        )  # fmt: skip
        running.append(each)
        return each

    yield start
    for each in running:
        each.kill()
        each.communicate()


def hear_interrupts() -> None:
    """A process started in the background of a shell inherits that SIGINT is ignored; this one must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@needs_proc
def test_a_run_whose_own_process_is_killed_starts_again_by_itself(
    started: Any, plain: dict[str, bytes]
) -> None:
    process = started("--workers", 1)
    wait_until(lambda: finished_units() >= 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=HANG_S)

    assert process.returncode == 0, said
    assert "premask: the process of the run was ended by SIGKILL; a new one continues\n" in said
    assert bytes_of(Path("out")) == plain
    assert names() == ["a.jsonl", "out"]


@needs_proc
def test_nothing_outlives_a_run_that_is_killed(started: Any, plain: dict[str, bytes]) -> None:
    process = started("--workers", 2)
    wait_until(lambda: finished_units() >= 1)
    below = children(process.pid)
    process.kill()
    process.wait()
    assert len(below) >= 2
    wait_until(lambda: not any(map(is_alive, below)))
    process.communicate()

    assert command("--workers", 2).code == 0
    assert bytes_of(Path("out")) == plain
    assert names() == ["a.jsonl", "out"]


# ==== Interrupted and terminated ====


@needs_proc
@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGINT, after) for after in (0.05, 0.5, 1.0, 1.5, None)]
    + [(signal.SIGTERM, after) for after in (0.3, None)],
)
def test_a_signal_at_any_moment_ends_with_one_line(
    started: Any, plain: dict[str, bytes], number: signal.Signals, after: float | None
) -> None:
    """While modules are imported, workers start, stages are loaded, and in the work."""
    process = started("--workers", 2)
    if after is None:
        wait_until(lambda: finished_units() >= 1 or process.poll() is not None)
    else:
        wait_until(lambda: catches(process.pid, signal.SIGTERM))  # before, Python itself starts
        time.sleep(after)
    below = children(process.pid)
    process.send_signal(number)
    out, said = process.communicate(timeout=HANG_S)
    if process.returncode == 0:
        assert bytes_of(Path("out")) == plain
        pytest.skip("the run had ended before")

    what = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    text = f"premask: {what}; finished work is kept, run the same command again to continue\n"
    assert (process.returncode, out, without_progress(said)) == (128 + number, "", text)
    wait_until(lambda: not any(map(is_alive, below)))
    assert [name for name in names() if name.endswith(".lock")] == []
    if after is None:
        assert command("--workers", 2).code == 0
        assert bytes_of(Path("out")) == plain


def test_help_of_the_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "premask", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout[:7]) == (0, "premask")
