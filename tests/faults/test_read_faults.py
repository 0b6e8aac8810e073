"""Sources that cannot be read to their end: bad disks, files that change or go, servers that fail.

The run ends with one line that names the file; what was done is kept, and once the file is mended the same
command goes on to the bytes of an undisturbed run.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from commands import ROOT, TOKENIZER, Done, command_line, premask, process, without_progress
from faults import ENVIRON, hashes, sample_lines, write_lines
from inputs import write_parquet
from premask.output.directory import Output
from premask.review.terminal.progress import LineProgress
from web_server import Web

ROWS = 120
GOOD = [json.loads(line) for line in sample_lines(18)]


_UNDISTURBED: dict[str, dict[str, str]] = {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs are started: a file of each kind of reader, each of several units where it can be cut."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "fetched"))
    lines = sample_lines(ROWS)
    write_lines(tmp_path / "a.jsonl", lines)
    write_parquet(tmp_path / "b.parquet", GOOD * 5, group=30)
    content = "".join(f"{line}\n" for line in lines).encode()
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(content, mtime=0))
    return tmp_path


def recipe_of(folder: Path, sources: list[Any], out: str) -> Path:
    recipe = {"sources": sources, "tokenizer": TOKENIZER, "max_length": 1024, "unit_rows": 30}
    path = folder / f"{out}.yaml"
    path.write_text(json.dumps({**recipe, "output": out}))
    return path


def undisturbed(folder: Path, sources: list[Any]) -> dict[str, str]:
    """The hashes of a run in which nothing happens; of the same files in any folder they are the same."""
    key = json.dumps(sources)
    if key not in _UNDISTURBED:
        done = premask("run", recipe_of(folder, sources, "plain"), "--workers", 1)
        assert done.code == 0, done.err
        _UNDISTURBED[key] = hashes(folder / "plain")
    return _UNDISTURBED[key]


def units_of(folder: Path) -> dict[str, int]:
    """The finished units and which directory each is, to see whether one was done again."""
    units = folder.glob(".out.partial/units/[0-9]*")
    return {unit.name: unit.stat().st_ino for unit in units}


def finished(folder: Path, recipe: Path) -> dict[str, int]:
    """Have the command do its work; returns its units, as they were at the end of it."""
    units, finish = dict[str, int](), Output.finish

    def finish_and_tell(self: Output, *given: Any, **named: Any) -> Any:
        units.update(units_of(folder))
        return finish(self, *given, **named)

    with mock.patch.object(Output, "finish", finish_and_tell):
        done = premask("run", recipe, "--workers", 1)
    assert done.code == 0, done.err
    return units


def check_stopped(done: Done, folder: Path, *words: str) -> None:
    """One line, exit code 2, and no output."""
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    for word in ("premask: ", *words):
        assert word in done.err
    assert not (folder / "out").exists()


# ==== Disks and shares ====


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that stands before the system's: reads of a file fail where it is told."""
    if shutil.which("gcc") is None or not Path("/proc/self/fd").is_dir():
        pytest.skip("this needs gcc and Linux")
    library = tmp_path_factory.mktemp("faulty") / "faulty.so"
    words = [
        "gcc",
        "-shared",
        "-fPIC",
        "-O1",
        "-o",
        library,
        ROOT / "tests" / "support" / "faulty_reads.c",
        "-ldl",
    ]
    subprocess.run(words, check=True)
    return library


