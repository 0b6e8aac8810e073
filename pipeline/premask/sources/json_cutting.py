r"""Where the elements of a JSON array begin and end, found without parsing any.

    Cutter      chunks of bytes -> where the array opens, its elements end, and it closes
    ArrayScan   chunks of bytes -> how many elements there are, and where some begin
    elements    file -> its elements as bytes, a chunk's worth at a time
    starts      places of elements, for a cut

An array of many gigabytes cannot be parsed as a whole, and a cut of it into units needs the bytes where its
elements begin. Both follow from brackets, commas and quotes alone. What is between two cuts is handed on as
it is: whether it is JSON is for `strict_json.parse_json` to say, so that values are the same everywhere.

    >>> import io
    >>> list(elements(io.BytesIO(b'[{"a": "x,]"}, 2]')))
    [[(1, b'{"a": "x,]"}'), (15, b'2')]]

Cost: 3 ns a byte; memory is a chunk and the longest element.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO

import numpy as np

from ..core.defaults import MAX_ROW_BYTES
from .files import BOM, FETCH_AGAIN, chunks
from .large_rows import Cut, Growing

SPACE = b" \t\r\n"
"""Bytes that JSON allows around values."""

_STRUCTURE = bytes(byte in b'"[]{},' for byte in range(256))
_STEP = np.zeros(256, dtype=np.int64)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1
_QUOTE = ord('"')

_NO_END = "the array does not end", f"the file is cut short, {FETCH_AGAIN}"
_WRONG_END = "the array is closed by '}'", "fix it"
_NOT_THE_END = "something follows the array", "fix it"


class BrokenArrayError(ValueError):
    """The array does not end as it should; `reason` is what is wrong and what to do, `byte` is where, `row`
    the element that was being read, and `start` where that begins, if it has no end."""

    def __init__(self, reason: tuple[str, str], byte: int, row: int, start: int | None = None) -> None:
        super().__init__(reason, byte, row, start)
        self.reason, self.byte, self.row, self.start = reason, byte, row, start


class Cutter:
    """Finds the outermost brackets and commas in chunks of a JSON text, whatever the cut of the chunks.

    `inside` starts it behind the opening bracket, at byte `offset` of the text.
    """

    def __init__(self, offset: int = 0, *, inside: bool = False) -> None:
        self.offset = offset
        self.depth = int(inside)
        self._quoted = 0
        self._escaped = False

    def feed(self, chunk: bytes) -> np.ndarray:
        """Bytes (int64[n], counted from the start of the text) at which the array opens, an element ends
        with a comma, or the array closes.

        >>> Cutter().feed(b'[1, [2, "],"]]').tolist()
        [0, 2, 13]
        """
        begin, self.offset = self.offset, self.offset + len(chunk)
        text = self._unescaped(chunk)
        marks = np.flatnonzero(np.frombuffer(text.translate(_STRUCTURE), np.bool_))
        kinds = np.frombuffer(text, np.uint8)[marks]
        quotes = kinds == _QUOTE
        quoted = (np.cumsum(quotes) + self._quoted) & 1
        self._quoted = int(quoted[-1]) if len(quoted) else self._quoted
        outside = ~(quotes | quoted.astype(np.bool_))
        marks, steps = marks[outside], _STEP[kinds[outside]]
        depths = np.cumsum(steps) + self.depth
        self.depth = int(depths[-1]) if len(depths) else self.depth
        cuts = (depths - (steps > 0) == 0) | ((depths == 1) & (steps == 0))
        found: np.ndarray = marks[cuts] + begin
        return found

    def _unescaped(self, chunk: bytes) -> bytes:
        """A chunk with other bytes in place of escaped backslashes and quotes."""
        text = b"_" + chunk[1:] if self._escaped else chunk
        self._escaped = False
        if b"\\" in text:
            text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            self._escaped = text.endswith(b"\\")
        return text


class ArrayScan:
    """Counts the elements of an array in the chunks of a text.

    The text is at byte `offset`. `is_array` says whether it begins with a bracket; `marks` are (element, byte
    behind the bracket or comma before it), at most one a chunk.
    """

    def __init__(self, offset: int = 0) -> None:
        self.is_array: bool | None = None
        self.marks: list[tuple[int, int]] = []
        self._cutter = Cutter(offset)
        self._cuts = 0
        self._closed: tuple[int, int] | None = None  # byte and bracket
        self._filled = False
        self._follows: int | None = None
        self._last = -1

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk."""
        base = self._cutter.offset
        if self.is_array is None:
            begin = (chunk.removeprefix(BOM) if base == 0 else chunk).lstrip(SPACE)
            self.is_array = begin.startswith(b"[") if begin else None
        if not self.is_array or self._closed is not None:
            self._cutter.offset += len(chunk)
            if self.is_array:
                self._look_behind(chunk, base)
            return
        cuts = self._cutter.feed(chunk) - base
        kinds = np.frombuffer(chunk, np.uint8)[cuts]
        ends = np.flatnonzero((kinds == ord("]")) | (kinds == ord("}")))
        if len(ends):
            cuts = cuts[: ends[0] + 1]
            self._closed = int(cuts[-1]) + base, chunk[int(cuts[-1])]
        if not self._filled and (self._cuts or len(cuts)):
            inner = chunk[0 if self._cuts else int(cuts[0]) + 1 : int(cuts[-1]) if len(ends) else None]
            self._filled = bool(inner.strip(SPACE))
        if len(cuts) > len(ends[:1]):
            self.marks.append((self._cuts, int(cuts[0]) + 1 + base))
        self._cuts += len(cuts)
        self._last = int(cuts[-1]) + base if len(cuts) else self._last
        if self._closed is not None:
            self._look_behind(chunk[self._closed[0] + 1 - base :], self._closed[0] + 1)

    def _look_behind(self, rest: bytes, byte: int) -> None:
        if self._follows is None and (text := rest.lstrip(SPACE)):
            self._follows = byte + len(rest) - len(text)

    @property
    def open_end(self) -> tuple[int, int] | None:
        """Of an array that does not close: how many of its elements are followed by a comma, and the byte of
        the last such comma (of the bracket, if there is none). None of one that closes."""
        return None if self._closed is not None else (max(self._cuts - 1, 0), self._last)

    def count(self) -> int:
        """How many elements there are, once all chunks are fed. Raises `BrokenArrayError`."""
        if self._closed is None:
            raise BrokenArrayError(_NO_END, self._cutter.offset, self._cuts - 1, self._last + 1)
        rows = self._cuts - 1 if self._filled else 0
        if self._closed[1] == ord("}"):
            raise BrokenArrayError(_WRONG_END, self._closed[0], rows - 1)
        if self._follows is not None:
            raise BrokenArrayError(_NOT_THE_END, self._follows, rows)
        return rows


