"""What a command imports: its help needs no library, and a command on known things none that makes them known."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from commands import ROOT, SAMPLE, TOKENIZER
from premask.cli.app import COMMANDS

SCRIPT = """
import os, sys
from premask.__main__ import main
try:
    main()
finally:
    with open(os.environ["IMPORTED"], "a") as file:  # the process of a run has another stderr
        file.write("".join(f"{name}\\n" for name in sys.modules))
"""

LIBRARIES = {
    *("torch", "transformers", "datasets", "polars", "pandas", "ray", "huggingface_hub", "tokenizers"),
    *("gigatoken", "numpy", "pyarrow", "jinja2", "rich", "yaml", "fsspec", "sqlglot", "msgspec"),
}
"""What takes a hundredth of a second and more; pydantic is not among them, because options are made from its models."""

TO_FIND_OUT = {"torch", "transformers", "datasets", "pandas", "ray", "huggingface_hub", "gigatoken", "polars"}
"""What is only needed to load a tokenizer for the first time, to prove an engine, or for large inputs."""


def imported(*words: object, **environ: str) -> set[str]:
    """The libraries that a command imports."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as file:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), "IMPORTED": file.name, **environ}
        command = [sys.executable, "-c", SCRIPT, *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stderr[-2000:]
        return {name.strip().partition(".")[0] for name in file}


@pytest.mark.parametrize("name", ["", *(each for each in COMMANDS if each != "train")])
def test_a_help_imports_no_library(name: str) -> None:
    found = imported(*name.split(), "--help")

    assert "premask" in found
    assert found & LIBRARIES == set()


@pytest.mark.parametrize("words", ["premask ", "premask run --lay", "premask show out/"])
def test_completion_imports_no_library(words: str) -> None:
    environ = {"_PREMASK_COMPLETE": "bash_complete", "COMP_WORDS": words}
    found = imported(**environ, COMP_CWORD=str(len(words.split(" ")) - 1))

    assert "click" in found
    assert found & LIBRARIES == set()


def test_a_command_on_known_things_needs_nothing_to_find_them_out(tmp_path: Path) -> None:
    data = (SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER)
    environ = {"PREMASK_CACHE": str(tmp_path / "cache"), "PREMASK_FACTS": "on"}
    commands = [
        ("explain", *data, "--row", "3"),
        ("run", *data, "--workers", "1", "--output", tmp_path / "out"),
    ]

    for words in commands:  # what is found out in a watched process is not seen here
        assert "jinja2" in imported(*words, **environ)
    known = set((tmp_path / "cache" / "facts").iterdir())
    assert known
    for words in (commands[0], (*commands[1][:-1], tmp_path / "again")):
        assert imported(*words, **environ) & TO_FIND_OUT == set()
    assert set((tmp_path / "cache" / "facts").iterdir()) == known
