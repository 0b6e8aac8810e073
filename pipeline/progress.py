"""How a run tells that it goes on."""

from __future__ import annotations


class Progress:
    """Told how a run goes on; this one keeps silent."""

    def start(self, rows: int | None) -> None:
        """Work begins on so many rows, None if they have not been counted."""

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """So much was done since the last call."""

    def say(self, text: str) -> None:
        """The run waits for something."""
