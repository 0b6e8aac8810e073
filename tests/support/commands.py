"""The command for tests: run in this process, or for real, in a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import click
from premask.cli import app as cli
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
    are loaded once."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    environment = {"COLUMNS": "160", "TERM": "dumb", **environ}
    with (
        mock.patch.object(sys, "argv", ["premask", *map(str, words)]),
        mock.patch.dict(os.environ, environment),
        mock.patch("premask.labeller.load_tokenizer", _loaded),
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


def chat(*turns: str, **fields: Any) -> Row:
    """A row of OpenAI messages in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {**fields, "messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]}


def write_rows(path: Path, rows: list[Any]) -> str:
    """Write JSONL; a row that is a string is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)
