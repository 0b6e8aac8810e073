"""What our own processes do beside the work: start faster, hear signals, end with each other.

    prepare_process()       # early
    import_transformers()   # where a tokenizer will be loaded

These are for processes that are all ours, the command and its workers; a program that imports premask keeps
its own settings. This module needs nothing but the standard library: the command is interruptible from its
first moment because `__main__.py` imports this before everything else.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType
from typing import NoReturn

# ==== Speed ====


def prepare_process() -> None:
    """Make this process fit for the work. Call it early: before anyone imports `pandas`."""
    _keep_freed_memory()
    _keep_pandas_out()


def _keep_freed_memory() -> None:
    """Have glibc keep arrays of up to 32 MiB that are freed, and all memory beside them, for the next ones.

    Gain: about 8 ns a token, some hundredths of a run. Otherwise glibc returns large arrays to the system,
    which clears every page again that it hands out. Other C libraries have no `mallopt`, or one that refuses.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def _keep_pandas_out() -> None:
    """Have Arrow of this process believe that there is no pandas; nothing here gives it a pandas object.

    Gain: a quarter of a CPU-second and 50 MB in every process, because `pa.array` and `to_numpy` import
    pandas on their first call. If pandas is loaded already nothing changes.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa  # noqa: PLC0415  `__main__` needs none

    too_old = types.ModuleType("pandas")
    too_old.__dict__["__version__"] = "0.0"
    sys.modules["pandas"] = too_old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.array([0])
    finally:
        del sys.modules["pandas"]


def import_transformers() -> None:
    """Import transformers, and have it believe that there is no torch, which tokenizers do not need.

    Gain: more than a CPU-second where torch is installed. If transformers is loaded already nothing changes.
    """
    if "transformers" in sys.modules:
        return
    find = importlib.util.find_spec

    def find_but_torch(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else find(name, package)

    importlib.util.find_spec = find_but_torch
    try:
        importlib.import_module("transformers.utils").is_torch_available()  # the answer is remembered
    finally:
        importlib.util.find_spec = find


@contextmanager
def without_old_garbage() -> Iterator[None]:
    """Have the collector look only at what is made from here on.

    Gain: at most some hundredths of a run, because each full collection would look through all modules and
    tokenizers, hundreds of thousands of objects that stay.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_what_is_loaded() -> None:
    """Have the collector never look again at what is loaded so far; for a process that only works. Gain: as
    `without_old_garbage`."""
    gc.freeze()


# ==== Signals ====

_CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_TIDY = b"\r\x1b[2K\x1b[?25h"  # clears the line of a progress bar, and shows the cursor that it hid
_PATIENCE_S = 10  # with cleaning up
_SAME_S = 0.5  # a terminal and a parent process may both pass on one interrupt

_has_begun = False


def begin_work() -> None:
    """From here on there is something to clean up when this process is interrupted or terminated."""
    global _has_begun  # noqa: PLW0603  it is about the process
    _has_begun = True


def work_has_begun() -> bool:
    """Whether there is something to clean up."""
    return _has_begun


class Interrupts:
    """Handles SIGINT and SIGTERM from when it is made: ends the process at once while there is nothing to
    clean up, else raises `KeyboardInterrupt` once. A second one, or ten seconds, end the process in any
    case."""

    def __init__(self) -> None:
        self.heard: int | None = None
        self.can_clean_up: Callable[[], bool] = lambda: False
        self._at = 0.0
        _handle(self.hear)

    def hear(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        before, self._at = self._at, time.monotonic()
        if self.heard is not None and self._at - before < _SAME_S:
            return
        again, self.heard = self.heard is not None, number
        if again or not self.can_clean_up():
            self.leave()
        signal.signal(signal.SIGALRM, lambda *_: self.leave())
        signal.alarm(_PATIENCE_S)
        raise KeyboardInterrupt

    def leave(self) -> NoReturn:
        """End this process with one line. (Where Python ends it, it may send itself a signal.)"""
        heard = signal.Signals(self.heard or signal.SIGINT)
        if os.isatty(2):
            os.write(2, _TIDY)
        say(f"{_CODES[heard]}; what is done is kept, run the same command again to go on")
        os._exit(128 + heard)


def say(text: str) -> None:
    """Write one line to stderr, also while modules are being imported."""
    os.write(2, f"premask: {text}\n".encode())


def _handle(handler: object) -> None:
    for number in _CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Have this thread block SIGINT, and what it starts inherit that: the terminal's interrupt is for the
    process that started it. To block it in the process itself would be too late: it imports for a second
    first."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def own_handler(number: int) -> Iterator[None]:
    """Restore the handler of a signal after a library set its own (Ray's prints stacks and ends the
    process)."""
    before = signal.getsignal(number)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, before)


# ==== Parents and children ====


def run_in_child(work: Callable[[], None], interrupts: Interrupts) -> int:
    """Do some work in a forked child that hears `interrupts`, while this process passes signals on to it.
    Ends this process as the child ends, or returns the signal that killed it.

    Gain: a crash of a library or a lack of memory ends the child, and this process, of a few megabytes, can
    start another one. Cost: some milliseconds.
    """
    _handle(interrupts.hear)  # what the child inherits
    parent, child = os.getpid(), os.fork()
    if not child:
        _end_with(parent)
        work()
        sys.exit(0)

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    _handle(pass_on)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    return os.WTERMSIG(status)


def _end_with(parent: int) -> None:
    """Have Linux kill this process when its parent is gone, so that a killed command leaves nothing behind
    that writes; elsewhere this process goes on to its end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent() -> None:
    """Have a thread end this worker process when the process that spawned it is gone, on any system."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    import multiprocessing.connection  # noqa: PLC0415  `__main__` needs none

    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def in_directory(path: Path) -> Iterator[None]:
    """Work in a directory, which processes that are started meanwhile inherit."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
