"""CSV, and TSV by its name: a header, then a record a row, all cells text; an empty cell is a missing one.

Strict: a quote that is never closed would else take the rest of the file for one cell. A record with more
cells than the header becomes a row with an error. Files stay whole: a line break within quotes looks like the
end of a record, so nobody can tell where a record begins without reading all before it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice

from ..core.errors import SourceError
from ..core.records import At, Row, Slice, SourceInfo
from .blocks import Format, RowBlock, row_blocks
from .files import check_columns, opened, suffixes
from .text_files import inspect_text

_MAX_CELL = 2**31 - 1  # characters of a cell; the largest bound every platform takes


def _inspect(source: str, compression: str | None, at: At) -> SourceInfo:
    text = inspect_text(CSV.name, source, compression, at)
    if text.layout in ("lines", "array", "row"):
        raise SourceError(f"{source} holds JSON, not CSV; rename it to .jsonl or .json")
    return text.info


def _read(piece: Slice, rows: int) -> Iterator[RowBlock]:
    return row_blocks(piece.source, _records(piece), rows)


def _records(piece: Slice) -> Iterator[Row]:
    csv.field_size_limit(_MAX_CELL)
    with opened(piece.source, piece.compression, piece.at) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter="\t" if suffixes(piece.source)[0] == ".tsv" else ",", strict=True)
        try:
            records = (record for record in reader if record)
            header = next(records, [])
            check_columns(piece.source, header)
            for number, cells in islice(enumerate(records), piece.start_row, piece.stop_row):
                yield _row_of_cells(piece.source, number, header, cells)
        except (csv.Error, UnicodeDecodeError) as error:
            place = f"line {reader.line_num}: {error}"
            raise SourceError(f"{piece.source} is not valid CSV: {place}; fix or export it again") from None


def _row_of_cells(source: str, number: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(header):
        original = json.dumps(cells, ensure_ascii=False)
        error = f"the record has {len(cells)} cells, the header {len(header)}"
        return Row(source, number, None, original=original, error=error)
    return Row(source, number, {key: cell for key, cell in zip(header, cells, strict=False) if cell != ""})


CSV = Format("csv", (".csv", ".tsv"), _inspect, _read)
