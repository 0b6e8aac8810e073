"""JSON files: an array of rows, read element by element and cut at elements.

A file that is one object, or an array that is one conversation, is a single row, and parsed as a whole. A
file of one value a line is JSONL, whatever its name (`jsonl.py`). Where elements begin is found without
parsing any (`json_cutting.py`); an element that is not valid JSON ends the run, because what follows it may
be cut in the wrong places.

Cost: memory is a chunk and the longest element; a cut reads some 4 MB a unit; counting takes 3 ns a byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import numpy as np

from ..core.errors import SourceError
from ..core.records import At, Row, Slice, SourceInfo
from ..core.strict_json import TooManyValuesError, parse_json, reason
from .blocks import Block, Format, block_of, row_blocks
from .files import BOM, changed, chunks, decoded, opened
from .json_cutting import ArrayScan, BrokenArrayError, elements, starts
from .jsonl import LineBlock, lines_info
from .large_rows import LARGE, Cut, Growing, large_row, unparsed
from .text_files import inspect_text, is_one_conversation

_LOOKED_AT = 16 << 20  # bytes in which the fault of an element is looked for


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


# ==== Inspecting ====


def _inspect(source: str, compression: str | None, at: At) -> SourceInfo:
    array = ArrayScan()
    text = inspect_text(JSON.name, source, compression, at, look=array.feed if compression is None else None)
    if text.layout == "lines":
        return lines_info(text)
    if text.lines is None or not array.is_array or is_conversation_file(source, None, at):
        return text.info
    with _naming_place(source, compression, at):
        return replace(text.info, rows=array.count(), marks=tuple(array.marks))


def is_conversation_file(source: str, compression: str | None, at: At | None) -> bool:
    """Whether the array in a file is no table of rows but the turns of one conversation.

    Only as much is read as it takes to find an element that is no turn.
    """
    filled = False
    with opened(source, compression, at) as file:
        try:
            for group in elements(file):
                for _, element in group:
                    if isinstance(element, Cut):
                        continue
                    filled = True
                    if not is_one_conversation([parse_json(element.decode())]):
                        return False
        except ValueError:
            return False
    return filled


# ==== Cutting ====


def _cut(info: SourceInfo, rows: Sequence[int]) -> list[int]:
    if len(rows) <= 2:
        return [info.marks[0][1], info.bytes]
    with opened(info.source, at=info.at) as file:
        return [*starts(file, info.marks, rows[:-1]), info.bytes]


def _middle(info: SourceInfo, piece: Slice) -> Slice:
    half = (info.rows or 0) // 2
    with opened(info.source, at=info.at) as file:
        (place,) = starts(file, info.marks, [half])
    return piece._replace(start_row=half, start_byte=place)


# ==== Reading ====


def _read(piece: Slice, rows: int) -> Iterator[Block]:
    """The elements of an array; a row is also an object alone, and an array that is one conversation."""
    if piece.start_byte is not None or _is_array_of_rows(piece):
        return _element_blocks(piece, rows)
    return row_blocks(piece.source, _single_row(piece), rows)


def _is_array_of_rows(piece: Slice) -> bool:
    """Whether a file holds an array of rows."""
    with opened(piece.source, piece.compression, piece.at) as file:
        begin = next((text for chunk in chunks(file) if (text := chunk.removeprefix(BOM).lstrip())), b"")
    place = piece.source, piece.compression, piece.at
    return begin.startswith(b"[") and not is_conversation_file(*place)


def _single_row(piece: Slice) -> Iterator[tuple[Row, int]]:
    data = Growing(piece.max_row_bytes)
    with opened(piece.source, piece.compression, piece.at) as file:
        for chunk in chunks(file):
            data.add(chunk)
    found = data.take()
    wanted = piece.start_row == 0 and piece.stop_row != 0
    if isinstance(found, Cut):
        if wanted:
            yield large_row(piece.source, 0, found, piece.max_row_bytes), 0
        return
    text = decoded(piece.source, 0, found.removeprefix(BOM))
    try:
        value = parse_json(text)
    except TooManyValuesError as error:
        if wanted:
            yield unparsed(piece.source, 0, text, error), 0
        return
    except ValueError as error:
        raise SourceError(f"{piece.source} is not valid JSON: {reason(error)}; fix it") from None
    if not isinstance(value, (list, dict)):
        raise SourceError(f"{piece.source} holds a single JSON value, not rows; remove it")
    if wanted:
        yield Row(piece.source, 0, value), 0


def _element_blocks(piece: Slice, rows: int) -> Iterator[Block]:
    number, stop = piece.start_row, piece.stop_row
    with (
        opened(piece.source, piece.compression, piece.at) as file,
        _naming_place(piece.source, piece.compression, piece.at),
    ):
        if piece.start_byte is not None:
            file.seek(piece.start_byte)
        skip = piece.start_row if piece.start_byte is None else 0
        for group in elements(file, piece.start_byte, limit=piece.max_row_bytes):
            wanted = group[skip : None if stop is None else skip + stop - number]
            skip = max(skip - len(group), 0)
            yield from _blocks_of(piece, number, wanted, rows)
            number += len(wanted)
            if number == stop:
                return
    if stop is not None and number < stop:
        raise changed(piece.source)


def _blocks_of(
    piece: Slice, number: int, found: Sequence[tuple[int, bytes | Cut]], rows: int
) -> Iterator[Block]:
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
def _naming_place(source: str, compression: str | None, at: At | None) -> Iterator[None]:
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


JSON = Format("json", (".json",), _inspect, _read, cut=_cut, middle=_middle)
