"""How a run tells that it goes on."""

from __future__ import annotations

import numpy as np


class Progress:
    """Told how a run goes on; this one keeps silent."""

    def start(self, rows: int | None) -> None:
        """Work begins on so many rows, None if they have not been counted."""

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """So much was done since the last call."""

    def begin(self, piece: int, rows: np.ndarray) -> None:
        """Work begins on rows of a slice of a unit, by their numbers in the file; told where a row is looked
        for that the work dies of."""

    def say(self, text: str) -> None:
        """The run waits for something."""
