"""Input files -> raw rows, each with its place in its file.

    read_slice   part of a file -> rows
    read_blocks  part of a file -> blocks of rows that are not yet made: lines, an Arrow table, or rows
    peek         file -> some of its values, to tell what it is about

The steps before are `listing` (which files), `inspection` (is each what its name says) and `cutting` (the cut
into units). How a format is read is in its own module (`formats.FORMATS`). A single bad line does not end the
run: it becomes a `Row` with an error, so that every row of the input is accounted for.

    infos = inspect_sources(recipe.sources, seed=recipe.seed)
    for unit in plan_units(infos, unit_rows=16_384):
        rows = [row for piece in unit.slices for row in read_slice(piece)]

Cost: memory is some tens of MB whatever the size of the file; only a JSON file that is one object, or one
conversation, is parsed as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from ..core.errors import SourceError
from ..core.records import Parts, Row, Selection, Slice, SourceInfo
from ..core.urls import is_url
from .blocks import Block, selected
from .cutting import whole
from .formats import FORMATS
from .mapping import MappedBlock, tried
from .where import condition

_BATCH_ROWS = 256  # rows that `read_slice` takes at a time
_PEEK_BYTES = 32 << 20  # of rows that are held to tell what a file is about
_STREAM_ROWS = 1000  # rows of a stream that are asked for their columns


def read_slice(piece: Slice) -> Iterator[Row]:
    """Yield the rows of a slice that its source's selection takes, numbered within their file from 0.

    `row` is the line number in JSONL (a blank line yields nothing), the element of a JSON array, the
    record after the header in CSV, the row in Parquet. An array that is itself one conversation is row 0.
    A line that is not JSON, an element with a number that JSON has not, and a CSV record with more cells than
    the header yield a Row with `error`.

    Raises `SourceError` when the file cannot be read, is broken or was changed since it was inspected.
    """
    for block in read_blocks(piece, _BATCH_ROWS):
        yield from map(block.row, range(len(block.numbers)))


def read_blocks(piece: Slice, rows: int) -> Iterator[Block]:
    """Yield the rows of a slice in blocks of at most `rows`, those of `read_slice` in the same order.

    What its source's selection does not take is counted in `left_out` of the next block, of which the last
    may have no rows. Rows with an error are not asked by `where`: nobody can say what they would answer.

    Raises `SourceError` like `read_slice`, but maybe some rows earlier, or only where a row is made.
    """
    blocks, selection = FORMATS[piece.format].read(piece, rows), piece.selection
    if selection is None:
        return blocks
    if selection.map is None:
        return selected(blocks, piece, selection)
    made = partial(MappedBlock.of, hook=selection.map, most=piece.max_row_bytes)
    return selected(blocks, piece, selection, made)


def part_of(piece: Slice, share: float, rows: int) -> Slice | None:
    """A slice of at least `rows` rows of another one where it has so many, from a share (0 to 1) of it on;
    None where the rows before it would have to be read. The numbers of its rows may be wrong."""
    return FORMATS[piece.format].part(piece, share, rows)


def peek(info: SourceInfo, limit: int = 256) -> list[Any]:
    """Parsed values of up to `limit` rows, to tell what a file is about; rows that do not parse are left out.

    They are the first rows, and in files cut by rows half of them come from the middle. There are
    fewer of large rows.

    Raises `SourceError` like `read_slice`.
    """
    taken = info.selection or Selection()
    columns = None if taken.columns is None else Selection(columns=taken.columns)
    piece = whole(info)._replace(selection=columns)
    if info.rows is None or info.stop is not None or info.rows <= limit:
        rows = _rows(piece, limit)
    else:
        rows = _rows(piece, limit - limit // 2)
        rows += _rows(FORMATS[info.format].middle(info, piece), limit // 2)
    if taken.map is not None:
        rows = tried(rows, taken.map, info.max_row_bytes)
    return [value for row in rows if row.error is None for value in _values(row.value)]


def nothing_read(info: SourceInfo) -> SourceError:
    """The error of a file of which `peek` found no row: it says what is wrong with the first one."""
    hook = None if info.selection is None else info.selection.map
    rows = islice(read_slice(whole(info)._replace(selection=None)), 1)
    row = next(rows, None)
    if row is None:
        return SourceError(f"{info.source} has no row that can be read: it has none; leave it out")
    if hook is None or row.error is not None:
        why = f"row {row.row}: {row.error or 'null'}"
        return SourceError(f"{info.source} has no row that can be read; {why}; check its content")
    made = tried([row], hook, info.max_row_bytes)
    error = made[0].error if made else f"{hook.function}: it ends the process"
    what = f"{info.source} has no row that can be read after map"
    return SourceError(f"{what}; row {row.row}: {error or 'null'}; check the function")


def _rows(piece: Slice, limit: int) -> list[Row]:
    """The first rows of a slice; fewer than `limit` where they have many MB."""
    found, held = list[Row](), 0
    for block in read_blocks(piece, _BATCH_ROWS):
        found += map(block.row, range(min(limit - len(found), len(block.numbers))))
        held += block.size
        if len(found) >= limit or held > _PEEK_BYTES:
            break
    return found


def _values(value: Any) -> Sequence[Any]:
    """A value, or those that a function made of one."""
    return value.rows if isinstance(value, Parts) else [value]


# ==== Columns ====


def check_columns_exist(info: SourceInfo) -> None:
    """Raise `SourceError` where no row of a file has a column that its selection names, nested ones by their
    path; the message lists those there are. Of a stream of text only the first rows are asked."""
    selection = info.selection or Selection()
    asked = condition(selection.where).paths if selection.where else []
    missing = {*asked, *((name,) for name in selection.columns or ())}
    known = dict[str, None]()
    for value in _columns_of(info) if missing else ():
        known |= dict.fromkeys(value)
        missing = {path for path in missing if not _has_path(value, path)}
        if not missing:
            break
    if not missing:
        return
    name, *nested = min(missing)
    what = ".".join((name, *nested))
    there = ", ".join(list(known)[:20]) or "none"
    raise SourceError(f"{info.source} has no column {what}; there are: {there}")


def _columns_of(info: SourceInfo) -> Iterator[Mapping[str, Any]]:
    """Mappings whose keys are columns: the one of a footer, or the rows."""
    columns = FORMATS[info.format].columns
    if columns is not None:
        yield columns(info)
        return
    rows = read_slice(whole(info)._replace(selection=None))
    for row in islice(rows, _STREAM_ROWS) if info.at is not None and is_url(info.at.path) else rows:
        if isinstance(row.value, dict):
            yield row.value


def _has_path(value: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True
