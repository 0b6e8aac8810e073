"""Limits of CPU time and memory for the chat templates, tokenizers and rows of strangers.

    with limited("the chat template", seconds=20):              # raises LimitError
        ...
    found = in_watched_process(work, "the chat template")       # raises LimitError, whatever `work` does

What runs in Jinja's sandbox has limits of its own (`masking/chat_template.py`). These are behind them, for
all that no sandbox counts. They hold in the processes of the command (`hold_limits`). A program that imports
premask keeps its own signal handlers, and only the watched process has limits there.

Time is CPU time. So a loaded machine, a suspended process or a clock that is set changes nothing. After
`seconds`, the work is interrupted between two steps of Python. If one step takes longer than `GRACE_S`, the
system ends the process, and the run continues without the row (`running/crashes.py`). Memory is what this
process may take for data in addition (Linux).

Cost: 5 us for a `with` block; 5 to 20 ms for a watched process.
"""

from __future__ import annotations

import faulthandler
import gc
import math
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NamedTuple, TypeVar

if sys.platform != "win32":
    import resource

T = TypeVar("T")

SECONDS = 20.0
"""CPU seconds for one thing that a stranger decides, such as what all rows of one template have in common."""

GRACE_S = 10.0
"""CPU seconds for a single step that cannot be interrupted."""

MEMORY = 2 << 30
"""Bytes that it may take in addition."""

_WAIT = 20
"""Wall-clock seconds that a watched process gets for each CPU second: the machine may be loaded."""


class LimitError(Exception):
    """Something took more time or memory than it may; the text says what, and how much."""


class TimeIsUpError(BaseException):
    """Interrupts what is limited. No handler of errors there takes it for its own: whoever catches every
    `BaseException` raises it again."""


class _Held:
    """The limits of this process: whether they hold, and what is limited now."""

    def __init__(self) -> None:
        self.holds = self.active = self.is_copy = False
        self.before: tuple[int, int] = (-1, -1)
        """The limit of memory outside of the block."""
        self.leaves_garbage = False
        """Whether a block was ended: the frames of its error hold all that was made, in cycles."""


_held = _Held()


def hold_limits() -> None:
    """Have limits hold in this process and its copies. Call it from the main thread of a command."""
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGPROF, _interrupt)
        _held.holds = True


def limits_hold() -> bool:
    """Whether limits hold in this process."""
    return _held.holds


def limits_of_blocks_in_copy() -> None:
    """Have blocks have limits of their own in the copy of a watched process, within its own."""
    if _held.is_copy:
        _held.active = False
        hold_limits()


@contextmanager
def limited(what: str, seconds: float | None = None) -> Iterator[None]:
    """Limit the `with` block to `seconds` of CPU time (`SECONDS`) and `MEMORY` bytes in addition.

    Raises `LimitError`. Within another such block, the limits are those of the outer one.
    """
    if not _held.holds or _held.active or threading.current_thread() is not threading.main_thread():
        yield
        return
    seconds = SECONDS if seconds is None else seconds
    try:
        _begin(seconds)
        try:
            yield
        finally:
            _end()
    except TimeIsUpError:
        _end()  # it may have been interrupted itself
        why = too_slow(what, seconds)
    except MemoryError:
        if not _memory_is_ours():
            raise
        why = _too_large(what)
    else:
        return
    _held.leaves_garbage = True
    raise LimitError(why)


def in_watched_process(work: Callable[[], T], what: str, seconds: float | None = None) -> T:
    """Return what `work` returns, done in a copy of this process.

    The copy is ended if it takes more than `seconds` of CPU time (`SECONDS`) or crashes. What `work` returns
    or raises must be possible to pickle. Raises what `work` raises, and `LimitError`. Where processes cannot
    be copied, `work` is done in this one, with the limits that hold here.
    """
    seconds = SECONDS if seconds is None else seconds
    if sys.platform != "linux":
        with limited(what, seconds):
            return work()
    for _ in range(2):  # one that somebody else has killed is tried once more
        child, reading = start_copy(partial(_answer, work, seconds))
        answer, ended = _answer_of(child, reading, seconds)
        if answer or not ended.by_others(seconds):
            break
    if not answer:
        raise LimitError(_how_it_ended(ended, what, seconds))
    is_raised, value = pickle.loads(answer)  # noqa: S301  written by this program
    if is_raised:
        raise value
    return value  # type: ignore[no-any-return]


