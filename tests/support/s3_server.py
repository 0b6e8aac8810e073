"""A real S3 server on the loopback interface, and a file system in memory."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pytest
from commands import Done

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "madeup", "AWS_SECRET_ACCESS_KEY": "madeup-secret", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none",
}  # fmt: skip


@contextmanager
def serve_s3() -> Iterator[str]:
    """Serve S3 on loopback, and yield its address. Raises `ImportError` without moto."""
    server = importlib.import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    pytest.importorskip("moto.server", reason="moto is not installed")
    with serve_s3() as address:
        yield address


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, with the settings and credentials that s3fs finds in the environment."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3, "NO_PROXY": "*"}.items():
        monkeypatch.setenv(name, value)
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    if filesystem.exists("bucket"):
        filesystem.rm("bucket", recursive=True)
    filesystem.mkdir("bucket")
    monkeypatch.setattr("s3fs.S3FileSystem.cachable", False)
    return "s3://bucket"


@pytest.fixture
def memory() -> Iterator[str]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield "memory://data/chats"
    filesystem.store.clear()


def there(url: str) -> dict[str, bytes]:
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    if not filesystem.exists(root):
        return {}
    start = f"{str(root).rstrip('/')}/"
    return {name.removeprefix(start): filesystem.cat_file(name) for name in filesystem.find(root)}


def failed(done: Done, *parts: str) -> None:
    """One line of an error; a note of what is replaced may stand before it."""
    assert done.code == 2, done
    err = "".join(line for line in done.err.splitlines(keepends=True) if not line.startswith("note: "))
    assert err.startswith("premask: ")
    assert err.count("\n") == 1, done.err
    assert done.out == ""
    for part in parts:
        assert part in done.err


class Calls:
    """What is written and removed in a file system, in order; the n-th write may fail."""

    def __init__(self, filesystem: type, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[tuple[str, str]] = []
        self.fail_at: int | None = None
        for name in ("put_file", "pipe_file", "rm_file"):
            monkeypatch.setattr(filesystem, name, self._recorded(name, getattr(filesystem, name)))

    def _recorded(self, name: str, original: Any) -> Any:
        def call(filesystem: Any, *arguments: Any, **keywords: Any) -> Any:
            path = str(arguments[1] if name == "put_file" else arguments[0])
            if name == "put_file" and self.fail_at is not None and len(self.puts()) == self.fail_at:
                raise ConnectionResetError("the network is gone")
            self.log.append((name, path.partition("chats/")[2]))
            return original(filesystem, *arguments, **keywords)

        return call

    def puts(self) -> list[str]:
        return [path for name, path in self.log if name == "put_file"]


@pytest.fixture
def calls(memory: str, monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(type(fsspec.filesystem("memory")), monkeypatch)
