"""Facts: made once, read afterwards; a file that is not exactly what was written counts as none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from places import ROOT
from premask.core import facts
from premask.core.facts import recall


@dataclass(frozen=True)
class Shape:
    name: str
    sides: tuple[int, ...] = ()


SQUARE = Shape("square", (1, 1, 1, 1))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PREMASK_FACTS")
    return tmp_path / "cache" / "facts"


def made(fact: Shape = SQUARE, about: str = "four", name: str = "shape") -> bool:
    """Whether a fact is made, and not read. What is returned is right in any case."""
    make = mock.Mock(return_value=fact)

    assert recall(name, [about], Shape, make) == fact
    return make.called


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_fact_is_made_once(folder: Path) -> None:
    assert [made(), made()] == [True, False]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert only_file(folder).stat().st_mode & 0o777 == 0o600


def test_other_facts_have_other_files(folder: Path) -> None:
    made()

    assert made(Shape("triangle"), about="three")
    assert made(name="form")
    assert len([*folder.iterdir()]) == 3


@pytest.mark.parametrize("what", ["code_hash", "versions", "_of_this_process"])
def test_other_code_or_libraries_make_another_fact(what: str) -> None:
    made()
    with mock.patch.object(facts, what, return_value={"tokenizers": "another"}):
        assert made(Shape("circle"))
    assert not made()


# ==== Files that are not what was written ====


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def with_another_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def of_another_fact(path: Path) -> None:
    """A whole file, with a right hash, at the wrong place."""
    made(Shape("triangle"), about="three")
    other = next(each for each in path.parent.iterdir() if each != path)
    other.rename(path)


def of_another_type(path: Path) -> None:
    """A file that was written by right means, but holds no shape."""
    with mock.patch.object(facts, "are_kept", return_value=True):
        facts.keep("shape", ["four"], {"name": 4, "sides": "many"})


def writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def in_a_folder_that_others_can_write(path: Path) -> None:
    path.parent.chmod(0o777)


def a_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def of_another_user(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "spoil",
    [
        torn,
        empty,
        with_another_byte,
        of_another_fact,
        of_another_type,
        writable_by_others,
        in_a_folder_that_others_can_write,
        a_link,
        a_folder,
        of_another_user,
    ],
)
def test_a_file_that_something_can_have_changed_is_not_used(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    made()
    spoil(only_file(folder))

    assert made()


@pytest.mark.parametrize("spoil", [torn, with_another_byte, of_another_type, writable_by_others, a_link])
def test_it_is_written_again(folder: Path, spoil: Callable[[Path], None]) -> None:
    made()
    spoil(only_file(folder))
    made()

    assert not made()


def test_a_cache_that_others_can_write_is_not_used_and_reported(folder: Path) -> None:
    assert facts.warning() == ""
    made()
    assert facts.warning() == ""
    folder.parent.chmod(0o777)

    assert [made(), made()] == [True, True]
    assert facts.warning().startswith(f"the cache {folder.parent} is not used: other users can write to ")


# ==== Nothing is kept ====


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, where the folder should be", encoding="utf-8")

    assert [made(), made()] == [True, True]


@pytest.mark.parametrize("off", ["off", "0", "no", "OFF"])
def test_facts_can_be_turned_off(folder: Path, monkeypatch: pytest.MonkeyPatch, off: str) -> None:
    made()
    monkeypatch.setenv("PREMASK_FACTS", off)

    assert made()
    assert len([*folder.iterdir()]) == 1


def test_nothing_is_kept_that_is_about_something_unknown(folder: Path) -> None:
    recall("shape", None, Shape, lambda: SQUARE)

    assert not folder.exists()


def test_an_error_is_not_kept(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        recall("shape", ["four"], Shape, lambda: Shape("", (1 // 0,)))

    assert not folder.exists()


def test_a_fact_that_does_not_hold_is_neither_kept_nor_used(folder: Path) -> None:
    recall("shape", ["four"], Shape, lambda: SQUARE, holds=lambda shape: shape.name != "square")
    assert not folder.exists()
    made()
    make = mock.Mock(return_value=Shape("rhombus"))

    assert (
        recall("shape", ["four"], Shape, make, holds=lambda shape: shape.name != "square").name == "rhombus"
    )
    assert make.called


def test_a_text_that_cannot_be_written(folder: Path) -> None:
    assert made(Shape("\ud800"))
    assert not folder.exists()


# ==== Room ====


def test_the_files_that_were_not_used_for_longest_are_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "_MOST_FILES", 3)
    for number, about in enumerate(["first", "second", "third"]):
        made(about=about)
        for path in folder.iterdir():
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 10**9 * (number + 1)))
    made(about="first")  # it is used, and so the youngest
    made(about="fourth")

    assert [made(about=about) for about in ("first", "third", "fourth")] == [False, False, False]
    assert made(about="second")


def test_large_files_are_removed_first_if_they_are_old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_MOST_BYTES", 3000)
    made(Shape("a" * 2000), about="large")
    os.utime(only_file(folder), (0, 0))
    made(Shape("b" * 2000), about="larger")

    assert made(Shape("a" * 2000), about="large")


def test_what_killed_writers_left_is_removed_after_an_hour(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    for name, age in ((".old", 7200), (".new", 60)):
        (folder / name).write_text("half", encoding="utf-8")
        os.utime(folder / name, (folder.stat().st_mtime - age,) * 2)
    made()

    assert sorted(path.name[:4] for path in folder.iterdir()) == [".new", "shap"]


# ==== Several processes ====

WRITER = """
import sys
from premask.core.facts import find, keep
for _ in range(40):
    keep("large", ["x"], [sys.argv[1]] * 5_000)
    found = find("large", ["x"], list[str])
    assert found is None or (len(found), len(set(found))) == (5_000, 1), len(found)
    print(found is not None)
"""


def test_several_writers_and_readers(folder: Path) -> None:
    """Whoever reads gets all of what one of them wrote, or nothing."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, word], env=environ, stdout=subprocess.PIPE, text=True)
        for word in ("one", "two", "three")
    ]
    printed = [writer.communicate()[0].split() for writer in writers]

    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert all(lines == ["True"] * 40 for lines in printed)
    assert len([*folder.iterdir()]) == 1
