"""Patterns -> files: which ones are found, in which order, and how it is said that there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from inputs import write
from premask.core.errors import SourceError
from premask.sources.listing import find_sources


def test_paths_directories_and_globs_are_expanded_in_order_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patterns keep their order, what one yields is sorted, and a file named twice is read once."""
    for name in ("b.jsonl", "a.jsonl", "sub/deep/c.json.gz", "sub/notes.txt", "sub/.hidden.json", "z[1].csv"):
        write(tmp_path / name, "{}")
    monkeypatch.chdir(tmp_path)

    assert list(find_sources(["*.jsonl"])) == ["a.jsonl", "b.jsonl"]
    assert find_sources(["b.jsonl", "*.jsonl", "./b.jsonl"]) == {"b.jsonl": 0, "a.jsonl": 1}
    assert list(find_sources(["**/*.json.gz", "z[1].csv"])) == ["sub/deep/c.json.gz", "z[1].csv"]
    assert list(find_sources(["sub"])) == list(find_sources(["sub/"])) == ["sub/deep/c.json.gz"]
    assert list(find_sources([tmp_path.as_posix()])) == [
        f"{tmp_path.as_posix()}/{name}" for name in ("a.jsonl", "b.jsonl", "sub/deep/c.json.gz", "z[1].csv")
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "a source has an empty name; name a file, a directory or a pattern"),
        ("none.jsonl", "source 'none.jsonl' does not exist; check the path"),
        ("none/*.jsonl", "pattern 'none/\\*.jsonl' matches no file"),
        (".", "directory '.' holds no data files; known names end in .jsonl,"),
    ],
)
def test_what_yields_no_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, message: str
) -> None:
    write(tmp_path / "readme.txt", "no data")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        find_sources([pattern])
