"""Whole commands with and without facts: they print and write the same, whatever is in the folder of facts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import SAMPLE, TOKENIZER, process
from outputs import bytes_of

DATA = SAMPLE / "conversations.jsonl"
RUN = ("run", DATA, "--tokenizer", TOKENIZER, "--unit-rows", "50", "--workers", "2")
EXPLAIN = ("explain", DATA, "--tokenizer", TOKENIZER, "--row", "3", "--format", "json")


def results(tmp_path: Path, **environ: str) -> tuple[bytes, dict[str, bytes]]:
    """What `explain` prints and what `run` writes."""
    explained = process(*EXPLAIN, **environ)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    done = process(*RUN, "--output", tmp_path / "out", **environ)

    assert (explained.returncode, done.returncode) == (0, 0), done.stderr
    return explained.stdout, bytes_of(tmp_path / "out")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, bytes]]:
    """The results without facts."""
    return results(tmp_path_factory.mktemp("reference"), PREMASK_FACTS="off")


def nothing(_: Path) -> None:
    """All facts are there."""


def torn(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"im_end", b"im_END").replace(b"gigatoken", b"tokenizer"))


def exchanged(folder: Path) -> None:
    """Each file has the name of another one."""
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    for path, content in zip(sorted(folder.iterdir()), contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)


def some_missing(folder: Path) -> None:
    for path in sorted(folder.iterdir())[::2]:
        path.unlink()


@pytest.mark.parametrize("spoil", [nothing, torn, changed, exchanged, some_missing])
def test_facts_change_no_result(
    tmp_path: Path, expected: tuple[bytes, dict[str, bytes]], spoil: Callable[[Path], None]
) -> None:
    environ = {"PREMASK_CACHE": str(tmp_path / "cache"), "PREMASK_FACTS": "on"}
    folder = tmp_path / "cache" / "facts"

    assert results(tmp_path, **environ) == expected
    names = sorted(path.name.split("-")[0] for path in folder.iterdir())
    assert names == ["bytes", "compiles", "engine", "json", "template", "tokenizer"]
    spoil(folder)
    assert results(tmp_path, **environ) == expected
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == names


def test_a_folder_that_cannot_be_written_changes_no_result(
    tmp_path: Path, expected: tuple[bytes, dict[str, bytes]]
) -> None:
    (tmp_path / "cache").write_text("a file, where the folder should be", encoding="utf-8")

    assert results(tmp_path, PREMASK_CACHE=str(tmp_path / "cache"), PREMASK_FACTS="on") == expected
