"""Lines on stderr: those of this package are shown, those that libraries write by themselves are not.

    keep_stderr(pipe)       # in a new process of the command: what C code writes to stderr goes to the pipe
    say("interrupted")      # one line of ours

A library that fails writes what it likes to the file descriptor 2: a C++ library before it aborts, a Rust
library that panics, Python itself when a worker ends in an unusual way. Such lines are of no use to the user,
and break the progress bar. So in the process of a run and its workers that descriptor is a pipe. The small
process that waits for the run (`process.py`) empties it. If the run crashes, its message has one of these
lines. `sys.stderr` and `say` still write to the stderr of the command.

This module needs the standard library only, and so does what it imports.
"""

from __future__ import annotations

import os
import re
import sys
import threading

from ...core.redact import redacted

_MOST = 4096
"""Bytes of the pipe that are kept, the last ones."""

_PATIENCE_S = 2.0
"""Limit for the wait for the end of the pipe: processes that hold it open are about to end."""

_stderr = 2


def say(text: str) -> None:
    """Write one line to stderr. It works even while modules are being imported."""
    os.write(_stderr, f"premask: {text}\n".encode())


def show(control: bytes) -> None:
    """Write control characters to stderr if it is a terminal."""
    if os.isatty(_stderr):
        os.write(_stderr, control)


def keep_stderr(pipe: int) -> None:
    """Have what libraries write to stderr go to a pipe, in this process and those that it starts."""
    global _stderr  # noqa: PLW0603  a state of the process
    _stderr = os.dup(2)
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", 1, sys.stderr.encoding, "backslashreplace")
    os.dup2(pipe, 2)
    os.close(pipe)


class LastLines:
    """Empties a pipe, and keeps the end of what was written to it."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._kept = pipe, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while more := os.read(self._pipe, 1 << 16):
            self._kept = (self._kept + more)[-_MOST:]
        os.close(self._pipe)

    def cause(self) -> str:
        """Wait for the end of the pipe; return the line that says best why the process has crashed: the last
        one about memory, else the last one; empty if there is none."""
        self._thread.join(_PATIENCE_S)
        lines = [line.strip() for line in self._kept.decode("ascii", "replace").splitlines()]
        lines = [line for line in lines if line and not _NOISE.match(line)]
        lines = list(filter(is_about_memory, lines)) or lines
        last = redacted(lines[-1])[:200] if lines else ""
        return "".join(each if each.isprintable() else "?" for each in last)


_NOISE = re.compile(r"note: |stack backtrace|skipping backtrace|\d+: |at ")
_MEMORY = re.compile(
    r"memory allocation of|bad_alloc|cannot allocate|out of memory|MemoryError", re.IGNORECASE
)


def is_about_memory(line: str) -> bool:
    """Whether a line of a library says that there is too little memory."""
    return _MEMORY.search(line) is not None
