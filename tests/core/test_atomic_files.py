"""File systems that lack something: locks, or a way to wait for a directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from premask.core.atomic_files import sync, sync_tree
from premask.core.errors import OutputError
from premask.core.locks import Lock, lock_file


def fail_with(monkeypatch: pytest.MonkeyPatch, module: object, name: str, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_no_locks_are_one_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_with(monkeypatch, fcntl, "flock", number)
    opened = Path("/proc/self/fd")
    before = len(list(opened.glob("*")))
    for shared in (False, True):
        with pytest.raises(OutputError, match=r"cannot be locked: .*; choose an --output"):
            Lock(tmp_path / "out", shared=shared)
    with pytest.raises(OutputError, match="cannot be locked"):
        lock_file(0)
    assert len(list(opened.glob("*"))) == before


def test_a_directory_that_cannot_be_waited_for_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, os, "fsync", errno.EINVAL)
    sync_tree(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Invalid argument"):
        sync(tmp_path / "file")
    fail_with(monkeypatch, os, "fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)
