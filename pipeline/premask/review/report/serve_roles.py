"""The roles of single samples, by processing their rows again, in a process of its own.

    with Roles(dataset) as roles:
        traced, note = roles.of(("chats.jsonl", 7, 0), (ids, labels))

Rows run the chat template of the output, whose limits of time and memory hold in the main thread of a process
alone, and may end it (`core/limits.py`). So it is not the process that serves. It starts at once, in the
background, if a source of the output is here.

Cost: the process takes about 150 MB. The first sample of a source takes reading the source, others 10 ms.
"""

from __future__ import annotations

import signal
import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as LateError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...core.errors import PremaskError, one_line
from ...core.limits import hold_limits
from ...core.received_files import is_file_here
from ...output.dataset import Dataset, open_dataset
from ...running.runners.process import end_with_parent
from ..rerun import Key, Retracer, Tokens, Traced

WAIT_S = 2.0
"""Wall-clock seconds that an answer waits for the roles of a sample."""


KEPT = 16
"""Samples that are remembered, or waited for."""


class Roles:
    """Finds the roles of samples of one output; for any number of threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._sources = {
            each.source for each in dataset.manifest.inputs if each.map is None and is_file_here(each.source)
        }
        self._pool: ProcessPoolExecutor | None = None
        self._known: OrderedDict[Key, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()
        if self._sources:
            self._pool = ProcessPoolExecutor(
                1, get_context("spawn"), initializer=_start, initargs=(dataset.root.resolve(),)
            )
            self._pool.submit(_is_ready)

    def __enter__(self) -> Roles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def of(self, key: Key, tokens: Tokens) -> tuple[Traced | None, str]:
        """Return a sample with its origins, or None and why they are not known."""
        if self._pool is None or key[0] not in self._sources:
            return None, "Roles are not known: the source of this row is not here."
        try:
            found = self._asked(self._pool, key, tokens).result(WAIT_S)
        except LateError:
            return (
                None,
                "Roles are not known yet: the row is being processed again. Open it again in a moment.",
            )
        except (BrokenProcessPool, CancelledError, RuntimeError):
            return None, "Roles are not known: the process that works them out has ended."
        if isinstance(found, str):
            return None, f"Roles are not known: {found}."
        return found, "" if found else "Roles are not known: the row gives other tokens now."

    def _asked(self, pool: ProcessPoolExecutor, key: Key, tokens: Tokens) -> Future[Any]:
        """The sample when it is there: what was asked before is not asked again. Of many that wait, the first
        ones are given up."""
        with self._lock:
            if key not in self._known:
                self._known[key] = pool.submit(_trace, key, tokens)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)[1].cancel()
            return self._known[key]


# ==== In the other process ====

_retracer: Retracer | None = None
_why = ""


def _start(out: Path) -> None:
    """Prepare the process. A terminal interrupts it together with its parent, which ends it."""
    global _retracer, _why  # noqa: PLW0603  a state of the process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    hold_limits()
    try:
        _retracer = Retracer(open_dataset(out))
    except (PremaskError, ValidationError) as error:
        _why = f"its tokenizer or template cannot be loaded ({one_line(error, 200)})"


def _is_ready() -> bool:
    return _retracer is not None


def _trace(key: Key, tokens: Tokens) -> Traced | str | None:
    """A sample with its origins, or why there are none."""
    if _retracer is None:
        return _why
    try:
        return _retracer.trace(key, tokens)
    except PremaskError as error:
        return one_line(error, 300)
