"""Blocks of lines, and the row on a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from ..core.records import Row
from .blocks import Block
from .files import decoded
from .large_rows import unparsed
from .line_values import parse_line, without_marks


@dataclass(frozen=True, slots=True)
class LineBlock(Block):
    """Consecutive lines of JSONL without their line breaks, blank ones left out; the numbers are those of the
    lines."""

    lines: Sequence[bytes]

    @property
    def size(self) -> int:
        """Bytes of its lines."""
        return sum(map(len, self.lines))

    def row(self, i: int) -> Row:
        """Parse line `i` of the block."""
        return row_of_line(self.source, int(self.numbers[i]), self.lines[i])

    def taken(self, mask: np.ndarray) -> LineBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], lines=list(compress(self.lines, mask)))


def row_of_line(source: str, number: int, line: bytes) -> Row:
    """The row on a line that is not blank."""
    text = decoded(source, number, without_marks(line))
    text = text.removesuffix("\r")
    try:
        return Row(source, number, parse_line(text), original=text)
    except ValueError as error:
        return unparsed(source, number, text, error)
