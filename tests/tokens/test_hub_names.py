"""A tokenizer that is nowhere, or a Hub that does not answer: one line, and at most one question."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from premask.core.errors import TokenizerError
from premask.tokens.hub_names import locate

SAMPLE = ROOT / "pipeline" / "premask" / "sample" / "tokenizer"
SCRIPT = """
import sys
from premask.core.errors import PremaskError
from premask.tokens.tokenizer import load_tokenizer
try:
    tokenizer = load_tokenizer(sys.argv[1])
    print("loaded", tokenizer.vocab_size, *tokenizer.stops)
except PremaskError as error:
    print(error)
"""


class _Hub(BaseHTTPRequestHandler):
    """The calls of the Hub that loading a tokenizer makes; a repository is a folder of files."""

    protocol_version = "HTTP/1.1"
    files: dict[str, dict[str, bytes]] = {}  # noqa: RUF012  replaced, not changed
    status = 0
    asked: list[str] = []  # noqa: RUF012  replaced for each server

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        name, _, file = self.path.split("?")[0].strip("/").partition("/resolve/")
        file = file.partition("/")[2]
        headers = {"X-Repo-Commit": "0" * 40}
        if self.status:
            return self._answer(self.status, b"", {})
        if name.startswith("api/models/"):
            _, _, owner, repo, *rest = name.split("/")
            repo = f"{owner}/{repo}"
            if rest[:1] == ["tree"]:
                return self._answer(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
            if repo in self.files:
                names = [{"rfilename": each} for each in self.files[repo]]
                about = {"id": repo, "sha": "0" * 40, "siblings": names}
                return self._answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})
        if name not in self.files:
            return self._answer(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "not found"})
        content = self.files[name].get(file)
        if content is None:
            return self._answer(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        return self._answer(200, content, {**headers, "ETag": f'"{hash(content) & 0xFFFFFFFF:x}"'})

    do_HEAD = do_GET  # noqa: N815  the library's name

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[Any]:
    files = {path.name: path.read_bytes() for path in SAMPLE.iterdir()}
    handler = type("Hub", (_Hub,), {"files": {"org/sample": files}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_address[1]}"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()


def said(name: str, endpoint: str, tmp_path: Path, **environ: str) -> str:
    """What loading a tokenizer prints in a process of its own, errors too; the output must be one line."""
    own = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "pipeline"),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        **environ,
    }
    words = [sys.executable, "-c", SCRIPT, name]
    done = subprocess.run(
        words, env=own, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def test_a_tokenizer_of_the_hub_and_its_cached_copy(hub: Any, tmp_path: Path) -> None:
    assert said("org/sample", hub.url, tmp_path) == "loaded 8000 <|im_end|>"
    assert said("org/sample", "http://127.0.0.1:1", tmp_path) == "loaded 8000 <|im_end|>"
    assert said("org/sample", hub.url, tmp_path, HF_HUB_OFFLINE="1") == "loaded 8000 <|im_end|>"
    hub.status = 503
    assert said("org/sample", hub.url, tmp_path) == "loaded 8000 <|im_end|>"


@pytest.mark.parametrize("name", ["qwen3", "org/nothing"])
def test_a_name_that_the_hub_does_not_know_is_one_question(hub: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "qwen").mkdir()
    told = said(name, hub.url, tmp_path)

    assert told.startswith(
        f"tokenizer {name} cannot be loaded: there is no such directory, and the Hub has no"
    )
    assert told.endswith("did you mean qwen?" if name == "qwen3" else "check the name")
    assert hub.asked == [f"HEAD /{name}/resolve/main/tokenizer_config.json"]


@pytest.mark.parametrize("name", ["qwen3", "org/nothing"])
def test_no_network(tmp_path: Path, name: str) -> None:
    told = said(name, "http://127.0.0.1:1", tmp_path)

    assert "the Hub cannot be used ([Errno 111] Connection refused) and its cache has no copy" in told
    assert "HF_HUB_OFFLINE is set" in said(name, "http://127.0.0.1:1", tmp_path, HF_HUB_OFFLINE="1")


def test_a_hub_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = said("org/name", f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)

    assert "the Hub cannot be used (it does not answer within 4 seconds) and its cache has no copy" in told


def test_a_hub_that_is_ill(hub: Any, tmp_path: Path) -> None:
    hub.status = 503

    assert "(it answers with status 503)" in said("org/sample", hub.url, tmp_path)
    assert len(hub.asked) == 1


@pytest.mark.parametrize("name", ["", " ", "a\0b", "a b", "x" * 200, "a--b", "-a", "a.git", "org/na me", "ü"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(TokenizerError) as error:
        locate(name)

    assert "\n" not in str(error.value)
    assert "\0" not in str(error.value)


def test_the_nearest_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "qwen3-0.6b").mkdir()
    with pytest.raises(TokenizerError, match=r"does not exist; did you mean .*/qwen3-0\.6b\?"):
        locate(str(tmp_path / "qwen3-0.6B"))
