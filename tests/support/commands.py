"""The command for tests: run in this process, or for real, in a process of its own."""

from __future__ import annotations

import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
from premask.cli import app as cli
from premask.review.terminal.progress import LineProgress
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "pipeline" / "premask" / "sample"
TOKENIZER = str(SAMPLE / "tokenizer")

Row = dict[str, Any]


def command(name: str) -> click.Command:
    """A command by its name, with its parameters."""
    found = cli.app.get_command(click.Context(cli.app), name)
    assert found is not None, name
    return found


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@cache
def _loaded(name: str) -> LoadedTokenizer:
    return load_tokenizer(name)


def premask(*words: object, **environ: str) -> Done:
    """Run the command here, with 160 columns and without colour unless `environ` says otherwise; tokenizers
    are loaded once, and no line says how far it is, which would depend on the time that it takes."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    environment = {"COLUMNS": "160", "TERM": "dumb", **environ}
    with (
        mock.patch.object(sys, "argv", ["premask", *map(str, words)]),
        mock.patch.dict(os.environ, environment),
        mock.patch("premask.labeller.load_tokenizer", _loaded),
        mock.patch.dict(LineProgress.__init__.__kwdefaults__, every_s=math.inf),
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
    ):
        try:
            cli.main()
            code: Any = 0
        except SystemExit as leaving:
            code = leaving.code
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return Done(code or 0, out, err)


def command_line(*words: object) -> list[str]:
    """The command as another process starts it."""
    return [sys.executable, "-m", "premask", *map(str, words)]


def process(*words: object, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), "COLUMNS": "160", **environ}
    return subprocess.run(command_line(*words), env=environment, capture_output=True, check=False)


def without_progress(text: str) -> str:
    """What a process said on stderr, without the lines that say every ten seconds how far it is."""
    line = r"^([0-9,]+( of [0-9,]+)? rows, )?[0-9,]+ tokens, [0-9,]+ packs(, [0-9,]+ tokens/s|, \S+ \w+ left| in \S+ \w+)*\n"
    return re.sub(line, "", text, flags=re.MULTILINE)


HANG_S = 600
"""After which a test gives up on what should happen in a moment: no machine is that slow."""


def wait_until(true: Callable[[], object], what: str = "") -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + HANG_S
    while not true():
        assert time.monotonic() < end, f"waited too long {what}"
        time.sleep(0.01)


@contextmanager
def paused(words: list[str], folder: Path, units: int) -> Iterator[subprocess.Popen[str]]:
    """A run that was started by `words`, and stopped as soon as so many units were done; it continues after the
    `with` block. (That is a stop of the process that does the units, for runs with one worker.)"""
    mark = folder / "paused"
    path = f"{ROOT / 'tests' / 'support' / 'pausing'}{os.pathsep}{ROOT / 'pipeline'}"
    environ = {
        **os.environ,
        "PYTHONPATH": path,
        "PREMASK_PAUSED": str(mark),
        "PREMASK_PAUSE_UNITS": str(units),
    }
    started = subprocess.Popen(
        words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  no thread runs here
    )  # fmt: skip
    wait_until(lambda: _stopped(mark) or started.poll() is not None, f"for {units} units")
    assert started.poll() is None, started.communicate()
    yield started
    with suppress(ProcessLookupError):
        os.kill(int(mark.read_text()), signal.SIGCONT)
    mark.unlink()


def _stopped(mark: Path) -> bool:
    if not mark.is_file() or not (pid := mark.read_text()):
        return False
    state = subprocess.run(["ps", "-o", "state=", "-p", pid], capture_output=True, text=True, check=False)
    return state.stdout.strip().startswith("T")


def _hear_interrupts() -> None:
    """A process started in the background of a shell inherits that SIGINT is ignored; this one must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def chat(*turns: str, **fields: Any) -> Row:
    """A row of OpenAI messages in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {**fields, "messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]}


def write_rows(path: Path, rows: list[Any]) -> str:
    """Write JSONL; a row that is a string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
