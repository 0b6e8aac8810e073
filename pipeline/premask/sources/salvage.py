"""The whole rows of a text file that is cut short (recipe key `salvage`).

    salvaged    file -> which bytes of it are whole rows, and how many are lost; None if it is not cut

A row is whole where what follows it says so: a comma in a JSON array, a line break in JSONL; of the last one,
that it is JSON. Nobody can tell this of CSV, and Parquet has its footer at the end. A compressed file may end
anywhere; what can be decompressed before is its text.

Cost: a file is read once more, what is lost of a compressed one byte by byte (64 KiB at most).
"""

from __future__ import annotations

import json
from typing import NamedTuple

from ..core.defaults import MAX_ROW_BYTES
from ..core.errors import SourceError
from ..core.records import At, Kept
from ..core.strict_json import parse_json
from ..core.urls import is_url
from .files import BOM, chunks, opened
from .json_array import is_conversation_file
from .json_cutting import SPACE, ArrayScan
from .json_elements import fault
from .text_files import first_layout

_STEP = 1 << 16  # bytes asked for at a time of what may end

_CUT_VALUE = 12  # bytes of the longest value that is no longer JSON where it is cut: two escapes


class Cut(NamedTuple):
    """What is kept of a file that ends within row `row`, and how many bytes are lost."""

    kept: Kept
    row: int
    lost: int


def salvaged(source: str, form: str, compression: str | None, at: At) -> Cut | None:
    """What is kept of a file of the format `form`; None where it is not cut short, or nothing can be known.

    Raises `SourceError` where no row before the cut is whole.
    """
    if form not in ("json", "jsonl") or is_url(at.path):
        return None
    size = None if compression is None else _readable(source, compression, at)
    if size is not None:
        at = at._replace(kept=Kept(size))
    array = _array(source, compression, at) if form == "json" else None
    if array is not None:
        return _cut_array(source, compression, at, array)
    layout = first_layout(source, compression, at)[0]
    if layout in ("document", "values") or (form == "json" and layout != "lines"):
        return None
    return _cut_lines(source, compression, at)


# ==== Compressed files ====


def _readable(source: str, compression: str, at: At) -> int | None:
    """How many bytes a compressed file gives before it breaks off; None if it does not."""
    size, broken = _read_from(source, compression, at, 0, _STEP)
    return _read_from(source, compression, at, size, 1)[0] if broken else None


def _read_from(source: str, compression: str, at: At, size: int, step: int) -> tuple[int, bool]:
    """How many bytes can be read, `step` at a time behind the first `size`, and whether the stream is cut."""
    with opened(source, compression, at._replace(kept=Kept(1 << 62))) as file:
        raw = file.raw  # type: ignore[attr-defined]  # its own reads ask for more than a step
        left = size
        try:
            while left and (count := len(raw.read(min(left, _STEP)) or b"")):
                left -= count
            while count := len(raw.read(step) or b""):
                size += count
        except OSError as error:
            if error.errno or "runcated" not in str(error):
                raise
            return size, True
    return size, False


# ==== Arrays ====


def _array(source: str, compression: str | None, at: At) -> ArrayScan | None:
    """The scan of a file that begins with a bracket."""
    array = ArrayScan()
    with opened(source, compression, at) as file:
        for chunk in chunks(file):
            array.feed(chunk)
            if array.is_array is False:
                return None
    return array if array.is_array else None


def _cut_array(source: str, compression: str | None, at: At, array: ArrayScan) -> Cut | None:
    if array.open_end is None:
        return None if at.kept is None else Cut(at.kept, array.count(), 0)
    rows, comma = array.open_end
    size, rest = _rest(source, compression, at, comma + 1)
    if _is_row(rest):
        kept, rows = Kept(size, "]"), rows + 1
    elif (found := fault(source, compression, at, comma + 1)) and found[1] < size - _CUT_VALUE:
        return None
    elif rows:
        kept = Kept(comma, "]")
    else:
        raise _nothing_whole(source)
    if is_conversation_file(source, compression, at._replace(kept=kept)):
        raise SourceError(f"{source} is one conversation and cut short; fetch it again")
    return Cut(kept, rows, size - kept.size)


# ==== Lines ====


def _cut_lines(source: str, compression: str | None, at: At) -> Cut | None:
    breaks, end, offset = 0, 0, 0
    with opened(source, compression, at) as file:
        for chunk in chunks(file):
            breaks += chunk.count(b"\n")
            end = offset + chunk.rindex(b"\n") + 1 if b"\n" in chunk else end
            offset += len(chunk)
    _, rest = _rest(source, compression, at, end)
    if not rest.strip(SPACE) or len(rest) > MAX_ROW_BYTES or _is_row(rest):
        return at.kept and Cut(at.kept, breaks + bool(rest), 0)
    if not end:
        raise _nothing_whole(source)
    return Cut(Kept(end), breaks, offset - end)


# ==== The end of a file ====


def _rest(source: str, compression: str | None, at: At, byte: int) -> tuple[int, bytes]:
    """The size of a text, and what it has from a byte on, as far as a row may go."""
    size, rest = 0, bytearray()
    with opened(source, compression, at) as file:
        for chunk in chunks(file):
            if size + len(chunk) > byte and len(rest) <= MAX_ROW_BYTES:
                rest += chunk[max(byte - size, 0) :]
            size += len(chunk)
    return size, bytes(rest)


def _is_row(text: bytes) -> bool:
    """Whether the end of a text is a whole row; a number may have lost digits."""
    try:
        return isinstance(parse_json(text.removeprefix(BOM).decode().strip()), (dict, list))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    except ValueError:  # a row, but a too large one
        return True


def _nothing_whole(source: str) -> SourceError:
    return SourceError(f"{source} is cut short within its first row, nothing can be salvaged; fetch it again")
