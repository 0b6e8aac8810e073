"""`premask report --serve`: the report of an output with all its rows, for a browser on this machine.

    serve(Path("out/chats"), port=0, ready=print)       # until it is interrupted

The parts: `server.py` (who may ask), `answers.py` (what is answered), `counting.py` (index
and figures, in the background), `listed.py` and `search.py` (all samples, sorted, filtered,
searched), `packs.py`, `rejects.py`, and `roles.py` (roles, in a process of its own).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ....output.dataset import open_dataset
from .answers import Answers
from .server import Server


def serve(out: Path, port: int, ready: Callable[[Server], None]) -> None:
    """Serve an output until the process is interrupted; `ready` is called when requests are answered.

    Raises `OutputError` if the output cannot be read, or the port not be used.
    """
    with Answers(open_dataset(out)) as answers, Server(answers, port) as server:
        ready(server)
        server.serve_forever(poll_interval=0.2)
