"""Samples of one very long row, kept in a file until all of them are known.

    spool = Spool()
    spool.add(samples)          # as often as needed
    spool.samples()             # all of them; their tokens are read from the file where they are used

The files lie in the folder for temporary files and have no name, so they are gone when the samples are.

Cost: 8 bytes a token on disk, 4 more for each column of other numbers; memory is that of the origins.
"""

from __future__ import annotations

import mmap
import tempfile
from typing import IO

import numpy as np

from ..core.records import Samples
from .windows import HeldSamples


class Spool:
    """Gathers samples on disk. Raises `OSError` if the disk does not take them."""

    def __init__(self) -> None:
        self._held = HeldSamples(_Column(np.int32), _Column(np.int32), lambda: _Column(np.float32))

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._held)

    def add(self, samples: Samples) -> None:
        """Put samples at the end."""
        self._held.add(samples)

    def samples(self) -> Samples:
        """All samples, in order; nothing can be added afterwards."""
        return self._held.taken()


class _Column:
    """Numbers of one kind in a file without a name."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._dtype = dtype
        self._file: IO[bytes] | None = None

    def add(self, values: np.ndarray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="premask-", buffering=0)  # noqa: SIM115  until `taken`
        data = np.ascontiguousarray(values).data.cast("B") if len(values) else memoryview(b"")
        while data:
            data = data[self._file.write(data) :]

    def taken(self) -> np.ndarray:
        """All numbers, mapped from the file."""
        if self._file is None or not self._file.tell():
            return np.zeros(0, dtype=self._dtype)
        with self._file as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=self._dtype)
