"""Commands where something about the process is odd: closed streams, no folder, other locales and terminals."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from commands import ROOT, TOKENIZER, chat, command_line, premask, write_rows

ROWS = [chat("Grüße 你好 😀", "Hé 世界 🎉"), chat("Hi")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `a b.jsonl` and its output `out`."""
    folder = tmp_path_factory.mktemp("odd\nfolder")
    source = write_rows(folder / "a b.jsonl", ROWS)
    done = premask("run", source, "--tokenizer", TOKENIZER, "--output", folder / "out")
    assert done.code == 0, done.err
    return folder


def shell(script: str, *words: object, **environ: str | None) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell, which gets it as `"$@"`."""
    changed = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), **environ}
    environment = {name: value for name, value in changed.items() if value is not None}
    command = ["sh", "-c", script, "sh", *command_line(*words)]
    return subprocess.run(command, env=environment, capture_output=True, check=False, encoding="utf-8")


def test_a_full_disk_behind_stdout_is_one_line(made: Path) -> None:
    done = shell('exec "$@" > /dev/full', "stats", made / "out")

    assert (done.returncode, done.stderr) == (
        2,
        "premask: the output cannot be written: No space left on device\n",
    )


def test_closed_streams_take_no_file_s_place(made: Path) -> None:
    """A run whose streams are closed writes the same files: nothing that is printed gets into them."""
    words = ("run", made / "a b.jsonl", "--tokenizer", TOKENIZER, "--workers", 1, "--output")
    done = shell('exec "$@" <&- >&- 2>&-', *words, made / "closed")

    assert done.returncode == 0
    names = ["packed/train-00000-of-00001.parquet", "rejects/rejects-00000-of-00001.parquet", "README.md"]
    for name in names:
        paths = [made / out / name for out in ("out", "closed")]
        assert paths[0].is_file() == paths[1].is_file(), name
        assert not paths[0].is_file() or paths[0].read_bytes() == paths[1].read_bytes()
    assert (made / "closed" / names[0]).is_file()


def test_errors_behind_a_closed_stderr_have_their_exit_code() -> None:
    assert shell('exec "$@" 2>&-', "bogus").returncode == 2
    assert shell('exec "$@" 2>&-', "verify", "nothing-here").returncode == 2


def test_a_removed_directory_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell(f'cd "{gone}" && rmdir "{gone}" && exec "$@"', "stats", "out")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "premask: the current directory was removed; change to another one"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"COLUMNS": "1", "LINES": "1", "TERM": None, "HOME": None},
        {"COLUMNS": "many", "TERM": "no-such-terminal"},
    ],
)
def test_other_locales_and_terminals(made: Path, environ: dict[str, str | None]) -> None:
    for words in (["explain", made / "a b.jsonl", "--tokenizer", TOKENIZER], ["rejects", made / "out"]):
        done = shell('exec "$@"', *words, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_the_help_of_train_needs_no_torch(tmp_path: Path) -> None:
    hide = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "sys.modules['torch'] = None\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hide)
    path = os.pathsep.join((str(tmp_path), str(ROOT / "pipeline")))
    shown = shell('exec "$@"', "train", "--help", PYTHONPATH=path)
    refused = shell('exec "$@"', "train", "out", "--model", "m", "--output", "o", PYTHONPATH=path)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "--learning-rate" in shown.stdout
    assert (refused.returncode, refused.stderr) == (
        2,
        "premask: torch is not installed; pip install 'premask[train]'\n",
    )
