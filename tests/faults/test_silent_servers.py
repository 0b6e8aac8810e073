"""Servers that accept and then say nothing, or stop in the middle of a body: the web, S3, the Hub.

Limits are shortened to parts of a second. No test says how long it takes, but for a limit against hangs; a
server is silent until the test ends.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import HANG_S, TOKENIZER, chat, premask
from hub_client import Client
from hub_server import HubServer
from premask.core.errors import PremaskError
from premask.core.source_entry import Source
from premask.sources.listing import inspect_sources
from s3_server import CREDENTIALS
from silent_server import Silent
from web_server import Web

LINES = b"".join(f"{json.dumps(chat(f'{n}' * 5000, 'b'))}\n".encode() for n in range(200))
SHORT = """
from premask.core import hub, urls
hub.SILENCE_S = urls.SILENCE_S = 0.4
hub._TRIES = 1
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("premask.core.urls.SILENCE_S", 0.5)
    monkeypatch.setattr("premask.core.urls._S3_TRIES", 2)


def said(work: Callable[[], Any]) -> str:
    """The one line with which some work fails, which ends in a moment."""
    found: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  looked at below
            found.append(error)

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "it hangs"
    assert found, "there was no error"
    assert isinstance(found[0], PremaskError), found
    assert "\n" not in str(found[0])
    return str(found[0])


# ==== The web ====


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("silent", ["all", "body"])
def test_the_web(silent: str, streaming: object) -> None:
    with Web() as web:
        web.files["/a.jsonl"], web.silent = LINES, silent
        source = Source(path=f"{web.url}/a.jsonl?sig=x", streaming=bool(streaming))

        assert said(lambda: inspect_sources([source])).startswith(
            f"{web.url}/a.jsonl: the server does not answer"
        )


@pytest.mark.parametrize("streaming", [False, True])
def test_a_slow_transfer_goes_on(streaming: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the limit in all, but never silent for so long; fsspec would cut it after five minutes."""
    monkeypatch.setattr("premask.core.urls.SILENCE_S", 60)
    with Web() as web:
        web.files["/a.jsonl"], web.pause = LINES, 0.7
        (info,) = inspect_sources([Source(path=f"{web.url}/a.jsonl", streaming=bool(streaming))])

    assert info.bytes == len(LINES)


def test_no_limit_on_a_whole_transfer() -> None:
    import fsspec  # noqa: PLC0415
    from premask.core.urls import open_url  # noqa: PLC0415

    filesystem, _ = open_url("https://host/a.jsonl", PremaskError)
    limits = filesystem.client_kwargs["timeout"]
    assert (limits.total, limits.sock_read, limits.sock_connect) == (None, 0.5, 0.5)
    assert fsspec.filesystem("https") is not filesystem  # of others in this process


# ==== S3 ====


@pytest.fixture
def silent_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with Silent() as server:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url, "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("s3fs.S3FileSystem.cachable", False)
        yield "s3://bucket"


@pytest.mark.parametrize(("path", "streaming"), [("a.jsonl", False), ("a.jsonl", True), ("*.jsonl", False)])
def test_s3_sources(silent_s3: str, path: str, streaming: object) -> None:
    source = Source(path=f"{silent_s3}/{path}", streaming=bool(streaming))

    assert said(lambda: inspect_sources([source])).startswith(
        f"{silent_s3}/{path}: the server does not answer"
    )


def test_s3_outputs(silent_s3: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES[:100_000].rpartition(b"\n")[0])
    done = premask(
        "run", tmp_path / "a.jsonl", "--tokenizer", TOKENIZER, "--output", f"{silent_s3}/out",
        "--work", tmp_path / "work",
    )  # fmt: skip

    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert f"{silent_s3}/out: the server does not answer" in done.err


# ==== The Hub ====


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.jsonl").write_bytes(LINES.splitlines(keepends=True)[0])
    words = ["--tokenizer", TOKENIZER, "--max-length", 99_999, "--output", folder / "out"]
    assert premask("run", folder / "a.jsonl", *words).code == 0
    return folder / "out"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def client(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(
        hub, tmp_path_factory.mktemp("client") / "home", HF_HUB_DOWNLOAD_TIMEOUT="1", HF_HUB_ETAG_TIMEOUT="1"
    )
    made.run(f"{SHORT}\nanswer = None")
    yield made
    made.close()


CALLS = ["info", "tree", "preupload", "put", "commit", "tag"]


@pytest.mark.parametrize("kind", CALLS)
def test_a_push(hub: HubServer, client: Client, out: Path, kind: str) -> None:
    over = threading.Event()
    hub.repos.clear()
    hub.forget()
    hub.fail(kind, None, times=1000, run=lambda: over.wait(HANG_S))
    client.run("from premask.core import hub\nhub._silent.clear()\nanswer = None")
    done = client.push(out, "alice/demo", "--tag", "v1")
    over.set()

    assert (done.code, done.err.count("premask: "), "does not answer" in done.err) == (2, 1, True), done
    assert "run the same command again" in done.err
    hub.forget()
    client.run("from premask.core import hub\nhub._silent.clear()\nanswer = None")
    again = client.push(out, "alice/demo", "--tag", "v1")
    assert again.code == 0, again


@pytest.mark.parametrize("kind", ["info", "tree", "resolve"])
@pytest.mark.parametrize("words", [["verify", "alice/demo"], ["run", "alice/rows"]])
def test_reading(
    hub: HubServer, client: Client, out: Path, tmp_path: Path, kind: str, words: list[str]
) -> None:
    over = threading.Event()
    hub.repos.clear()
    hub.forget()
    hub.make("alice/rows", **{"a.jsonl": json.dumps(chat(tmp_path.name, "b")), "b.txt": tmp_path.name})
    hub.make("alice/demo", **{"README.md": tmp_path.name, "manifest.json": "{}"})
    client.run("from premask.core import hub\nhub._silent.clear()\nanswer = None")
    hub.fail(kind, None, times=1000, run=lambda: over.wait(HANG_S))
    more = [] if words[0] == "verify" else ["--tokenizer", TOKENIZER, "--output", tmp_path / "out"]
    done = client.premask(*words, *more)
    over.set()
    hub.forget()

    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert done.err.startswith("premask: ")
