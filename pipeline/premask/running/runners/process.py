"""Process settings: faster start, signals, and workers that end with their parent.

    collect_seldom()        # first of all
    prepare_process()       # early

These are for the command and its workers only. A program that imports premask keeps its own settings. This
module needs the standard library only, and `__main__.py` imports it before everything else. So the command
can be interrupted from its first moment.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from .stderr import LastLines, keep_stderr, say, show

# ==== Speed ====


def collect_seldom() -> None:
    """Look for unreachable cycles of objects after 50,000 new objects, not after 700.

    Gain: a twentieth of a CPU second at the start. The libraries make hundreds of thousands of objects that
    stay, and each collection visits many of them.
    """
    gc.set_threshold(50_000)


def prepare_process() -> None:
    """Prepare this process for the work. Call it early, before `pandas` is imported."""
    global _is_prepared  # noqa: PLW0603  a state of the process
    _is_prepared = True
    collect_seldom()
    _keep_freed_memory()
    _keep_pandas_out()
    from ...core.limits import hold_limits  # noqa: PLC0415  `__main__` does not need it
    from ...tokens.flat_ids import leave_awkward_out  # noqa: PLC0415  `__main__` does not need it

    leave_awkward_out()
    hold_limits()


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of freed arrays of up to 32 MiB for new ones.

    Gain: about 8 ns a token, a few percent of a run. Otherwise glibc returns large arrays to the system,
    which clears every page that it hands out again. Other C libraries have no `mallopt`, or one that does
    nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def _keep_pandas_out() -> None:
    """Make Arrow in this process ignore pandas. No code here gives it a pandas object.

    Gain: a quarter of a CPU second and 50 MB per process, because `pa.array` and `to_numpy` import pandas on
    their first call. If pandas is already loaded, nothing changes.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa  # noqa: PLC0415  `__main__` does not need it

    too_old = types.ModuleType("pandas")
    too_old.__dict__["__version__"] = "0.0"
    sys.modules["pandas"] = too_old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.array([0])
    finally:
        del sys.modules["pandas"]


@contextmanager
def without_old_garbage() -> Iterator[None]:
    """Exclude all existing objects from garbage collection in the `with` block.

    Gain: at most a few percent of a run. Otherwise each full collection visits all modules and tokenizers,
    hundreds of thousands of objects that stay.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def keep_what_is_loaded() -> None:
    """Exclude all existing objects from garbage collection for good; for worker processes. Gain: as
    `without_old_garbage`."""
    gc.freeze()


# ==== Signals ====

_CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_TIDY = b"\r\x1b[2K\x1b[?25h"  # clears the line of a progress bar, and shows the hidden cursor
_PATIENCE_S = 10  # limit for cleaning up
_SAME_S = 0.5  # a terminal and a parent process may both pass on the same interrupt

_has_begun = False


def begin_work() -> None:
    """From here on, an interrupted or terminated process has to clean up."""
    global _has_begun  # noqa: PLW0603  a state of the process
    _has_begun = True


def work_has_begun() -> bool:
    """Whether an interrupted process has to clean up."""
    return _has_begun


class Interrupts:
    """Handles SIGINT and SIGTERM from its creation on.

    Without anything to clean up, a signal ends the process at once. Else it raises `KeyboardInterrupt` once.
    After a second signal, or after ten seconds, the process ends in any case. `keeps` is whether the command
    leaves work that another one continues.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self.heard: int | None = None
        self._then = "; finished work is kept, run the same command again to continue" if keeps else ""
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
        """End this process with a message of one line."""
        heard = signal.Signals(self.heard or signal.SIGINT)
        show(_TIDY)
        say(f"{_CODES[heard]}{self._then}")
        os._exit(128 + heard)


def _handle(handler: object) -> None:
    for number in _CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores signals
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM in this thread and in the processes that it starts meanwhile.

    A signal to all processes of a terminal or service is for the parent process, which ends the others. A
    child cannot block it in time by itself, because its imports take a second.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _CODES)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def own_handler(number: int) -> Iterator[None]:
    """Restore the handler of a signal after a library has set its own. Ray's handler prints stacks and ends
    the process."""
    before = signal.getsignal(number)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, before)


# ==== Parents and children ====


_OWN_THREADS = ("polars", "duckdb", "torch", "ray", "hf_xet", "jax")
"""Libraries with threads that a fork would lose, with what waits for them."""

_is_prepared = False


def may_fork(own_threads: int = 1) -> bool:
    """Whether a copy of this process can go on with its work.

    Only a process of the command on Linux, without threads of Python (but for `own_threads`) and of libraries
    that need theirs. Those of Arrow, OpenBLAS and jemalloc start again in the copy, and the tokenizers here
    use none.

    Gain: three CPU seconds per worker, for loading what this process has loaded.
    """
    others = any(name in sys.modules for name in _OWN_THREADS)
    return sys.platform == "linux" and _is_prepared and not others and threading.active_count() <= own_threads


def begin_as_copy() -> None:
    """Take signals as a new process does."""
    for number in _CODES:
        signal.signal(number, signal.SIG_DFL)


class Crash(NamedTuple):
    """How a child ended before its work was done: by which signal, or with 0 by itself, with which exit code,
    and what a library wrote about it, if anything."""

    number: int
    line: str
    code: int


def run_in_child(work: Callable[[], None], interrupts: Interrupts) -> Crash:
    """Do some work in a forked child that handles `interrupts`; pass signals on to it.

    Ends this process with the exit code of the child, or returns how the child ended before its work was
    done: it was killed, or code there called `_exit`.

    Gain: if a library crashes or memory runs out, only the child ends, and this process, of a few megabytes,
    can start another one. Cost: a few milliseconds.
    """
    _handle(interrupts.hear)  # the child inherits it
    parent, (reading, writing), (ended, end) = os.getpid(), os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.close(ended)
        end_with(parent)
        keep_stderr(writing)
        try:
            work()
        finally:
            os.write(end, b".")
        sys.exit(0)
    os.close(writing)
    os.close(end)

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    _handle(pass_on)
    lines = LastLines(reading)
    _, status = os.waitpid(child, 0)
    os.set_blocking(ended, False)  # a process that the child has left behind may keep the pipe open
    is_done = False
    with suppress(BlockingIOError):
        is_done = bool(os.read(ended, 1))
    os.close(ended)
    if os.WIFSIGNALED(status):
        return Crash(os.WTERMSIG(status), lines.cause(), 128 + os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    if is_done or code - 128 in _CODES:  # `Interrupts.leave`
        sys.exit(code)
    return Crash(0, lines.cause(), code)


_hiding = threading.Lock()


@contextmanager
def main_hidden() -> Iterator[None]:
    """Have processes that are spawned in the `with` block not run the script of this one again.

    `multiprocessing` imports the module `__main__` in each of them. Ours need nothing of it, and a script
    that calls `premask.run` without `if __name__ == "__main__"` would call it again there.
    """
    with _hiding:
        before = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = before


def end_with(parent: int) -> None:
    """Have Linux kill this process when its parent ends, so that no writer outlives a killed command.

    On other systems, this process continues to its end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent() -> None:
    """Start a thread that ends this worker process when its parent ends, on any system."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    import multiprocessing.connection  # noqa: PLC0415  `__main__` does not need it

    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def in_directory(path: Path) -> Iterator[None]:
    """Change the working directory in the `with` block, also for processes that start meanwhile."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)
