"""What the text formats share: a text is read once, hashed and checked, and its first lines show its layout.

    inspect_text        file -> what holds for every text: hash, number of lines, layout
    is_one_conversation whether an array is no table of rows but the turns of one conversation

A file name leaves the layout open: `.json` may hold a value a line, one array of rows, one value, or one
conversation, and `.jsonl` often does not hold lines. Two lines are enough to tell, so that nobody has to
parse a file of many gigabytes to find that it has another layout.

    >>> layout_of(['{"id": 1}', '{"id": 2}']), layout_of(['[{"id": 1}, {"id": 2}]'])
    ('lines', 'array')
    >>> is_one_conversation([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}])
    True

Cost: a file is read once, a compressed one twice: 1 ns a byte, 2 ns where it is not ASCII; then the parse of
two lines.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Collection, Sequence
from typing import IO, Any, NamedTuple

from ..core.errors import SourceError
from ..core.records import At, SourceInfo
from ..core.strict_json import parse_json
from ..core.urls import is_url
from .files import BOM, chunks, hashed, opened
from .json_cutting import Cutter
from .line_values import parse_line, without_marks
from .remote import streamed
from .signatures import signature

_LONG_LINE = 16 << 20  # bytes of a first line that are read to tell the layout

_SPEAKER = frozenset({"from", "role"})
_SPEECH = frozenset({"value", "content", "tool_calls", "function_call"})
_CONVERSATION = frozenset({"messages", "conversations", "conversation", "items"})


class TextFile(NamedTuple):
    """What a text file holds: `info` without rows, the number of lines where they were counted, the layout
    that its first lines show (`layout_of`), and its first character."""

    info: SourceInfo
    lines: int | None
    layout: str
    first: str


def inspect_text(
    name: str, source: str, compression: str | None, at: At, *, look: Callable[[bytes], None] | None = None
) -> TextFile:
    """Check that a file of the format `name` is UTF-8 text, and see how it is laid out.

    `look` is given all its chunks, decompressed. Of a URL only the first lines are read, and nothing is
    counted or looked at. Raises `SourceError` where a file is no text or empty.
    """
    if is_url(at.path):
        known = streamed(source, at.path)
        info = SourceInfo(
            source, name, compression, known.size, known.sha256, None, at=at, version=known.version
        )
        return TextFile(info, None, *first_layout(source, compression, at))
    scan = _TextScan(source, compression)

    def feed(chunk: bytes) -> None:
        scan.feed(chunk)
        if look is not None:
            look(chunk)

    as_it_is = at if compression is None else at._replace(kept=None)
    size, digest = hashed(source, as_it_is, feed if compression is None else None)
    if compression is not None:
        with opened(source, compression, at) as file:
            for chunk in chunks(file):
                feed(chunk)
    scan.finish()
    info = SourceInfo(source, name, compression, size, digest, None, at=at)
    return TextFile(info, scan.lines if compression is None else None, *first_layout(source, compression, at))


class _TextScan:
    """Counts lines and checks UTF-8 over the chunks of a text, whatever the cut of the chunks."""

    def __init__(self, source: str, compression: str | None) -> None:
        self.source, self.compression = source, compression
        self.offset = self.newlines = 0
        self.blank, self.open_line = True, False
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def lines(self) -> int:
        return self.newlines + self.open_line

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; `SourceError` where it is not UTF-8 or holds another format."""
        if self.offset == 0 and (inner := signature(chunk)):
            raise SourceError(
                f"{self.source} should hold UTF-8 text by its name but holds {inner} within "
                f"{self.compression}; unpack it first"
            )
        self._check_utf8(chunk)
        if self.blank:
            self.blank = not (chunk.removeprefix(BOM) if self.offset == 0 else chunk).strip()
        self.newlines += chunk.count(b"\n")
        self.open_line = not chunk.endswith(b"\n")
        self.offset += len(chunk)

    def finish(self) -> None:
        """End of the text; `SourceError` where it ends inside a character or holds only whitespace."""
        self._check_utf8(b"", final=True)
        if self.blank:
            raise _only_space(self.source)

    def _check_utf8(self, chunk: bytes, *, final: bool = False) -> None:
        pending = len(self.decoder.getstate()[0])
        if not final and not pending and chunk.isascii():
            return
        try:
            self.decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            place = f"byte {self.offset - pending + error.start}"
            place += ", decompressed" if self.compression else ""
            line = self.newlines + error.object[: error.start].count(b"\n") + 1
            raise SourceError(
                f"{self.source} is not UTF-8: {place}, line {line}: {error.reason}; convert it to UTF-8"
            ) from None


