"""What libraries write to stderr by themselves, seen from outside of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import ROOT

SCRIPT = r"""
import os, sys
from premask.running.runners.process import Interrupts, run_in_child
from premask.running.runners.stderr import say

def work():
    os.write(2, {lines!r}.encode())
    sys.stderr.write("a line of ours\n")
    say("another one")
    os.abort()

print(*run_in_child(work, Interrupts()), sep="|")
"""


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        ("", ""),
        ("some warning\nthe last line\x1b\n", "the last line?"),
        ("memory allocation of 8 bytes failed\nstack backtrace:\nnote: more\n", "memory allocation of 8 bytes failed"),
        ("x" * 70_000 + "\nterminate called\n  what():  std::bad_alloc\n", "what():  std::bad_alloc"),
    ],
)  # fmt: skip
def test_lines_of_libraries_are_kept_out_and_the_cause_is_found(lines: str, cause: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    words = [sys.executable, "-c", SCRIPT.format(lines=lines)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"6|{cause}|134\n"), done.stderr
    assert done.stderr == "a line of ours\npremask: another one\n"
