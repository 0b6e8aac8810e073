"""`premask report --serve`: the report of an output with all its rows, for a browser on this machine.

    serve(Path("out/chats"), port=0, ready=print)       # until it is interrupted

The parts: `serve_http.py` (who may ask), `serve_answers.py` (what is answered), `serve_counting.py` (index
and figures, in the background), `serve_list.py` and `serve_search.py` (all samples, sorted, filtered,
searched), `serve_packs.py`, `serve_rejects.py`, and `serve_roles.py` (roles, in a process of its own).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...output.dataset import open_dataset
from .serve_answers import Answers
from .serve_http import Server


def serve(out: Path, port: int, ready: Callable[[Server], None]) -> None:
    """Serve an output until the process is interrupted; `ready` is called when requests are answered.

    Raises `OutputError` if the output cannot be read, or the port not be used.
    """
    with Answers(open_dataset(out)) as answers, Server(answers, port) as server:
        ready(server)
        server.serve_forever(poll_interval=0.2)
