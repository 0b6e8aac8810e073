"""Whether another user can have written a file: by its owner and mode, and those of the folders above it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from premask.core.private_files import changeable, is_planted, make_private


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file in a cache."""
    folder = tmp_path / "cache" / "files" / "key"
    make_private(folder, tmp_path / "cache")
    (folder / "a.jsonl").write_text("{}", encoding="utf-8")
    return folder / "a.jsonl"


def test_folders_are_made_for_their_user_alone(kept: Path, tmp_path: Path) -> None:
    modes = [each.stat().st_mode & 0o777 for each in (tmp_path / "cache", *(tmp_path / "cache").rglob("*"))]

    assert modes[:3] == [0o700] * 3
    assert changeable(kept, tmp_path / "cache") is None


def writable(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(path.stat().st_mode & 0o777 | mode)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def of_another_user(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("part", ["cache", "cache/files", "cache/files/key", "cache/files/key/a.jsonl"])
@pytest.mark.parametrize("spoil", [writable(0o020), writable(0o002), a_link, of_another_user])
def test_each_part_is_looked_at(kept: Path, tmp_path: Path, spoil: Callable[[Path], None], part: str) -> None:
    spoil(tmp_path / part)
    link_to_the_root = spoil is a_link and part == "cache"  # of the user's own choice

    assert changeable(kept, tmp_path / "cache") == (None if link_to_the_root else tmp_path / part)


def test_a_shared_folder_for_temporary_files_may_hold_a_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_private(tmp_path / "facts", tmp_path)

    assert changeable(tmp_path / "facts", tmp_path) is None


def test_a_folder_that_others_can_write_is_refused_with_the_fix(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "cache" / "files").chmod(0o777)

    with pytest.raises(PermissionError, match=r"other users can write to .*/cache/files; run 'chmod go-w"):
        make_private(kept.parent, tmp_path / "cache")


def test_a_file_that_is_not_there_is_no_private_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        changeable(tmp_path / "files" / "none", tmp_path)


@pytest.mark.parametrize(
    ("mode", "owner", "planted"), [(0o1777, 12345, "yes"), (0o1777, 0, "no"), (0o755, 12345, "no")]
)
def test_a_folder_that_another_user_has_put_into_a_shared_one(
    tmp_path: Path, mode: int, owner: int, planted: str
) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    tmp_path.chmod(mode)
    (tmp_path / "work").mkdir()
    os.chown(tmp_path / "work", owner, owner)

    assert is_planted(tmp_path / "work") == (planted == "yes")
    assert not is_planted(tmp_path / "nothing")
