"""An output that is counted in the background, from the moment it is opened.

counted = Counted(dataset)
counted.index()                     # waits for the lineage: 0.3 us a sample
counted.figures(wait=0.5)           # None if its tokens are not counted by then
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ....core.errors import OutputError, PremaskError, one_line
from ....output.dataset import Dataset
from ....output.sample_index import SampleIndex, read_index
from ...stats import measure


class Counted:
    """The index and the figures of one output; a thread works them out. For any number of threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._index: SampleIndex | None = None
        self._figures: Mapping[str, Any] | None = None
        self._error = OutputError("the output cannot be read")
        self._is_read, self._is_done = threading.Event(), threading.Event()
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        try:
            index = self._index = read_index(self._dataset)
            self._is_read.set()
            self._figures = measure(self._dataset.root, seen=[index.count_trained])
        except Exception as error:  # noqa: BLE001  a thread has nobody to raise it to: who waits is told
            kind = "" if isinstance(error, PremaskError) else f"{type(error).__name__}: "
            self._error = OutputError(kind + one_line(error))
        finally:
            self._is_read.set()
            self._is_done.set()

    @property
    def share(self) -> float:
        """How much of the samples is counted, 0 to 1."""
        return 0.0 if self._index is None else self._index.counted / max(len(self._index), 1)

    def index(self) -> SampleIndex:
        """Return the index when it is read. Raises `OutputError` if the output cannot be read."""
        self._is_read.wait()
        if self._index is None:
            raise self._error
        return self._index

    def figures(self, wait: float | None = None) -> Mapping[str, Any] | None:
        """Return the figures (`stats.measure`); None if they are not known within so many seconds. Raises
        `OutputError` if the output cannot be read."""
        if not self._is_done.wait(wait):
            return None
        if self._figures is None:
            raise self._error
        return self._figures