def elements(
    file: IO[bytes], start: int | None = None, *, limit: int = MAX_ROW_BYTES, alone: bool = True
) -> Iterator[list[tuple[int, bytes | Cut]]]:
    """Yield the elements of the array in a file, without the space around them, each with the byte at which
    it begins; those that end in one chunk together. An element of more than `limit` bytes is cut.

    `start` is the byte at which the file is now, where an element begins; without it the
    file is read from its start, and must hold one array. If the array is not `alone`, more may follow it.

    Raises `BrokenArrayError` where the array does not close, or something follows it.
    """
    cutter = Cutter(start or 0, inside=start is not None)
    begin, held, row = start, Growing(limit), 0
    for chunk in chunks(file):
        base, found = cutter.offset, list[tuple[int, bytes | Cut]]()
        for cut in cutter.feed(chunk).tolist():
            kind = chunk[cut - base]
            if begin is not None:
                held.add(chunk[max(begin - base, 0) : cut - base])
                space, element = _stripped(held.take())
                if element or row or kind == ord(","):
                    found.append((begin + space, element))
                    row += 1
            begin = cut + 1
            if kind in b"]}":
                yield found
                rest = chunk[cut - base :]
                _check_end(kind, rest if alone else rest[:1], file if alone else io.BytesIO(), cut, row)
                return
        if found:
            yield found
        if begin is not None:
            held.add(chunk[max(begin - base, 0) :])
    raise BrokenArrayError(_NO_END, cutter.offset, row, begin)


def _stripped(raw: bytes | Cut) -> tuple[int, bytes | Cut]:
    """An element without the space around it, and how much is before it; b"" if it is nothing but space."""
    if isinstance(raw, Cut):
        return 0, b"" if raw.blank else raw
    return len(raw) - len(raw.lstrip(SPACE)), raw.strip(SPACE)


def _check_end(kind: int, rest: bytes, file: IO[bytes], byte: int, row: int) -> None:
    """Raise `BrokenArrayError` unless the array is closed (at `byte`) by its bracket, and nothing follows."""
    if kind == ord("}"):
        raise BrokenArrayError(_WRONG_END, byte, row - 1)
    end = byte + 1
    for chunk in chain([rest[1:]], chunks(file)):
        end += len(chunk)
        if text := chunk.lstrip(SPACE):
            raise BrokenArrayError(_NOT_THE_END, end - len(text), row)


def starts(file: IO[bytes], marks: Sequence[tuple[int, int]], rows: Sequence[int]) -> list[int]:
    """The bytes behind the bracket or comma before some elements (`rows`, ascending), of which only what lies
    between the `marks` of an `ArrayScan` is read."""
    found = []
    for row in rows:
        element, byte = marks[bisect_right(marks, (row, 1 << 62)) - 1]
        file.seek(byte)
        cutter = Cutter(byte, inside=True)
        for chunk in chunks(file) if element < row else ():
            cuts = cutter.feed(chunk)
            if element + len(cuts) >= row:
                byte = int(cuts[row - element - 1]) + 1
                break
            element += len(cuts)
        found.append(byte)
    return found
