"""What a shell offers: commands, options, choices, keys below a key, and files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from commands import process
from premask.cli.app import COMMANDS, app


def offered(*words: str) -> list[str]:
    """What is offered for the last word; a file is in angle brackets."""
    *args, incomplete = words
    found = BashComplete(app, {}, "premask", "_PREMASK_COMPLETE").get_completions(args, incomplete)
    return [item.value if item.type == "plain" else f"<{item.value}>" for item in found]


def test_commands() -> None:
    assert offered("") == [*COMMANDS]
    assert offered("re") == [name for name in COMMANDS if name.startswith("re")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--max-l"], ["--max-length"]),
        (["run", "--too-long", ""], ["reject", "truncate", "split"]),
        (["run", "--layout", "packed,un"], ["packed,unpacked"]),
        (["run", "--loss-weights", "p"], ["per_sample"]),
        (["run", "--runner", "r"], ["ray"]),
        (["explain", "--train", "re"], ["reasoning="]),
        (["run", "--chat-template", "l"], ["llama2"]),
        (["run", "--chat-template", "my"], ["<my>"]),
        (["run", "--tokenizer", "to"], ["<to>"]),
        (["run", "--output", "o"], ["<o>"]),
        (["run", "chats/a"], ["<chats/a>"]),
        (["stats", "out/"], ["<out/>"]),
        (["verify", "out/"], ["<out/>"]),
        (["verify", "out", "--format", "j"], ["json"]),
        (["export", "out", "x", "--format", ""], ["arrow", "jsonl"]),
        (["train", "out/"], ["<out/>"]),
        (["run", "--seed", ""], []),
    ],
)
def test_what_is_offered(words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    script = process(_PREMASK_COMPLETE="bash_source")
    (tmp_path / "premask.bash").write_bytes(script.stdout)
    words = ["bash", "-c", "source premask.bash && complete -p premask"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert script.returncode == 0
    assert done.stdout.split()[-3:] == ["-F", "_premask_completion", "premask"]
    asked = process(_PREMASK_COMPLETE="bash_complete", COMP_WORDS="premask ver", COMP_CWORD="1")
    assert (asked.stdout, asked.stderr) == (b"plain,verify\n", b"")
