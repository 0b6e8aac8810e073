"""Arrow files: streams, as `save_to_disk` of `datasets` writes them, and those with a footer; cut by rows.

A stream does not say where its rows are: those before a slice are read too, batch by batch. Each batch is
checked as a whole before a row of it is made.

Cost: that of reading the file; memory is a batch (1,000 rows as `datasets` writes them).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.errors import SourceError, one_line
from ..core.records import At, Slice, SourceInfo
from ..core.urls import is_url
from .blocks import Block, Format
from .files import changed, check_columns, check_version, hashed, opened, unreadable
from .remote import Stream, streamed
from .table_blocks import TableBlock, apart, broken, maps_of

_WITH_FOOTER = b"ARROW1"
_STREAM = b"\xff\xff\xff\xff"
_END = _STREAM + bytes(4)


@contextmanager
def _opened(source: str, at: At | None) -> Iterator[Any]:
    """The reader of a file, of either kind. Raises `SourceError`, also within the `with` block."""
    path = at.path if at else source
    check_version(source, at)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(
                pa.PythonFile(stack.enter_context(Stream(path)), "r") if is_url(path) else pa.OSFile(path)
            )
            has_footer = file.read(len(_WITH_FOOTER)) == _WITH_FOOTER
            file.seek(0)
            yield stack.enter_context(pa.ipc.open_file(file) if has_footer else pa.ipc.open_stream(file))
    except (OSError, pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        check_version(source, at)
        if isinstance(error, OSError) and error.errno:
            raise unreadable(source, error) from None
        raise broken(_any(source), one_line(error)) from None
    check_version(source, at)


def _any(source: str) -> Slice:
    return Slice(source, ARROW.name, None, 0, None, None, None)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches of a file, one after another."""
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from map(reader.get_batch, range(reader.num_record_batches))
    else:
        yield from reader


# ==== Inspecting ====


def _inspect(source: str, _: str | None, at: At) -> SourceInfo:
    with _opened(source, at) as reader:
        check_columns(source, reader.schema.names)
        rows = None if is_url(at.path) else sum(batch.num_rows for batch in _batches(reader))
    if rows == 0:
        raise SourceError(f"{source} is empty (Arrow with no rows); remove it from the sources")
    if is_url(at.path):
        known = streamed(source, at.path)
        size, digest, version = known.size, known.sha256, known.version
        return SourceInfo(source, ARROW.name, None, size, digest, rows, at=at, version=version)
    size, digest = hashed(source, at)
    _check_end(source, at, size)
    return SourceInfo(source, ARROW.name, None, size, digest, rows, at=at)


def _check_end(source: str, at: At, size: int) -> None:
    """Raise `SourceError` where a stream has no end mark: it may be cut between two batches."""
    with opened(source, at=at) as file:
        is_stream = file.read(len(_STREAM)) == _STREAM
        file.seek(max(size - len(_END), 0))
        if is_stream and file.read() != _END:
            raise broken(_any(source), "it has no end, so rows may be missing")


# ==== Cutting ====


def _middle(info: SourceInfo, piece: Slice) -> Slice:
    return piece._replace(start_row=(info.rows or 0) // 2)


# ==== Reading ====


def _read(piece: Slice, rows: int) -> Iterator[Block]:
    with _opened(piece.source, piece.at) as reader:
        maps, schema = maps_of(reader.schema), reader.schema
        for number, table in _tables(piece, reader, rows):
            numbers = np.arange(number, number + table.num_rows)
            block = TableBlock(piece.source, numbers, table, maps, piece)
            if "dictionary<" in str(schema) or table.nbytes > piece.max_row_bytes:
                yield from apart(block, schema, rows)
            else:
                yield block


def _tables(piece: Slice, reader: Any, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a slice in batches of at most `rows`, each with the number of its first row."""
    number = 0
    for batch in _batches(reader):
        first = max(piece.start_row - number, 0)
        last = batch.num_rows if piece.stop_row is None else min(piece.stop_row - number, batch.num_rows)
        if first < last:
            batch.validate(full=True)
        for start in range(first, last, rows):
            yield number + start, batch.slice(start, min(rows, last - start))
        number += batch.num_rows
        if piece.stop_row is not None and number >= piece.stop_row:
            return
    if piece.stop_row is not None and number < piece.stop_row:
        raise changed(piece.source)


ARROW = Format("arrow", (".arrow",), _inspect, _read, middle=_middle, magic=(_WITH_FOOTER, _STREAM))
