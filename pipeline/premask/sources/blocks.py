"""What a format is, and the blocks of rows that it reads.

    Format             what a format's module knows: how its files are inspected, cut and read
    Block              rows of one file that are not made yet: `block.row(i)` makes one
    RowBlock           rows that are made already, of a format that is parsed as a whole
    selected           blocks -> the rows of each that its source's selection takes

Most rows are never made: `fast` reads the plain ones from the lines or the table. So a block keeps what was
read, and each format's module has the block that knows how a row is made of it.

    for block in read_blocks(piece, 1024):
        print(block.numbers, block.row(0).value)

Cost: parsing a line at each call of `row`; a condition parses each line once more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np

from ..core.records import At, Row, Selection, Slice, SourceInfo
from .files import CHUNK
from .where import Condition, condition, sampled


@dataclass(frozen=True, slots=True)
class Block(ABC):
    """Rows of one file, not made yet; numbers int64[n] are those of `Row.row`.

    `left_out` counts the rows before and among those of the block that were not taken, by the reason.
    """

    source: str
    numbers: np.ndarray
    left_out: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def row(self, i: int) -> Row:
        """Make row `i` of the block. Raises `SourceError` where that cannot be."""

    @abstractmethod
    def taken(self, mask: np.ndarray) -> Block:
        """The rows of a mask, bool[n]."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes that the block has, about."""

    def holds(self, asked: Condition) -> np.ndarray:
        """Where a condition holds, bool[n]; a row with an error is taken."""
        rows = [self.row(i) for i in range(len(self.numbers))]
        found = asked.of_rows(self.source, [row.value for row in rows], self.numbers)
        return found | np.array([row.error is not None for row in rows], dtype=np.bool_)

    def narrowed(self, columns: Sequence[str]) -> Block:
        """The rows with some columns only."""
        rows = [_narrowed(self.row(i), columns) for i in range(len(self.numbers))]
        return RowBlock(self.source, self.numbers, rows)


@dataclass(frozen=True, slots=True)
class RowBlock(Block):
    """Rows that are made already."""

    rows: Sequence[Row]

    @property
    def size(self) -> int:
        """Characters of the texts of its rows."""
        return sum(len(row.original or "") for row in self.rows)

    def row(self, i: int) -> Row:
        """Row `i` of the block."""
        return self.rows[i]

    def taken(self, mask: np.ndarray) -> RowBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], rows=list(compress(self.rows, mask)))


def row_blocks(source: str, rows: Iterable[tuple[Row, int]], size: int) -> Iterator[RowBlock]:
    """Rows, each with its bytes, in blocks of at most `size` rows and some MB."""
    block, held = list[Row](), 0
    for row, bytes_ in rows:
        block.append(row)
        held += bytes_
        if len(block) == size or held > CHUNK:
            yield block_of(source, block)
            block, held = [], 0
    if block:
        yield block_of(source, block)


def block_of(source: str, rows: list[Row]) -> RowBlock:
    """A block of some rows."""
    return RowBlock(source, np.array([row.row for row in rows], dtype=np.int64), rows)


def _narrowed(row: Row, columns: Sequence[str]) -> Row:
    """A row with some columns only; its original text would hold the others."""
    if not isinstance(row.value, dict):
        return row
    return Row(row.source, row.row, {key: value for key, value in row.value.items() if key in columns})


# ==== What is taken ====


def selected(
    blocks: Iterator[Block],
    piece: Slice,
    selection: Selection,
    made: Callable[[Block], Block] | None = None,
) -> Iterator[Block]:
    """Blocks with the rows that a selection takes, and what `made` makes of them. Rows left out at the end
    are counted by a last, empty block."""
    left_out = Counter[str]()
    for each in blocks:
        block = each
        if selection.where is not None:
            block = _counted(block, block.holds(condition(selection.where)), "where", left_out)
        if selection.sample is not None:
            mask = sampled(piece.source, block.numbers, selection.sample, selection.seed)
            block = _counted(block, mask, "sample", left_out)
        if len(block.numbers):
            block = block if selection.columns is None else block.narrowed(selection.columns)
            block = block if made is None else made(block)
            yield replace(block, left_out=dict(left_out))
            left_out.clear()
    if left_out:
        yield RowBlock(piece.source, np.zeros(0, dtype=np.int64), [], left_out=dict(left_out))


def _counted(block: Block, mask: np.ndarray, why: str, left_out: Counter[str]) -> Block:
    if mask.all():
        return block
    left_out[why] += int(np.count_nonzero(~mask))
    return block.taken(mask)


# ==== Formats ====


def _by_rows(_: SourceInfo, rows: Sequence[int]) -> Sequence[int | None]:
    return [None] * len(rows)


def _uncut(_: SourceInfo, piece: Slice) -> Slice:
    return piece


def _nowhere(_: Slice, __: float, ___: int) -> Slice | None:
    return None


_INFLATION = 4  # how much larger compressed text is taken to be


def _text_size(info: SourceInfo) -> int:
    return info.bytes * (_INFLATION if info.compression else 1)


@dataclass(frozen=True)
class Format:
    """What is known of a format; each module of one ends on its constant.

    name      as in `SourceInfo.format`
    suffixes  of file names
    inspect   (source, compression, at) -> what a file holds, checked; `SourceError` where it is something
              else than its name says
    read      (slice, n) -> its rows in blocks of at most n
    cut       (info, rows) -> the byte where each row begins, and at last the end; None where rows are found
              by their numbers alone. `rows` are 0, n, 2n ... and the end; two of them need no reading
    places    (slice, rows) -> the byte where each of these rows of it begins, and at last its end; None where
              rows are found by their numbers alone. A slice is not cut again where the format has none
    middle    (info, slice) -> a slice from about its middle on, as far as it is cheap to go there
    part      (slice, share, n) -> n rows or more of it, from a share of its rows on; None where it has to be
              read from the start
    size      info -> bytes of a file before compression, about
    columns   info -> the columns that a footer names, nested ones as mappings; None where only rows tell
    magic     bytes that a file begins with, one of them; none in text, which may be compressed as a whole
    has_delimiter  whether a source may say what separates its cells

    A format with a footer (`has_footer`) says itself which rows and columns there are.
    """

    name: str
    suffixes: tuple[str, ...]
    inspect: Callable[[str, str | None, At], SourceInfo]
    read: Callable[[Slice, int], Iterator[Block]]
    cut: Callable[[SourceInfo, Sequence[int]], Sequence[int | None]] = _by_rows
    places: Callable[[Slice, Sequence[int]], Sequence[int | None]] | None = None
    middle: Callable[[SourceInfo, Slice], Slice] = _uncut
    part: Callable[[Slice, float, int], Slice | None] = _nowhere
    size: Callable[[SourceInfo], int] = _text_size
    columns: Callable[[SourceInfo], Mapping[str, Any]] | None = None
    magic: tuple[bytes, ...] = ()
    has_delimiter: bool = False

    @property
    def has_footer(self) -> bool:
        """Whether a footer says which rows and columns there are."""
        return self.columns is not None
