"""Runs whose output goes to a store: S3 over HTTP from a server on loopback (moto's; the client is s3fs), memory
and folders through fsspec. What comes out is compared, object by object, with a run into a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import SAMPLE, TOKENIZER, Done, premask
from outputs import bytes_of
from test_stores import bucket, calls, failed, memory, s3, there  # noqa: F401  fixtures

CHATS = SAMPLE / "conversations.jsonl"
FLAGS = ("--tokenizer", TOKENIZER, "--max-length", 1024, "--unit-rows", 60, "--workers", 1)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the work on outputs in stores is done."""
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "work"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run into a directory, in five units."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert premask("run", CHATS, *FLAGS, "--output", out).code == 0
    return bytes_of(out)


def run(url: str, *words: object, source: object = CHATS) -> Done:
    return premask("run", source, *FLAGS, "--output", url, *words)


def ran(done: Done) -> str:
    assert done.code == 0, done.err
    return done.out


def test_what_comes_out_is_that_of_a_directory(plain: dict[str, bytes], memory: str, scratch: Path) -> None:  # noqa: F811
    done = run(memory)
    out = ran(done)
    assert there(memory) == plain
    assert f"{memory}/packed/train-*.parquet" in out
    assert str(scratch) in done.err
    assert not scratch.exists() or list(scratch.iterdir()) == []
    assert "already holds this recipe's output" in ran(run(memory))
