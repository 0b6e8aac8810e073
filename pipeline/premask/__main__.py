"""The command `premask`: what happens around it, when it is interrupted or dies.

    premask run recipe.yaml         or: python -m pipeline run recipe.yaml

Ctrl-C and SIGTERM end the command with one line, at any moment. While modules are still being imported, and
until a run takes hold of its output (some seconds), there is nothing to clear up, and the process ends at
once: libraries do not expect an exception out of nowhere while they load. Later an interrupt goes up through
the run, which ends its worker processes and lets go of the output; a second one does not wait for that, and
nothing waits longer than ten seconds. The exit code is 128 and the signal's number, as shells have it.

A run does units in its own process, too, and one row is enough to take a process down: a library crashes, or
memory is short. So `premask run` is a process of a few megabytes that has nothing to do but to start it
again; the units that it was at are then done by worker processes (`runners/local.py`). Cost: some
milliseconds."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "told to end"}
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
_STARTS = 4  # of a run that crashes, in all
_TIDY = b"\r\x1b[2K\x1b[?25h"  # clears the line of a progress bar, and shows the cursor that it hid
_PATIENCE_S = 10  # with what is cleared up
_SAME_S = 0.5  # a terminal and who watches over the run may both pass on one interrupt


def main() -> None:
    """Run the command; ends the process."""
    signals = _Signals()
    if sys.argv[1:2] != ["run"] or not hasattr(os, "fork"):
        _command(signals)
        return
    for start in range(1, _STARTS + 1):
        number = _in_child(signals)
        again = number in _CRASHES and start < _STARTS
        then = "it goes on in a new one" if again else "what is done is kept, run the same command again"
        _say(f"the process of the run ended by {signal.Signals(number).name}; {then}")
        if not again:
            sys.exit(128 + number)


def _command(signals: _Signals) -> None:
    from .cli.app import main as run_command  # noqa: PLC0415  the signals come before all that this imports
    from .running.runners.process import work_has_begun  # noqa: PLC0415

    signals.can_clear_up = work_has_begun if sys.argv[1:2] == ["run"] else lambda: True
    try:
        run_command()
    except BaseException:  # whatever became of the interrupt on its way up
        if signals.heard is None:
            raise
        signals.leave()


class _Signals:
    """What was heard."""

    def __init__(self) -> None:
        self.heard: int | None = None
        self.can_clear_up: Callable[[], bool] = lambda: False
        self._at = 0.0
        _listen(self.hear)

    def hear(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        before, self._at = self._at, time.monotonic()
        if self.heard is not None and self._at - before < _SAME_S:
            return
        again, self.heard = self.heard is not None, number
        if again or not self.can_clear_up():
            self.leave()
        signal.signal(signal.SIGALRM, lambda *_: self.leave())
        signal.alarm(_PATIENCE_S)
        raise KeyboardInterrupt

    def leave(self) -> NoReturn:
        """End this process with one line. (Where Python ends it, it may send itself a signal.)"""
        heard = signal.Signals(self.heard or signal.SIGINT)
        if os.isatty(2):
            os.write(2, _TIDY)
        _say(f"{_CODES[heard]}; what is done is kept, run the same command again to go on")
        os._exit(128 + heard)


def _listen(hear: object) -> None:
    for number in _CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            signal.signal(number, hear)  # type: ignore[arg-type]


def _say(text: str) -> None:
    os.write(2, f"premask: {text}\n".encode())


# ==== A run, and who watches over it ====


def _in_child(signals: _Signals) -> int:
    """Run the command in a child. Ends this process as the child ends, or returns the signal that ended
    it."""
    _listen(signals.hear)  # what the child inherits
    parent, child = os.getpid(), os.fork()
    if not child:
        _end_with(parent)
        _command(signals)
        sys.exit(0)

    def pass_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    _listen(pass_on)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
    return os.WTERMSIG(status)


def _end_with(parent: int) -> None:
    """Have the system end this process when its parent is gone; elsewhere than on Linux it goes on to the
    end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


if __name__ == "__main__":
    main()
