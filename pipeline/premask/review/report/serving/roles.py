"""The roles of single samples, by processing their rows again, in a process of its own.

    roles = Roles(dataset)
    traced, note = roles.of(("chats.jsonl", 7, 0), (ids, labels))

Rows run the chat template of the output. Its limits of time and memory hold in the main thread of a process
alone, and may end the process (`core/limits.py`). So it is not the one that serves. It starts at once, in the
background, if a source of the output is here, and again if it was ended.

Cost: the process takes about 150 MB. The first sample of a source takes reading the source, others 10 ms.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ....core.errors import PremaskError, one_line
from ....core.limits import hold_limits
from ....core.received_files import is_file_here
from ....output.dataset import Dataset, open_dataset
from ....running.runners.process import end_with_parent, interrupts_blocked
from ...rerun import Key, Retracer, Tokens, Traced

WAIT_S = 0.5
"""Wall-clock seconds that an answer waits for the roles of a sample."""

KEPT = 16
"""Samples that are remembered, or waited for."""

LATE = "Roles are not known yet: the row is being processed again."
"""What is said of roles that are asked for again."""


class Roles:
    """Finds the roles of samples of one output; for any number of threads."""

    def __init__(self, dataset: Dataset) -> None:
        inputs = dataset.manifest.inputs
        self._sources = {each.source for each in inputs if each.map is None and is_file_here(each.source)}
        self._known: OrderedDict[Key, Future[Any]] = OrderedDict()
        self._lock, self._thread = threading.Lock(), ThreadPoolExecutor(1)
        self._worker: _Worker | None = None
        self._out, self._is_closed = dataset.root.resolve(), False
        first = next((each.source for each in inputs if each.source in self._sources), None)
        if first is not None:
            self._thread.submit(self._ask, first)

    def close(self) -> None:
        """End the process."""
        self._is_closed = True
        if self._worker is not None:
            self._worker.end()
        self._thread.shutdown(cancel_futures=True)

    def of(self, key: Key, tokens: Tokens) -> tuple[Traced | None, str]:
        """Return a sample with its origins, or None and why they are not known."""
        if key[0] not in self._sources:
            return None, "Roles are not known: the source of this row is not here."
        try:
            found = self._asked(key, tokens).result(WAIT_S)
        except LateError:
            return None, LATE
        except (CancelledError, EOFError, OSError):
            return None, "Roles are not known: a limit of time or memory ended what processes the row."
        if isinstance(found, str):
            return None, f"Roles are not known: {found}."
        return found, "" if found else "Roles are not known: the row gives other tokens now."

    def _asked(self, key: Key, tokens: Tokens) -> Future[Any]:
        """The sample when it is there: what was asked before is not asked again. Of many that wait, the first
        ones are given up."""
        with self._lock:
            if key not in self._known:
                self._known[key] = self._thread.submit(self._ask, (key, tokens))
            while len(self._known) > KEPT:
                self._known.popitem(last=False)[1].cancel()
            return self._known[key]

    def _ask(self, question: Any) -> Any:
        """What the process answers; one thread asks it. Raises `EOFError` or `OSError` if it ends."""
        if self._is_closed:
            raise EOFError
        if self._worker is None or not self._worker.process.is_alive():
            self._worker = _Worker(self._out)
        return self._worker.ask(question)


class _Worker:
    """The other process."""

    def __init__(self, out: Path) -> None:
        context = get_context("spawn")  # this process has threads
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, out), daemon=True)
        with interrupts_blocked():
            self.process.start()
        theirs.close()

    def ask(self, question: Any) -> Any:
        self._connection.send(question)
        return self._connection.recv()

    def end(self) -> None:
        self.process.kill()


# ==== In the other process ====


def _work(connection: Connection, out: Path) -> None:
    """Answer until the parent ends: a source is read, a sample is traced."""
    end_with_parent()
    hold_limits()
    try:
        retracer = Retracer(open_dataset(out))
    except (PremaskError, ValidationError) as error:
        why = f"its tokenizer or template cannot be loaded ({one_line(error, 200)})"
        while True:
            connection.recv()
            connection.send(why)
    while True:
        connection.send(_answer(retracer, connection.recv()))


def _answer(retracer: Retracer, question: Any) -> Traced | str | None:
    """A sample with its origins, or why there are none."""
    try:
        if not isinstance(question, str):
            return retracer.trace(*question)
        retracer.prepare(question)
    except PremaskError as error:
        return one_line(error, 300)
    return None
