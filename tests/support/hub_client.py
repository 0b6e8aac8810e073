"""The real client of the Hub, against the server of `hub_server.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import HANG_S, ROOT, Done
from hub_server import HubServer

SCRIPT = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # hf_xet prints to the process's own output
from commands import premask
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if "words" in asked:
            answer = list(premask(*asked["words"], **asked["environ"]))
        else:
            names = {}
            exec(asked["code"], names)
            answer = names["answer"]
        print(json.dumps([answer, None]), file=answers, flush=True)
    except Exception:
        print(json.dumps([None, traceback.format_exc()]), file=answers, flush=True)
"""


class Client:
    """A process that knows the server as the Hub, and does what it is told."""

    def __init__(self, hub: HubServer, home: Path, **environ: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        own = {
            "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_PROXY": "*", "COLUMNS": "160",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": f"{ROOT / 'pipeline'}{os.pathsep}{ROOT / 'tests' / 'support'}",
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
        answer, error = json.loads(line)
        assert error is None, error
        return answer

    def premask(self, *words: object, **environ: str) -> Done:
        return Done(*self._ask(words=[str(word) for word in words], environ=environ))

    def push(self, *words: object, **environ: str) -> Done:
        return self.premask("push", *words, **environ)

    def run(self, code: str) -> Any:
        """Run Python there; returns what it names `answer`."""
        return self._ask(code=code)

    def close(self) -> None:
        self._process.communicate(timeout=HANG_S)
        self.errors.close()


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture
def hub(server: HubServer) -> Iterator[HubServer]:
    """The server without repos, calls and faults."""
    server.repos.clear()
    server.taken.clear()
    server.forget()
    server.role = "write"
    yield server
    assert server.calls("unknown") == []
