"""Rows that are too large: they are read to their end, but only their first bytes are kept.

    growing = Growing(limit)      # a row that arrives in pieces
    growing.add(b"..."), growing.take()
    large_row                     what was kept -> a row with an error, for the reject log

A row may have `max_row_bytes` of the recipe. A larger one takes no more memory than that, whatever its size,
and the rows after it are read. What counts is a line of JSONL, an element of a JSON array with the space
around it, the text of a CSV record, and the values of a row of Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from ..core.records import Row
from ..core.strict_json import TooManyValuesError, reason
from .files import BOM, CHUNK, chunks

HEAD = 1000
"""Bytes that are kept of a row that is too large."""

LARGE = 8 << 20
"""Bytes of rows that are read one by one, because their values may take many times as much memory."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is kept of a row that is too large: its first bytes, its size, and whether it is only space."""

    head: bytes
    size: int
    blank: bool = False


class Growing:
    """A row that is read piece by piece. Beyond `limit` bytes only its head is kept."""

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._pieces: list[bytes] = []
        self._head, self._blank = b"", True

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        fitted = self.size <= self._limit
        self.size += len(piece)
        if self.size <= self._limit:
            self._pieces.append(piece)
            return
        if fitted:
            self._head = b"".join(self._pieces)[:HEAD]
            self._blank = not any(each.strip() for each in self._pieces)
            self._pieces = []
        self._head += piece[: HEAD - len(self._head)]
        self._blank = self._blank and not piece.strip()

    def take(self) -> bytes | Cut:
        """Return the row, and begin the next one."""
        found: bytes | Cut = b"".join(self._pieces)
        if self.size > self._limit:
            found = Cut(self._head, self.size, self._blank)
        self.size, self._pieces, self._blank = 0, [], True
        return found


def lines_of(file: IO[bytes], limit: int, size: int | None = None) -> Iterator[list[bytes] | Cut]:
    """Yield the lines of a file without their line breaks, those that end in one chunk together; of its next
    `size` bytes if that is given. A line that is too large comes alone, and so does one of more than `LARGE`
    bytes.

    >>> import io
    >>> list(lines_of(io.BytesIO(b"a\\nbcd\\n\\ne"), 2))
    [[b'a'], Cut(head=b'bcd', size=3, blank=False), [b''], [b'e']]
    """
    line = Growing(limit)
    for chunk in chunks(file) if size is None else _chunks(file, size):
        first, *lines = chunk.split(b"\n")
        line.add(first)
        if lines:
            rest = lines.pop()
            yield from _apart(line.take(), lines, limit)
            line.add(rest)
    if line.size:
        yield from _apart(line.take(), [], limit)


def _chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (chunk := file.read(min(CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _apart(first: bytes | Cut, lines: list[bytes], limit: int) -> Iterator[list[bytes] | Cut]:
    """Put lines that are too large, or large, apart from the others; only the first can be longer than a
    chunk."""
    if isinstance(first, Cut):
        yield first
        yield from _apart(lines[0], lines[1:], limit) if lines else ()
        return
    if limit >= CHUNK and len(first) <= LARGE:
        yield [first, *lines]
        return
    small = list[bytes]()
    for line in [first, *lines]:
        if len(line) <= min(limit, LARGE):
            small.append(line)
            continue
        if small:
            yield small
            small = []
        yield [line] if len(line) <= limit else _cut(line)
    if small:
        yield small


def _cut(line: bytes) -> Cut:
    return Cut(line[:HEAD], len(line), not line.strip())


# ==== For the reject log ====


def large_row(source: str, number: int, cut: Cut, limit: int) -> Row:
    """A row that is too large, as the reject log lists it: with its first bytes, marked as cut.

    >>> large_row("a.jsonl", 3, Cut(b"abc", 5), 4).original
    'abc... (cut, 5 bytes in all)'
    """
    error = f"the row has {cut.size:,} bytes, max_row_bytes is {limit:,}"
    return _cut_row(source, number, cut.head.removeprefix(BOM).decode("utf-8", "ignore"), cut.size, error)


def unparsed(source: str, number: int, text: str, error: ValueError) -> Row:
    """A row whose text is no JSON, or has too many values."""
    if isinstance(error, TooManyValuesError):
        return _cut_row(source, number, text[:HEAD], len(text.encode("utf-8", "surrogatepass")), str(error))
    return Row(source, number, None, original=text, error=reason(error))


def _cut_row(source: str, number: int, head: str, size: int, error: str) -> Row:
    shown = f"{head}... (cut, {size:,} bytes in all)"
    return Row(source, number, None, original=shown, error=error, reason="row_too_large")
