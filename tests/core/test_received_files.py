"""Files from strangers: what is no regular file within the folder is not opened, and no file is read without a
bound."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from premask.core.errors import OutputError
from premask.core.received_files import UnusableFileError, read_bounded, regular_file, walk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "below").mkdir(parents=True)
    (made / "below/file").write_text("text")
    (tmp_path / "private").write_text("private")
    return made


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../private", "below/../../private", "", ".", "below//file", "./below/file", "a\0b"],
)
def test_names_that_lead_elsewhere(folder: Path, name: str) -> None:
    with pytest.raises(UnusableFileError, match="which is outside the output"):
        regular_file(folder, name)


def test_a_regular_file(folder: Path, tmp_path: Path) -> None:
    assert regular_file(folder, "below/file").read_text() == "text"
    (tmp_path / "link").symlink_to(folder)
    assert regular_file(tmp_path / "link", "below/file") == folder / "below/file"  # who names it, knows it
    with pytest.raises(UnusableFileError, match="the file is not there") as gone:
        regular_file(folder, "below/none")
    assert gone.value.missing


@pytest.mark.parametrize("target", ["../private", "below/file", "/etc/hostname", "nowhere", "odd"])
def test_links_are_not_followed(folder: Path, target: str) -> None:
    (folder / "odd").symlink_to(target)
    with pytest.raises(OutputError, match=r"it is a link|symbolic links"):
        regular_file(folder, "odd")
    with pytest.raises(OutputError):
        read_bounded(folder / "odd", 100)


def test_a_folder_that_is_a_link_is_not_entered(folder: Path, tmp_path: Path) -> None:
    (folder / "odd").symlink_to(tmp_path)
    with pytest.raises(UnusableFileError, match="it is a link"):
        regular_file(folder, "odd/private")
    assert [(entry.name, entry.regular) for entry in walk(folder)] == [("odd", False), ("below/file", True)]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = os.open(path.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


@pytest.mark.parametrize(
    ("make", "what"), [(os.mkfifo, "a pipe"), (Path.mkdir, "a directory"), (make_socket, "a socket")]
)
def test_what_is_no_file_is_not_opened(folder: Path, make: object, what: str) -> None:
    assert callable(make)
    make(folder / "odd")
    with pytest.raises(UnusableFileError, match=f"it is {what}, not a file"):
        regular_file(folder, "odd")
    with pytest.raises(OutputError):
        read_bounded(folder / "odd", 100)  # and does not wait


def test_what_is_read_is_bounded(folder: Path) -> None:
    assert read_bounded(folder / "below/file", 4) == b"text"
    with pytest.raises(UnusableFileError, match="it has more than 3 bytes"):
        read_bounded(folder / "below/file", 3)
    with pytest.raises(UnusableFileError, match="it is a device, not a file"):
        read_bounded(Path("/dev/zero"), 100)
    with pytest.raises(UnusableFileError, match="the file is not there") as gone:
        read_bounded(folder / "none", 100)
    assert gone.value.missing


def test_the_cache_of_the_hub_has_links_to_its_blobs_alone(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "repo/snapshots/abc", tmp_path / "repo/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "0123").write_text("text")
    (tmp_path / "repo/other").write_text("other")
    (blobs / "4567").symlink_to("../other")
    for name, target in {
        "fine": "../../blobs/0123",
        "beside": "../../other",
        "behind": "../../blobs/4567",
    }.items():
        (snapshot / name).symlink_to(target)

    assert regular_file(snapshot, "fine") == blobs / "0123"
    for name in ("beside", "behind"):
        with pytest.raises(UnusableFileError, match="it is a link"):
            regular_file(snapshot, name)
