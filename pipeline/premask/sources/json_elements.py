"""Elements of a JSON text, found by their brackets alone, as blocks of rows.

ElementBlock    consecutive elements, each parsed when its row is made
blocks_of       groups of elements -> blocks: those of a slice
naming_place    an array that is broken -> a `SourceError` that names byte, line and row
fault           what is wrong in an element without an end
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np

from ..core.errors import SourceError
from ..core.records import At, Row, Slice
from ..core.strict_json import parse_json
from .blocks import Block, block_of
from .files import changed, chunks, opened
from .json_cutting import BrokenArrayError
from .large_rows import LARGE, Cut, large_row, unparsed
from .line_blocks import LineBlock

_LOOKED_AT = 16 << 20  # bytes in which the fault of an element is looked for

Group = Sequence[tuple[int, bytes | Cut]]
"""Consecutive elements, each with the byte at which it begins."""


@dataclass(frozen=True, slots=True)
class ElementBlock(LineBlock):
    """Consecutive elements of a JSON array, as bytes; starts int64[n] are the bytes where they begin."""

    starts: np.ndarray
    piece: Slice

    def row(self, i: int) -> Row:
        """Parse element `i`; a syntax error ends the run, because what follows may be cut in the wrong
        places."""
        number, data = int(self.numbers[i]), self.lines[i]
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            what = f"is not UTF-8: {error.reason} at {self._where(i, error.start)}"
            raise SourceError(f"{self.source} {what}, row {number}; convert it to UTF-8") from None
        original = " ".join(map(str.strip, text.split("\n"))) if "\n" in text else text
        try:
            return Row(self.source, number, parse_json(text), original=original)
        except json.JSONDecodeError as error:
            what = f"{error.msg} at {self._where(i, len(text[: error.pos].encode()))}, row {number}"
            raise SourceError(f"{self.source} is not valid JSON: {what}; fix it") from None
        except ValueError as error:
            return unparsed(self.source, number, original, error)

    def _where(self, i: int, byte: int) -> str:
        """A byte of element `i` in the file, in words."""
        return _place_of(self.source, self.piece.compression, self.piece.at, int(self.starts[i]) + byte)

    def taken(self, mask: np.ndarray) -> ElementBlock:
        """The rows of a mask, bool[n]."""
        lines = list(compress(self.lines, mask))
        return replace(self, numbers=self.numbers[mask], lines=lines, starts=self.starts[mask])


def blocks_of(piece: Slice, groups: Iterable[Group], rows: int) -> Iterator[Block]:
    """The rows of a slice in blocks, of groups of elements that begin where it does, or where its file does
    if its rows have no places. Raises `SourceError` where there are fewer."""
    number, stop = piece.start_row, piece.stop_row
    skip = piece.start_row if piece.start_byte is None else 0
    for group in groups:
        wanted = group[skip : None if stop is None else skip + stop - number]
        skip = max(skip - len(group), 0)
        yield from _blocks_of_group(piece, number, wanted, rows)
        number += len(wanted)
        if number == stop:
            return
    if stop is not None and number < stop:
        raise changed(piece.source)


def _blocks_of_group(piece: Slice, number: int, found: Group, rows: int) -> Iterator[Block]:
    """Elements in blocks, the first of them row `number`; large ones, which begin before a chunk, alone."""
    at = 0
    for i, (byte, element) in enumerate(found):
        if isinstance(element, Cut):
            yield from _small_blocks(piece, number + at, found[at:i], rows)
            yield block_of(piece.source, [large_row(piece.source, number + i, element, piece.max_row_bytes)])
            at = i + 1
        elif len(element) > LARGE:
            yield from _small_blocks(piece, number + at, found[at:i], rows)
            (block,) = _small_blocks(piece, number + i, [(byte, element)], 1)
            yield block_of(piece.source, [block.row(0)])
            at = i + 1
    yield from _small_blocks(piece, number + at, found[at:], rows)


def _small_blocks(
    piece: Slice, number: int, found: Sequence[tuple[int, Any]], rows: int
) -> Iterator[ElementBlock]:
    for at in range(0, len(found), rows):
        some = found[at : at + rows]
        yield ElementBlock(
            piece.source,
            np.arange(number + at, number + at + len(some)),
            [element for _, element in some],
            np.array([byte for byte, _ in some], dtype=np.int64),
            piece,
        )


# ==== Errors ====


@contextmanager
def naming_place(source: str, compression: str | None, at: At | None) -> Iterator[None]:
    """Turn a `BrokenArrayError` into a `SourceError` that names byte, line and row."""
    try:
        yield
    except BrokenArrayError as error:
        what, fix, byte = *error.reason, error.byte
        if error.start is not None and (found := fault(source, compression, at, error.start)):
            what, byte, fix = *found, "fix it"
        place = _place_of(source, compression, at, byte)
        raise SourceError(f"{source} is not valid JSON: {what} at {place}, row {error.row}; {fix}") from None


def fault(source: str, compression: str | None, at: At | None, start: int) -> tuple[str, int] | None:
    """What is wrong, and at which byte, in an element without an end; None if it is just cut short.

    After a quote that is missing, all that follows seems to be one string.
    """
    with opened(source, compression, at) as file:
        left = start
        while left:
            left -= len(file.read(min(left, 1 << 20))) or left
        text = file.read(_LOOKED_AT).decode("utf-8", "ignore")
    try:
        json.JSONDecoder().raw_decode(text.lstrip())
    except json.JSONDecodeError as error:
        begin = len(text) - len(text.lstrip())
        if begin + error.pos < len(text) and not error.msg.startswith("Unterminated"):
            return error.msg, start + len(text[: begin + error.pos].encode())
    except RecursionError:
        return None
    return None


def _place_of(source: str, compression: str | None, at: At | None, byte: int) -> str:
    """A byte of a text and its line, in words; counts the lines before it."""
    lines, left = 1, byte
    with opened(source, compression, at) as file:
        for chunk in chunks(file):
            lines += chunk[:left].count(b"\n")
            left -= len(chunk)
            if left <= 0:
                break
    return f"byte {byte}{', decompressed' if compression else ''}, line {lines}"
