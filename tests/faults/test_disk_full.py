"""Disks that are full, real ones: a small tmpfs that grows until the same command has done its work.

Whatever does not fit, the command ends with one line that names what could not be written and why, leaves no
output, and goes on from there when there is room. Mounting takes root; otherwise all of this is run as root of a
namespace of its own, where the system allows that.
"""

from __future__ import annotations

import fnmatch
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, Done, premask, process
from faults import hashes, sample_lines, write_lines

PAGE = 4096
NO_ROOM = "No space left on device; check space and permissions, then run again (finished units are kept)"
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"layout": ["packed", "unpacked"]},
    "chosen": {"duplicates": "drop", "splits": {"validation": 0.2}, "shuffle": True},
    "cached": {"cache": "cache"},
}


class Disk:
    """A disk of its own at a folder, which can grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={PAGE}", "tmpfs", str(folder)]
        self.why_not = subprocess.run(mount, capture_output=True, text=True, check=False).stderr

    def grow(self, pages: int, names: int = 0) -> None:
        """Make room for so many pages, and so many files and directories; 0 is any number."""
        options = f"remount,size={pages * PAGE},nr_inodes={names}"
        subprocess.run(["mount", "-o", options, str(self.folder)], capture_output=True, check=True)

    def used(self) -> int:
        """Pages in use."""
        status = os.statvfs(self.folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize // PAGE

    @contextmanager
    def full(self) -> Iterator[None]:
        """All room is taken."""
        taken = self.folder / "taken"
        with suppress(OSError), taken.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * PAGE)
        yield
        taken.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    if disk.why_not:
        pytest.skip(f"no disk can be mounted here: {disk.why_not.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="this is root, so the tests themselves are run")
def test_all_of_this_as_root_of_a_namespace(tmp_path: Path) -> None:
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*alone, "true"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system allows no namespaces")
    words = [*alone, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__]
    environ = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def make(folder: Path, name: str, rows: int = 120) -> Path:
    """A recipe in a folder; the sources lie elsewhere."""
    sources = [write_lines(folder.parent / "a.jsonl", sample_lines(rows))]
    sources.append(write_lines(folder.parent / "b.jsonl", sample_lines(rows)[::4]))
    recipe = {"sources": sources, "tokenizer": TOKENIZER, "max_length": 1024, "unit_rows": rows // 6}
    keys = RECIPES[name] | ({"cache": str(folder / "cache")} if name == "cached" else {})
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(json.dumps({**recipe, **keys, "output": str(folder / "out")}))
    return path


def undisturbed(tmp_path: Path, name: str) -> dict[str, str]:
    done = premask("run", make(tmp_path / "plain", name), "--workers", 1)
    assert done.code == 0, done.err
    return hashes(tmp_path / "plain" / "out")


def check_refused(done: Done, folder: Path) -> str:
    """One line, and nothing that looks like an output; returns what could not be written."""
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert done.err.startswith(f"premask: cannot write {folder}"), done.err
    assert done.err.endswith(f": {NO_ROOM}\n"), done.err
    assert {path.name for path in folder.iterdir()} <= {".out.partial", "cache"}
    return done.err.removeprefix(f"premask: cannot write {folder}/").partition(":")[0]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("plain", ["out", "units/0000?"]),
        (
            "chosen",
            ["hashes/0000?.npy", "hashes/0000?.dropped.arrow", "units/.*/scattered-*", "units/0001?", "out"],
        ),
        ("cached", ["cache", "units/0000?", "out"]),
    ],
)
def test_room_that_is_made_bit_by_bit(disk: Disk, tmp_path: Path, name: str, places: list[str]) -> None:
    """Each attempt meets the end of the disk somewhere else; what it had done before stays done."""
    expected, recipe = undisturbed(tmp_path, name), make(disk.folder, name)
    met, pages = list[str](), 4
    disk.grow(pages)
    while (done := premask("run", recipe, "--workers", 1)).code:
        met.append(check_refused(done, disk.folder).removeprefix(".out.partial/"))
        pages += 8 if pages < 20 else 26
        disk.grow(pages)

    assert hashes(disk.folder / "out") == expected
    assert {path.name for path in disk.folder.iterdir()} - {"cache"} == {"out"}
    assert [place for place in places if not fnmatch.filter(met, place)] == [], met


def test_files_and_directories_that_are_too_many(disk: Disk, tmp_path: Path) -> None:
    """A disk can be full of names, too."""
    expected, recipe, names = undisturbed(tmp_path, "plain"), make(disk.folder, "plain"), 3
    disk.grow(0, names)
    while (done := premask("run", recipe, "--workers", 1)).code:
        check_refused(done, disk.folder)
        names += 2 if names < 8 else 16
        disk.grow(0, names)

    assert names > 20
    assert hashes(disk.folder / "out") == expected


def test_files_that_are_too_large(tmp_path: Path) -> None:
    """A limit of the system on the size of a file, as quotas have it."""
    expected, recipe = undisturbed(tmp_path, "plain"), make(tmp_path / "small", "plain")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        done = premask("run", recipe, "--workers", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "File too large; check space and permissions" in done.err
    assert premask("run", recipe, "--workers", 1).code == 0
    assert hashes(tmp_path / "small" / "out") == expected


def test_workers_and_the_whole_command(disk: Disk, tmp_path: Path) -> None:
    """For real, with a worker beside the driver, and no room for the system's temporary files."""
    expected, recipe = undisturbed(tmp_path, "plain"), make(disk.folder, "plain")
    disk.grow(60)
    words = ("run", recipe, "--workers", 2)
    first = process(*words, TMPDIR=str(disk.folder))
    check_refused(Done(first.returncode, first.stdout.decode(), first.stderr.decode()), disk.folder)
    (tmp_path / "tmp").mkdir()
    disk.grow(1000)
    second = process(*words, TMPDIR=str(tmp_path / "tmp"))

    assert second.returncode == 0, second.stderr
    assert hashes(disk.folder / "out") == expected
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_room_for_anything(disk: Disk, tmp_path: Path) -> None:
    """Not even for the lock; nor for a card anew, which leaves the output as it was."""
    recipe = make(disk.folder, "plain")
    disk.grow(1000, 3)
    others = [disk.folder / name for name in ("one", "two")]
    for other in others:
        other.touch()
    done = premask("run", recipe, "--workers", 1)
    assert (done.code, done.err) == (2, f"premask: cannot write {disk.folder / 'out'}: {NO_ROOM}\n")
    for other in others:
        other.unlink()
    assert list(disk.folder.iterdir()) == []
    disk.grow(1000)
    assert premask("run", recipe, "--workers", 1).code == 0
    before = hashes(disk.folder / "out")
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), "card": {"license": "mit"}}))
    with disk.full():
        assert premask("run", recipe, "--workers", 1) == done
        assert hashes(disk.folder / "out") == before
    assert premask("run", recipe, "--workers", 1).code == 0
    assert hashes(disk.folder / "out").keys() == before.keys()
    assert hashes(disk.folder / "out")["README.md"] != before["README.md"]


def test_a_forecast_without_room_for_its_sample(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `premask plan` puts data where the system keeps temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    disk.grow(2)
    done = premask("plan", make(tmp_path / "forecast", "plain"))

    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert done.err.startswith(f"premask: cannot write {disk.folder}")
    assert "No space left on device" in done.err
    assert list(disk.folder.iterdir()) == []
