"""JSONL: a JSON value a line, cut at lines.

Blank lines are no rows but count as lines, so a row's number is that of its line. A broken line does not end
the run: it becomes a row with an error. A byte order mark may be before any line, and a comma behind it
(`line_values.py`).

Cost: a file of more than one unit is read once more, to find where its lines begin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import IO

import numpy as np

from ..core.errors import SourceError
from ..core.records import At, Slice, SourceInfo
from .blocks import Block, Format, block_of
from .files import BOM, CHUNK, changed, chunks, opened
from .json_values import object_info
from .large_rows import LARGE, Cut, large_row, lines_of
from .line_blocks import LineBlock, row_of_line
from .line_values import without_marks
from .text_files import TextFile, inspect_text

_MARKS_ALONE = (BOM, BOM + b"\r")  # blank lines that seem not to be


# ==== Inspecting ====


def lines_info(text: TextFile) -> SourceInfo:
    """What a text of a value a line holds, whatever its name."""
    return replace(text.info, format=JSONL.name, rows=text.lines)


def _inspect(source: str, compression: str | None, at: At) -> SourceInfo:
    text = inspect_text(JSONL.name, source, compression, at)
    if (info := object_info(text)) is not None:
        return info
    if text.layout in ("array", "document"):
        raise SourceError(
            f"{source} holds one JSON {'array' if text.first == '[' else 'object'}, not one JSON "
            "value a line; rename it to .json"
        )
    return lines_info(text)


# ==== Cutting ====


def _cut(info: SourceInfo, rows: Sequence[int]) -> list[int]:
    places = _line_starts(info, rows[1]) if len(rows) > 2 else [0]
    return [*places[: len(rows) - 1], info.bytes]


def _line_starts(info: SourceInfo, every: int) -> list[int]:
    """Byte offsets of lines 0, every, 2 * every ... and of the end of the file."""
    found, seen, offset = [0], 0, 0
    with opened(info.source, at=info.at) as file:
        for chunk in chunks(file):
            newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            found += (newlines[(every - 1 - seen) % every :: every] + (offset + 1)).tolist()
            seen += len(newlines)
            offset += len(chunk)
    if found[-1] != offset:
        found.append(offset)
    if offset != info.bytes or len(found) != 1 + math.ceil((info.rows or 0) / every):
        raise changed(info.source)
    return found


def _places(piece: Slice, rows: Sequence[int]) -> list[int | None]:
    """Bytes at which lines of a slice begin; `rows` are ascending, the first and last are its own ends."""
    found: list[int | None] = [piece.start_byte]
    offset, number = piece.start_byte or 0, piece.start_row
    with opened(piece.source, at=piece.at) as file:
        file.seek(offset)
        for chunk in chunks(file):
            newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            wanted = np.array(rows[len(found) : -1], dtype=np.int64) - number - 1
            found += (newlines[wanted[wanted < len(newlines)]] + (offset + 1)).tolist()
            if len(found) == len(rows) - 1:
                return [*found, piece.end_byte]
            number, offset = number + len(newlines), offset + len(chunk)
    raise changed(piece.source)


def _middle(_: SourceInfo, piece: Slice) -> Slice:
    return _part(piece, 0.5, 0) or piece


def _part(piece: Slice, share: float, _: int) -> Slice | None:
    """From the first full line behind some byte on; nobody knows the numbers of these lines."""
    if piece.start_byte is None or piece.end_byte is None:
        return None
    with opened(piece.source, at=piece.at) as file:
        file.seek(piece.start_byte + int(share * (piece.end_byte - piece.start_byte)))
        while (part := file.readline(CHUNK)) and not part.endswith(b"\n"):
            pass
        begin = min(file.tell(), piece.end_byte)
    return piece._replace(start_row=piece.start_row + 1, stop_row=None, start_byte=begin)


# ==== Reading ====


def _read(piece: Slice, rows: int) -> Iterator[Block]:
    number = piece.start_row
    with opened(piece.source, piece.compression, piece.at) as file:
        for lines in _lines(file, piece):
            if isinstance(lines, Cut):
                if not lines.blank:
                    row = large_row(piece.source, number, lines, piece.max_row_bytes)
                    yield block_of(piece.source, [row])
                number += 1
                continue
            starts = range(0, len(lines), rows)
            blocks = (_line_block(piece.source, number + at, lines[at : at + rows]) for at in starts)
            yield from (block for block in blocks if len(block.numbers))
            number += len(lines)
    if piece.stop_row is not None and number < piece.stop_row:
        raise changed(piece.source)


def _lines(file: IO[bytes], piece: Slice) -> Iterator[list[bytes] | Cut]:
    """The lines of a slice; of a file whose lines have no known places, those before it are skipped."""
    number, size = piece.start_row, None
    if piece.start_byte is None:
        number = 0
    else:
        file.seek(piece.start_byte)
        size = None if piece.end_byte is None else piece.end_byte - piece.start_byte
    for lines in lines_of(file, piece.max_row_bytes, size):
        count = 1 if isinstance(lines, Cut) else len(lines)
        skip = max(piece.start_row - number, 0)
        stop = count if piece.stop_row is None else piece.stop_row - number
        if skip < min(stop, count):
            yield lines if isinstance(lines, Cut) else lines[skip:stop]
        number += count
        if stop <= count and piece.stop_row is not None:
            return


def _line_block(source: str, number: int, lines: list[bytes]) -> Block:
    if len(lines[0]) > LARGE and not _is_blank(lines[0]):
        return block_of(source, [row_of_line(source, number, lines[0])])
    numbers = np.arange(number, number + len(lines))
    if not all(lines) or any(map(bytes.isspace, lines)) or any(mark in lines for mark in _MARKS_ALONE):
        filled = [i for i, line in enumerate(lines) if not _is_blank(line)]
        return LineBlock(source, numbers[filled], [lines[i] for i in filled])
    return LineBlock(source, numbers, lines)


def _is_blank(line: bytes) -> bool:
    return not without_marks(line).strip(b" \t\r\n")


JSONL = Format(
    "jsonl", (".jsonl", ".ndjson"), _inspect, _read, cut=_cut, places=_places, middle=_middle, part=_part
)