def test_reads_that_fail(faulty: Path, folder: Path) -> None:
    """One after another the end of each file cannot be read while units are done, in the driver or a worker; each
    attempt goes on where the one before stopped."""
    sources = ["a.jsonl", "b.parquet", "c.jsonl.gz"]
    expected, recipe = undisturbed(folder, sources), recipe_of(folder, sources, "out")
    kept = dict[str, int]()
    for name, fault, workers, said in (
        ("a.jsonl", errno.EIO, 1, "Input/output error; check the disk or network it is on"),
        ("b.parquet", errno.EACCES, 2, "Permission denied; check its permissions"),
        ("c.jsonl.gz", errno.ESTALE, 1, "Stale file handle; check the disk or network it is on"),
    ):
        environ = {
            "LD_PRELOAD": str(faulty),
            "FAULT_FILE": str((folder / name).resolve()),
            "FAULT_FROM": str((folder / name).stat().st_size // 2),
            "FAULT_ERRNO": str(fault),
            "FAULT_WHEN": str(folder / ".out.lock"),  # which is there once files have been looked at
        }
        done = process("run", recipe, "--workers", workers, **environ)
        check_stopped(
            Done(done.returncode, done.stdout.decode(), without_progress(done.stderr.decode())),
            folder,
            f"{name} cannot be read: {said}",
        )
        units = units_of(folder)
        assert units
        assert kept.items() <= units.items()
        kept = units

    assert kept.items() < finished(folder, recipe).items()
    assert hashes(folder / "out") == expected


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may read all, and there is no setpriv"
)
def test_a_file_that_may_not_be_read(folder: Path) -> None:
    (folder / "a.jsonl").chmod(0)
    plainly = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    words = [*plainly, *command_line("run", recipe_of(folder, ["a.jsonl"], "out"))]
    done = subprocess.run(words, env=ENVIRON, capture_output=True, text=True, check=False)

    said = "a.jsonl cannot be read: Permission denied; check its permissions"
    check_stopped(Done(done.returncode, done.stdout, without_progress(done.stderr)), folder, said)


# ==== Files that change while the run goes on ====


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    """Other content of the same size."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[len(data) // 2 :].swapcase())


def replace(path: Path) -> None:
    """The same content, but another file."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


def stopped_by(act: Callable[[], object], folder: Path, recipe: Path, units: int = 1) -> Done:
    """The command; while it is in the middle of a unit and so many are done, something happens."""
    acted, advance = list[bool](), LineProgress.advance

    def advance_and_act(self: LineProgress, rows: int, tokens: int, packs: int) -> None:
        advance(self, rows, tokens, packs)
        if rows and not acted and len(units_of(folder)) == units:
            acted.append(True)
            act()

    with mock.patch.object(LineProgress, "advance", advance_and_act):
        done = premask("run", recipe, "--workers", 1)
    assert acted
    return done


@pytest.mark.parametrize(
    ("name", "units", "act", "said"),
    [
        ("a.jsonl", 1, truncate, "was changed while the run read it"),
        ("a.jsonl", 1, rewrite, "was changed while the run read it"),
        ("a.jsonl", 1, Path.unlink, "was removed while the run read it"),
        ("b.parquet", 5, truncate, "was changed while the run read it"),
        ("b.parquet", 5, replace, "was changed while the run read it"),
        ("c.jsonl.gz", 7, Path.unlink, "was removed while the run read it"),
    ],
)
def test_files_that_change_are_refused_and_put_back(
    folder: Path, name: str, units: int, act: Callable[[Path], None], said: str
) -> None:
    sources = ["a.jsonl", "b.parquet", "c.jsonl.gz"]
    recipe, content = recipe_of(folder, sources, "out"), (folder / name).read_bytes()
    done = stopped_by(lambda: act(folder / name), folder, recipe, units)
    check_stopped(done, folder, f"premask: {name} {said}")
    kept = units_of(folder)
    assert len(kept) == units
    (folder / name).write_bytes(content)
    assert kept.items() < finished(folder, recipe).items()
    assert hashes(folder / "out") == undisturbed(folder, sources)


# ==== Servers ====


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fault", ["busy", "cut", "gone"])
def test_servers_that_fail(folder: Path, fault: str, streaming: bool) -> None:  # noqa: FBT001
    """Before any unit where files are fetched, in the middle where they are streamed."""
    with Web() as web:
        web.files = {f"/{name}": (folder / name).read_bytes() for name in ("b.parquet", "c.jsonl.gz")}
        sources = [{"path": f"{web.url}{name}", "streaming": streaming} for name in web.files]
        recipe = recipe_of(folder, sources, "out")

        def fail() -> None:
            if fault == "gone":
                web.files = {}
            else:
                setattr(web, fault, True)

        files = web.files
        if streaming:
            done = stopped_by(fail, folder, recipe)
        else:
            fail()
            done = premask("run", recipe, "--workers", 1)
        check_stopped(done, folder, f"premask: {web.url}/b.parquet")
        assert bool(units_of(folder)) == streaming
        web.files, web.busy, web.cut = files, False, False

        assert premask("run", recipe, "--workers", 1).code == 0
        assert hashes(folder / "out") == undisturbed(folder, sources)
