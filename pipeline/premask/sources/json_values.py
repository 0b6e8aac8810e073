"""JSON objects one after another, spread over lines or not, and an object that wraps the rows under a key.

    {"messages": [             {"version": "1", "data": [            {"rows": [{"row_idx": 0, "row": {...}}]}
      ...]}                      {"messages": [...]},
    {"messages": [               {"messages": [...]}]}
      ...]}

`object_info` looks at a text that begins with an object, whatever its name, and says which of the two it is.
Both are cut into units and read as the elements of an array are (`json_cutting.py`), and memory is that of
the longest row. Between objects may be space, a comma, a byte order mark; CR alone ends a line too.

An object wraps rows where one of its lists, by its key or by what is in it, holds rows and no turns. Several
such lists, as of splits, are refused: nobody can tell which of them is to be trained. Rows as a dataset
server answers are within `row`; one that it shortened is refused.

Cost: 3 ns a byte to find where objects end, and as much to count them; a compressed file is read once more.
"""

from __future__ import annotations

import json
import re
import shlex
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any, NamedTuple

from ..core.defaults import MAX_ROW_BYTES
from ..core.errors import SourceError
from ..core.records import At, Row, Slice, SourceInfo
from ..core.strict_json import parse_json
from .blocks import Block, Format, RowBlock
from .files import BOM, CHUNK, changed, chunks, opened
from .json_cutting import SPACE, ArrayScan, BrokenArrayError, Cutter, elements, starts
from .json_elements import ElementBlock, Group, blocks_of, naming_place
from .large_rows import Cut, Growing
from .text_files import TextFile

_BETWEEN = SPACE + b"," + BOM
_NO_END = "an object does not end", "the file is cut short, fetch it again"
_NOTHING = "something is between two objects", "fix it"

_MOST_KEYS = 1000  # an object with more wraps nothing
_HEAD = 4096  # bytes of a key and the beginning of its value
_LOOKED_AT = 16  # elements of a list
_LARGEST = 1 << 20  # bytes of an element that is looked at

_KEY = re.compile(rb'[\s]*("(?:[^"\\]|\\.)*")\s*:\s*')
_WRAPPING = re.compile(
    r"(train|training|test|testing|val|valid|validation|dev|eval)([_-].*)?"
    r"|data|dataset|rows|records|examples|instances|samples|entries|items|results"
)
_SPEAKERS = frozenset({"role", "from", "speaker", "author", "sender"})
_TURNS = frozenset({"messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat"})
_OF_A_ROW = _TURNS | {
    *("prompt", "instruction", "question", "query", "input", "inputs", "text", "chosen", "rejected"),
    *("answer", "response", "output", "completion", "tools", "functions"),
}
_SERVED = frozenset({"row_idx", "row", "truncated_cells"})


def object_info(text: TextFile) -> SourceInfo | None:
    """What a text that begins with an object holds; None where it is one row, or lines.

    Raises `SourceError` where an object wraps several lists of rows, or is cut short.
    """
    if text.first != "{" or text.layout not in ("document", "row", "values"):
        return None
    counted = text.lines is not None and text.info.compression is None
    if text.layout == "values" or _another_follows(text.info):
        info = replace(text.info, format=JSON_VALUES.name)
        return _with_counted_values(info) if counted else info
    if (found := _wrapped(text.info)) is None:
        return None
    info = replace(text.info, format=JSON_WRAPPED.name)
    return _with_counted_rows(info, found) if counted else info


def _by_content(source: str, compression: str | None, at: At) -> SourceInfo:
    """No file name promises these formats."""
    raise NotImplementedError(source, compression, at)


# ==== One after another ====


def values(file: IO[bytes], start: int = 0, *, limit: int = MAX_ROW_BYTES) -> Iterator[Group]:
    """Yield the objects in a file, which is at byte `start`, each with the byte at which it begins; those
    that end in one chunk together. One of more than `limit` bytes is cut.

    Raises `BrokenArrayError` where one does not end, or something else is between them.

    >>> import io
    >>> list(values(io.BytesIO(b'{"a": "}"}\\n{}')))
    [[(0, b'{"a": "}"}'), (11, b'{}')]]
    """
    cutter, held, row = Cutter(start), Growing(limit), 0
    begin, end = None, start
    for chunk in chunks(file):
        base, found = cutter.offset, list[tuple[int, bytes | Cut]]()
        for cut in cutter.feed(chunk).tolist():
            kind = chunk[cut - base]
            if begin is None and kind in b"[{":
                _check_between(chunk[max(end - base, 0) : cut - base], max(end, base), row)
                begin = cut
            elif begin is not None and kind in b"]}":
                held.add(chunk[max(begin - base, 0) : cut + 1 - base])
                found.append((begin, held.take()))
                begin, end, row = None, cut + 1, row + 1
        if found:
            yield found
        if begin is None:
            _check_between(chunk[max(end - base, 0) :], max(end, base), row)
        else:
            held.add(chunk[max(begin - base, 0) :])
    if begin is not None:
        raise BrokenArrayError(_NO_END, cutter.offset, row, begin)


