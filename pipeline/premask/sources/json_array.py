"""JSON files: an array of rows, read element by element and cut at elements.

A file that is one object, or an array that is one conversation, is a single row, and parsed as a whole. A
file of one value a line is JSONL, whatever its name (`jsonl.py`). Where elements begin is found without
parsing any (`json_cutting.py`); an element that is not valid JSON ends the run, because what follows it may
be cut in the wrong places.

Cost: memory is a chunk and the longest element; a cut reads some 4 MB a unit; counting takes 3 ns a byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..core.errors import SourceError
from ..core.records import At, Row, Slice, SourceInfo
from ..core.strict_json import TooManyValuesError, parse_json, reason
from .blocks import Block, Format, row_blocks
from .files import BOM, chunks, decoded, opened
from .json_cutting import ArrayScan, elements, starts
from .json_elements import blocks_of, naming_place
from .json_values import object_info
from .jsonl import lines_info
from .large_rows import Cut, Growing, large_row, unparsed
from .line_values import parse_line
from .text_files import inspect_text, is_one_conversation

# ==== Inspecting ====


def _inspect(source: str, compression: str | None, at: At) -> SourceInfo:
    array = ArrayScan()
    text = inspect_text(JSON.name, source, compression, at, look=array.feed if compression is None else None)
    if text.layout == "lines":
        return lines_info(text)
    if (info := object_info(text)) is not None:
        return info
    if text.lines is None or not array.is_array or is_conversation_file(source, None, at):
        return text.info
    with naming_place(source, compression, at):
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
        value = parse_line(text)
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
    with (
        opened(piece.source, piece.compression, piece.at) as file,
        naming_place(piece.source, piece.compression, piece.at),
    ):
        if piece.start_byte is not None:
            file.seek(piece.start_byte)
        yield from blocks_of(piece, elements(file, piece.start_byte, limit=piece.max_row_bytes), rows)


JSON = Format("json", (".json",), _inspect, _read, cut=_cut, middle=_middle)