# ==== In this process ====


def _begin(seconds: float) -> None:
    if _held.leaves_garbage:
        _held.leaves_garbage = False
        gc.collect()
    if sys.platform == "linux":
        _limit_memory()
    _held.active = True
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds + GRACE_S)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)


def _end() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    _held.active = False
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, _held.before)


def _limit_memory() -> None:
    _held.before = soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [each for each in (data_bytes() + MEMORY, soft, hard) if each >= 0]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))


def _memory_is_ours() -> bool:
    """Whether nobody has set a limit of memory but this module. Too little memory under another limit is no
    fault of what is limited here: with more memory, the row would be kept."""
    if sys.platform != "linux":
        return True
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return all(resource.getrlimit(kind)[0] == resource.RLIM_INFINITY for kind in kinds)


def data_bytes() -> int:
    """Bytes of data that this process has, as `RLIMIT_DATA` counts them (proc_pid_statm(5))."""
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(file, 200).split()[5]) * resource.getpagesize()
    finally:
        os.close(file)


def _interrupt(_: int, __: FrameType | None) -> None:
    if _held.active:
        raise TimeIsUpError


# ==== In a copy ====


def start_copy(work: Callable[[int], object]) -> tuple[int, int]:
    """Start a copy of this process, which calls `work` with the end of a pipe to write to, and ends. What it
    prints is dropped. Return its number, and the end of the pipe to read from."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _prepare_copy()
            work(writing)
        finally:
            os._exit(0)
    os.close(writing)
    return child, reading


def _answer(work: Callable[[], Any], seconds: float, writing: int) -> None:
    """Do the work within limits, and send what it returns or raises."""
    _limit_copy(seconds)
    try:
        answer = pickle.dumps((False, work()))
    except MemoryError:
        return
    except Exception as error:  # noqa: BLE001  the parent raises it
        answer = pickle.dumps((True, error))
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(answer)


def _prepare_copy() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_copy(seconds: float) -> None:
    """Set the limits of a copy, which the system ends."""
    most = int(time.process_time() + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    _held.active = _held.is_copy = True  # no block has limits of its own
    _limit_memory()


class _Ended(NamedTuple):
    """How a copy ended: its status, and the CPU seconds it took, infinite if it was ended here."""

    status: int
    spent: float

    @property
    def signal(self) -> int:
        """The signal that ended it, 0 if none did."""
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0

    def by_others(self, seconds: float) -> bool:
        """Whether it was killed, but not for taking so many seconds."""
        return self.signal == signal.SIGKILL and self.spent < seconds


def _answer_of(child: int, reading: int, seconds: float) -> tuple[bytes, _Ended]:
    """Return what a copy sends until it ends, and how; the copy is ended if it takes too long."""
    answer, end, is_late = bytearray(), time.monotonic() + _WAIT * (seconds + 1), True
    try:
        while True:
            ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
            more = os.read(reading, 1 << 20) if ready else b""
            answer += more
            if not more:
                is_late = not ready
                break
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            if is_late:
                os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    return bytes(answer), _Ended(status, math.inf if is_late else used.ru_utime + used.ru_stime)


def _how_it_ended(ended: _Ended, what: str, seconds: float) -> str:
    number = ended.signal
    if number in (signal.SIGXCPU, signal.SIGKILL) and not ended.by_others(seconds):
        return too_slow(what, seconds)
    if number:
        return f"{what} crashes the process ({signal.Signals(number).name})"
    return _too_large(what)


def too_slow(what: str, seconds: float) -> str:
    """Return what is said of something that takes too long."""
    return f"{what} takes more than {seconds:g} seconds of CPU time"


def _too_large(what: str) -> str:
    return f"{what} takes more than {MEMORY >> 20:,} MB of memory"