def _check_between(text: bytes, byte: int, row: int) -> None:
    if rest := text.lstrip(_BETWEEN):
        raise BrokenArrayError(_NOTHING, byte + len(text) - len(rest), row)


def _another_follows(info: SourceInfo) -> bool:
    """Whether another object begins behind the first one of a file."""
    count = 0
    with opened(info.source, info.compression, info.at) as file:
        try:
            for group in values(file, limit=0):
                count += len(group)
                if count > 1:
                    return True
        except BrokenArrayError as error:
            return error.row > 0 and error.start is not None
    return False


def _with_counted_values(info: SourceInfo) -> SourceInfo:
    rows, marks = 0, list[tuple[int, int]]()
    with (
        opened(info.source, at=info.at) as file,
        naming_place(info.source, None, info.at),
    ):
        for group in values(file, limit=0):
            marks.append((rows, group[0][0]))
            rows += len(group)
    return replace(info, rows=rows, marks=tuple(marks))


def _cut_values(info: SourceInfo, rows: Sequence[int]) -> list[int]:
    if len(rows) <= 2:
        return [info.marks[0][1], info.bytes]
    with opened(info.source, at=info.at) as file:
        return [*(_start_of(file, info.marks, row) for row in rows[:-1]), info.bytes]


def _start_of(file: IO[bytes], marks: Sequence[tuple[int, int]], row: int) -> int:
    """The byte at which an object begins."""
    number, byte = marks[bisect_right(marks, (row, 1 << 62)) - 1]
    file.seek(byte)
    for group in values(file, byte, limit=0):
        if row < number + len(group):
            return group[row - number][0]
        number += len(group)
    return byte


def _middle_of_values(info: SourceInfo, piece: Slice) -> Slice:
    half = (info.rows or 0) // 2
    with opened(info.source, at=info.at) as file:
        return piece._replace(start_row=half, start_byte=_start_of(file, info.marks, half))


def _read_values(piece: Slice, rows: int) -> Iterator[Block]:
    with (
        opened(piece.source, piece.compression, piece.at) as file,
        naming_place(piece.source, piece.compression, piece.at),
    ):
        if piece.start_byte is not None:
            file.seek(piece.start_byte)
        yield from blocks_of(piece, values(file, piece.start_byte or 0, limit=piece.max_row_bytes), rows)


# ==== Under a key ====


class _Member(NamedTuple):
    """A member of an object: its key, the first byte of its value and where that is, and the byte behind it;
    None if it has no end."""

    key: str
    first: bytes
    start: int
    end: int | None


def _wrapped(info: SourceInfo) -> _Member | None:
    """The list of rows that the object in a file wraps; None if there is none.

    Raises `SourceError` where there are several, or the one does not end.
    """
    members = _members(info)
    lists = [each for each in members if each.first == b"[" and _holds_rows(info, each)]
    if not lists or {each.key for each in members} - {each.key for each in lists} & _OF_A_ROW:
        return None
    if len(lists) > 1:
        raise _several(info, [each.key for each in lists])
    if lists[0].end is None:
        what = f"the list under {lists[0].key!r} does not end; the file is cut short, fetch it again"
        raise SourceError(f"{info.source} is not valid JSON: {what}")
    return lists[0]


def _members(info: SourceInfo) -> list[_Member]:
    """The members of the object in a file; none if it has too many, or they cannot be told apart."""
    places, found = _places(info), list[_Member]()
    ends = [*(place - 1 for place, _ in places[1:]), None][: len(places)]
    for (place, head), end in zip(places, ends, strict=True):
        key = _KEY.match(head)
        if key is not None and key.end() < len(head):
            first = head[key.end() : key.end() + 1]
            with suppress(ValueError):
                name = parse_json(key[1].decode("utf-8", "replace"))
                found.append(_Member(name, first, place + key.end(), end))
    return found


def _places(info: SourceInfo) -> list[tuple[int, bytes]]:
    """The bytes behind the bracket and the commas of an object, and behind its end if it has one, each with
    the bytes that follow; none if there are too many."""
    cutter, found = Cutter(), list[tuple[int, bytearray]]()
    with opened(info.source, info.compression, info.at) as file:
        for chunk in chunks(file):
            base = cutter.offset
            if found and len(found[-1][1]) < _HEAD:
                found[-1][1].extend(chunk[: _HEAD - len(found[-1][1])])
            for cut in cutter.feed(chunk).tolist():
                place = cut + 1 - base
                found.append((cut + 1, bytearray(chunk[place : place + _HEAD])))
                if len(found) > _MOST_KEYS:
                    return []
    return [(place, bytes(head)) for place, head in found]


