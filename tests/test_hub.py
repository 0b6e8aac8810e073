"""`premask push` to the Hub, end to end: the real clients in a process of their own, over real HTTP, against
the server of `hub_server`. One such process (`Client`) does all commands and loads, because `HF_ENDPOINT` is
read when the libraries are imported, which takes seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import ROOT, SAMPLE, TOKENIZER, Done, premask
from hub_server import HubServer, Repo
from outputs import bytes_of

from pipeline.errors import PushError
from pipeline.finished import read_finished
from pipeline.hub import merge_readme, parse_repo_id

SCRIPT = """
import json, sys
answers = sys.stdout
from commands import premask
for line in sys.stdin:
    asked = json.loads(line)
    if "words" in asked:
        answer = list(premask(*asked["words"], **asked["environ"]))
    else:
        names = {}
        exec(asked["code"], names)
        answer = names["answer"]
    print(json.dumps(answer), file=answers, flush=True)
"""
DEMO = "alice/demo"
FRESH = "pushed to alice/demo on the Hub: "
PACKED = ["packed", "unpacked"]


class Client:
    """A process that knows the server as the Hub, and does what it is told."""

    def __init__(self, hub: HubServer, home: Path, **environ: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {
            "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_PROXY": "*", "COLUMNS": "160",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        }  # fmt: skip
        self.errors = (home.parent / f"{home.name}.err").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], env={**kept, **own, **environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
        )  # fmt: skip

    def _ask(self, **asked: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.errors.seek(0)
            pytest.fail(f"the client process ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def premask(self, *words: object, **environ: str) -> Done:
        return Done(*self._ask(words=[str(word) for word in words], environ=environ))

    def push(self, *words: object, **environ: str) -> Done:
        return self.premask("push", *words, **environ)

    def run(self, code: str) -> Any:
        """Run Python there; returns what it names `answer`."""
        return self._ask(code=code)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two outputs of the bundled sample in both layouts: `many` has more shards than `few`."""
    folder, made = tmp_path_factory.mktemp("outputs"), {}
    for name, rows, length in (("many", 100, 1024), ("few", 200, 2048)):
        made[name] = folder / name
        done = premask(
            "run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--layout", "packed,unpacked",
            "--unit-rows", rows, "--max-length", length, "--output", made[name],
        )  # fmt: skip
        assert done.code == 0, done.err
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(server, tmp_path_factory.mktemp("client") / "home")
    yield made
    made.close()


@pytest.fixture
def hub(server: HubServer) -> Iterator[HubServer]:
    """The server without repos, calls and faults."""
    server.repos.clear()
    server.taken.clear()
    server.forget()
    server.role = "write"
    yield server
    assert server.calls("unknown") == []


def remote_files(repo: Repo, branch: str = "main") -> dict[str, bytes]:
    """What a branch holds, large files with their content, without what the Hub itself puts there."""
    files = repo.commits[repo.branches[branch]].files
    content = {p: f["content"] if "content" in f else repo.stored[f["oid"]] for p, f in files.items()}
    return {path: data for path, data in content.items() if path != ".gitattributes"}


def failed(done: Done, *parts: str) -> None:
    """The command ended with one clear line and exit code 2, and the token is not in it."""
    assert done.code == 2, done
    assert done.err.startswith("premask: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    assert "hf_madeup" not in done.err
    for part in parts:
        assert part in done.err


def pushed(done: Done) -> str:
    assert done.code == 0, done.err
    assert "hf_madeup" not in done.out + done.err
    return done.out


# ==== What a push does ====


def test_a_push_makes_the_repo_and_one_commit(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    out = pushed(client.push(outputs["many"], DEMO))
    repo = hub.repos[DEMO]

    assert remote_files(repo) == bytes_of(outputs["many"])
    assert len(repo.history) == 2
    assert len(hub.calls("commit")) == 1
    assert not repo.private
    assert out.startswith(FRESH)
    assert f"commit:  {hub.url}/datasets/{DEMO}/commit/{repo.branches['main']}" in out
    assert f'load_dataset("{DEMO}", "packed", split="train")' in out


def test_an_unchanged_output_makes_no_commit(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    pushed(client.push(outputs["many"], DEMO))
    hub.forget()

    out = pushed(client.push(outputs["many"], f"hf://datasets/{DEMO}"))

    assert "already holds this output; nothing was sent" in out
    assert len(hub.repos[DEMO].history) == 2
    for kind in ("create", "preupload", "batch", "put", "commit"):
        assert hub.calls(kind) == [], kind
