"""In a process that has this folder in its path: stops it when some units of a run are done, until it is continued.

    PREMASK_PAUSE_UNITS=2           so many
    PREMASK_PAUSED=some/file        where it writes its process id, right before it stops

So a test can act in the middle of a run, however fast the machine is (`commands.paused`).
"""

import os
import signal
import sys
from pathlib import Path

units = int(os.environ.pop("PREMASK_PAUSE_UNITS", "0"))  # processes that this one starts are left alone
done = 0


def count(event: str, args: tuple[object, ...]) -> None:
    global done  # noqa: PLW0603  a hook has nothing else to keep its count in
    if event == "os.rename" and Path(str(args[1])).parent.name == "units":
        if done == units:
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        done += 1


if units:
    mark = Path(os.environ.pop("PREMASK_PAUSED"))
    sys.addaudithook(count)
