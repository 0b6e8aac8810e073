"""Locks between processes, which the system lets go of when a process ends in whatever way.

    lock_file   an open file -> locked, at once, in time or never
    Lock        a hold on a directory that need not exist yet, exclusive or shared

    if lock_file(file, wait_s=0): ...

A lock belongs to the open file: it ends when the file is closed, last by the system. Cost: some microseconds.
"""

from __future__ import annotations

import fcntl
import math
import os
import stat
import time
from pathlib import Path
from typing import final

from .errors import OutputError, cause_of

_PATIENCE_S, _POLL_S = 2.0, 0.02


def lock_file(file: int, *, shared: bool = False, wait_s: float = math.inf) -> bool:
    """Lock an open file (its descriptor); `shared` allows for others that are shared. Returns whether it is
    locked: False where another process holds it and still does after `wait_s` seconds. Raises `OutputError`
    if its file system has no locks."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if wait_s == math.inf:
        return _try(file, how)
    end = time.monotonic() + wait_s
    while not _try(file, how | fcntl.LOCK_NB):
        if time.monotonic() >= end:
            return False
        time.sleep(_POLL_S)
    return True


def _try(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OutputError(
            f"files beside the output cannot be locked: {cause_of(error)}; choose an --output on a file "
            "system that has locks (flock)"
        ) from None
    return True


@final
class Lock:
    """Exclusive hold on an output directory: a locked file beside it. A `shared` one allows for others that
    are shared. Raises `OutputError` if another process holds it, and still does two seconds later: a process
    that was just killed needs a moment.

    The last to hold it removes the file; so whoever locks it checks that others will open the same one.
    """

    def __init__(self, out: Path, *, shared: bool = False) -> None:
        self._path = out.with_name(f".{out.name}.lock")
        self._file = self._lock(out, shared=shared)
        while not self._is_current():
            os.close(self._file)
            self._file = self._lock(out, shared=shared)

    def _lock(self, out: Path, *, shared: bool) -> int:
        file, is_mine = self._opened(), False
        try:
            is_mine = lock_file(file, shared=shared, wait_s=_PATIENCE_S)
        finally:
            if not is_mine:
                os.close(file)
        if is_mine:
            return file
        raise OutputError(f"another run is writing {out}; wait until it ends, or choose another --output")

    def _opened(self) -> int:
        """Open the file of the lock. Raises `OutputError` if it is a link, a pipe or a device of somebody."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError as error:
            if not self._path.is_symlink():
                raise
            raise OutputError(f"{self._path} is a link; move it away") from error
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OutputError(f"{self._path} is no regular file; move it away")
        return file

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._file < 0:
            return
        if lock_file(self._file, wait_s=0):  # else others hold it, too
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = -1
