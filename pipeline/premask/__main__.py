"""The command `premask`, also as `python -m premask`: interrupts and crashes.

Ctrl-C and SIGTERM end the command with one line, at any moment. Until a run locks its output (a few seconds),
there is nothing to clean up, and the process ends at once: libraries do not expect exceptions while they
load. Later, an interrupt goes up through the run, which ends its workers and releases the output. A second
interrupt does not wait for that, and nothing waits longer than ten seconds. The exit code is 128 plus the
number of the signal, as in shells.

The driver processes units, too, and one row can kill a process: a library crashes, or memory runs out. So
`premask run` is a small process that only starts the driver, and starts it again after a crash. Workers then
process the units that were in progress (`runners/local.py`). Other commands that render rows are not started
again: if a limit ends them, one line says so.
"""

from __future__ import annotations

import os
import signal
import sys

from .running.runners.process import Interrupts, collect_seldom, run_in_child, work_has_begun
from .running.runners.stderr import is_about_memory, say

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGKILL}
_CRASHES |= {signal.SIGXCPU, signal.SIGVTALRM, signal.SIGPROF}  # of limits of CPU time (`core/limits.py`)
_RENDERING = {"run", "init", "explain", "plan", "report", "verify"}
"""Commands that run chat templates and tokenizers over many rows. A limit may end their process."""

_CONTINUING = {"run", "finish", "repack", "push", "train"}
"""Commands that go on where an interrupted one stopped."""

_STARTS = 4  # of a run that crashes, in all
_MORE_MEMORY = "run the same command again with more memory, or with fewer workers"


def main() -> None:
    """Run the command; ends the process."""
    _open_streams()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    interrupts = Interrupts(keeps=command in _CONTINUING)
    collect_seldom()
    if command not in _RENDERING or not hasattr(os, "fork"):
        _command(interrupts)
        return
    for start in range(1, _STARTS + 1):
        number, line, code = run_in_child(lambda: _command(interrupts), interrupts)
        if number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # it was leaving already, when Python handles no signals
            interrupts.heard = number
            interrupts.leave()
        of_memory = is_about_memory(line)
        if of_memory and start > 1:  # it crashes without a row at hand, too
            say(f"memory is short ({line}); finished work is kept: {_MORE_MEMORY}")
            sys.exit(2)
        if command != "run":
            why = _cause(number, line, code)
            say(f"the process was ended by {why}: a limit, or a library or function that ends it")
            sys.exit(code or 1)
        again = (not number or number in _CRASHES) and start < _STARTS
        then = "a new one continues" if again else "finished work is kept, run the same command again"
        say(f"the process of the run was ended by {_cause(number, line, code)}; {then}")
        if not again:
            sys.exit(code or 1)


def _cause(number: int, line: str, code: int) -> str:
    name = signal.Signals(number).name if number else f"code that exits with {code}"
    return f"{name} ({line})" if line else name


def _open_streams() -> None:
    """Open the standard streams that are closed, so that no file that is opened later takes their place and
    gets what libraries print."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False, encoding="utf-8"))


def _command(interrupts: Interrupts) -> None:
    from .cli.app import main as run_command  # noqa: PLC0415  signals are handled before all that this imports

    interrupts.can_clean_up = work_has_begun if sys.argv[1:2] == ["run"] else lambda: True
    try:
        run_command()
    except BaseException:  # an interrupt may be wrapped in another error
        if interrupts.heard is None:
            raise
        interrupts.leave()


if __name__ == "__main__":
    main()