def _holds_rows(info: SourceInfo, member: _Member) -> bool:
    """Whether the first elements of a list are rows, and no turns."""
    found = list[Any]()
    with opened(info.source, info.compression, info.at) as file:
        _go_to(file, member.start + 1)
        try:
            for group in elements(file, member.start + 1, limit=_LARGEST):
                found += [
                    parse_json(each.decode()) for _, each in group[:_LOOKED_AT] if isinstance(each, bytes)
                ]
                if len(found) >= _LOOKED_AT:
                    break
        except ValueError:
            pass
    return _are_rows(member.key, found)


def _are_rows(key: str, found: Sequence[Any]) -> bool:
    """Whether the values of a list are rows: by its key, or since each holds turns.

    >>> rows = [{"q": "a"}]
    >>> _are_rows("data", rows), _are_rows("all", rows), _are_rows("all", [{"messages": [{}]}])
    (True, False, True)
    """
    if not found or not all(isinstance(each, dict) and each.keys().isdisjoint(_SPEAKERS) for each in found):
        return False
    turns = all(any(isinstance(each.get(name), list) for name in _TURNS) for each in found)
    return turns or _WRAPPING.fullmatch(key.lower()) is not None


def _go_to(file: IO[bytes], byte: int) -> None:
    """Go to a byte of a file that has just been opened, which may be compressed."""
    left = byte
    while left and (read := len(file.read(min(left, CHUNK)))):
        left -= read


_UNPACK = {None: "cat", "gzip": "gzip -dc", "zstd": "zstd -dc"}


def _several(info: SourceInfo, keys: Sequence[str]) -> SourceError:
    shown = ", ".join(keys[:8])
    script, target = shlex.quote(f".{json.dumps(keys[0])}[]"), shlex.quote(f"{keys[0]}.jsonl")
    line = f"{_UNPACK[info.compression]} {shlex.quote(info.source)} | jq -c {script} > {target}"
    return SourceError(
        f"{info.source} is an object with several lists of rows ({shown}); write each that you want to a "
        f"file of its own, such as: {line}"
    )


def _with_counted_rows(info: SourceInfo, found: _Member) -> SourceInfo:
    scan, left = ArrayScan(found.start), (found.end or 0) - found.start
    with opened(info.source, at=info.at) as file, naming_place(info.source, None, info.at):
        file.seek(found.start)
        while left and (chunk := file.read(min(left, CHUNK))):
            scan.feed(chunk)
            left -= len(chunk)
        return replace(info, rows=scan.count(), marks=tuple(scan.marks))


def _cut_rows(info: SourceInfo, rows: Sequence[int]) -> list[int]:
    with opened(info.source, at=info.at) as file:
        return [*starts(file, info.marks, rows[:-1]), info.bytes]


def _middle_of_rows(info: SourceInfo, piece: Slice) -> Slice:
    half = (info.rows or 0) // 2
    with opened(info.source, at=info.at) as file:
        return piece._replace(start_row=half, start_byte=starts(file, info.marks, [half])[0])


def _read_rows(piece: Slice, rows: int) -> Iterator[Block]:
    start = piece.start_byte
    if start is None:
        info = SourceInfo(piece.source, JSON_WRAPPED.name, piece.compression, 0, None, None, at=piece.at)
        found = _wrapped(info)
        if found is None:
            raise changed(piece.source)
        start = found.start + 1
    with (
        opened(piece.source, piece.compression, piece.at) as file,
        naming_place(piece.source, piece.compression, piece.at),
    ):
        if piece.start_byte is None:
            _go_to(file, start)
        else:
            file.seek(start)
        groups = elements(file, start, limit=piece.max_row_bytes, alone=False)
        for block in blocks_of(piece, groups, rows):
            yield _of_server(block)


def _of_server(block: Block) -> Block:
    """A block whose rows a dataset server wrote, each within `row`; any other as it is."""
    first = block.row(0).value if isinstance(block, ElementBlock) else None
    if not (isinstance(first, dict) and "row" in first and first.keys() <= _SERVED):
        return block
    return RowBlock(block.source, block.numbers, [_served(block.row(i)) for i in range(len(block.numbers))])


def _served(row: Row) -> Row:
    value = row.value
    if not (isinstance(value, dict) and "row" in value and value.keys() <= _SERVED):
        return row
    if cells := value.get("truncated_cells"):
        shown = ", ".join(map(str, cells)) if isinstance(cells, list) else "some cells"
        why = f"the dataset server left out the end of {shown}; fetch the dataset itself"
        return row._replace(value=None, error=why, reason="unsupported_content")
    return row._replace(value=value["row"])


JSON_VALUES = Format("json_values", (), _by_content, _read_values, cut=_cut_values, middle=_middle_of_values)

JSON_WRAPPED = Format("json_wrapped", (), _by_content, _read_rows, cut=_cut_rows, middle=_middle_of_rows)