# ==== Layout ====


def first_layout(source: str, compression: str | None, at: At) -> tuple[str, str]:
    """The layout that the first lines show, and the first character."""
    with opened(source, compression, at) as file:
        try:
            lines, whole = _first_lines(file)
        except UnicodeDecodeError as error:
            what = f"in its first lines: {error.reason}"
            raise SourceError(f"{source} is not UTF-8 {what}; convert it to UTF-8") from None
        if not lines:
            raise _only_space(source)
        return layout_of(lines) if whole else _layout_of_long(lines[0], file), lines[0][0]


def _only_space(source: str) -> SourceError:
    return SourceError(f"{source} is empty (only whitespace); remove it from the sources")


def _first_lines(file: IO[bytes]) -> tuple[list[str], bool]:
    """The first two lines that are not blank, stripped and without a byte order mark, and whether the first
    is whole: of a longer line only the beginning is read."""
    lines = list[str]()
    whole = True
    while len(lines) < 2 and (line := file.readline(_LONG_LINE)):
        text = without_marks(line).strip()
        if text:
            whole = bool(lines) or len(line) < _LONG_LINE or line.endswith(b"\n")
            lines.append(text.decode("utf-8", "strict" if whole else "replace"))
        if not whole:
            break
    return lines, whole


def _layout_of_long(begin: str, file: IO[bytes]) -> str:
    """`layout_of` for a text whose first line is too long to be parsed; the file goes on within it."""
    if begin[0] not in "[{":
        return "other"
    cutter = Cutter()
    cutter.feed(begin.encode())
    for chunk in chunks(file):
        end, _, rest = chunk.partition(b"\n")
        cutter.feed(end)
        if len(end) < len(chunk):
            if cutter.depth:
                return "document"
            more = rest.strip() or any(each.strip() for each in chunks(file))
            return "lines" if more else "array" if begin[0] == "[" else "row"
    return "array" if begin[0] == "[" else "row"


def layout_of(lines: Sequence[str]) -> str:
    """What the first two non-blank lines of a text look like.

    `lines` JSON values line by line, `row` a single one, `array` a single one that is an array of rows,
    `document` JSON spread over lines, `values` objects one after another on one line, `other` anything else:
    no JSON, or a broken first row.

    >>> layout_of(['{"a": 1}', '{"a": 2}']), layout_of(['[{"a": 1}]']), layout_of(["[", '{"a": 1},'])
    ('lines', 'array', 'document')
    """
    first, end = lines[0], _read_to(lines[0])
    if len(lines) == 1 and end and end < len(first) and first[0] == "{" and first[end] in "{\ufeff":
        return "values"
    if first[0] not in "[{" or (end is not None and end < len(first)):
        return "other"
    if end is None:
        return "lines" if len(lines) == 2 else "array" if _is_table(first) else "row"
    bare = first in ("[", "{", "[{")
    return "document" if len(lines) == 2 and (bare or _parsed_to(lines[1]) is not None) else "other"


def is_one_conversation(values: Sequence[Any]) -> bool:
    """Whether the values of an array are not rows but the turns of one conversation, which is one row.

    Each must say who speaks and what, and none may hold a conversation itself.

    >>> is_one_conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": []}])
    True
    >>> is_one_conversation([{"role": "baker", "content": "x", "messages": []}]), is_one_conversation([])
    (False, False)
    """
    return bool(values) and all(isinstance(value, dict) and _is_turn(value.keys()) for value in values)


def _is_turn(keys: Collection[str]) -> bool:
    named = not _SPEAKER.isdisjoint(keys) and not _SPEECH.isdisjoint(keys)
    return named and _CONVERSATION.isdisjoint(keys)


def _read_to(text: str) -> int | None:
    """None when a line has a value, else the position at which it stops being JSON."""
    try:
        parse_line(text)
    except ValueError:
        return _parsed_to(text) or 0
    return None


def _parsed_to(text: str) -> int | None:
    """None when the text is JSON, else the position at which it stops being so."""
    try:
        parse_json(text)
    except json.JSONDecodeError as error:
        return error.pos
    except ValueError:
        return 0
    return None


def _is_table(text: str) -> bool:
    """Whether an array on one line holds rows; an array of turns is itself one row."""
    value = parse_line(text)
    return isinstance(value, list) and not is_one_conversation(value)
