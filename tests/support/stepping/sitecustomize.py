"""For `fault_test.py`, in a process that has this folder in its path: counts how often it changes names in the file
system (makes, renames, links or removes something), and kills the process right before the Nth change, once.

    PREMASK_FAULT_STEP=17           which one, 0 for none
    PREMASK_FAULT_STEPS=some/file   where the count is written, at the end or before the kill
"""

import atexit
import os
import signal
import sys
from pathlib import Path

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"}
fatal = int(os.environ.pop("PREMASK_FAULT_STEP", "-1"))  # processes that this one starts are left alone
steps = 0


def count(event: str, _: object) -> None:
    global steps  # noqa: PLW0603  a hook has nothing else to keep its count in
    if event in CHANGES:
        steps += 1
        if steps == fatal and not place.exists():
            place.write_text(str(steps))
            os.kill(os.getpid(), signal.SIGKILL)


if fatal >= 0:
    sys.addaudithook(count)
    place = Path(os.environ.pop("PREMASK_FAULT_STEPS"))
    atexit.register(lambda: steps and place.write_text(str(steps)))
