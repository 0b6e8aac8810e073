"""Deduplication over all units of a run, and the hashes by which rows are compared.

    keys = shaped_keys(batch.shaped, n=len(batch), split_by=recipe.split_by)
    keys.add(at, [conversation])              # for each row without a shape
    keys.hashes[at], keys.groups[at]

    write_hashes(path, hashes)                # the rows of a unit, in the order in which they are read
    for place, first in find_duplicates(paths): ...

The hash of a conversation (128 bits of SHA-256) covers messages, tools and template arguments, but not the id
of the row. Rows of different dialects have the same hash if their conversations are equal. A row with a shape
(`core/shapes.py`) is hashed without making a Conversation. A second hash keeps related rows in one split.

A unit knows only its own rows. Each unit writes the hashes of its rows to a file, and the files are compared
here. The order of the input alone decides which of equal rows is the first.

Cost: hashing takes 1.5 us a row and 0.6 ns a byte of text, and another microsecond for the first user turn.
Comparing takes 0.2 us and 36 bytes a row. At most `ROWS_AT_ONCE` rows are compared at a time. More are
compared in parts, by the first bits of their hashes; the files are read once per part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.recipe import SplitBy
from ..core.records import ROLES, Conversation, GivenTokens
from ..core.shapes import MessageShape, RowShape, shape_of
from ..dialects.shaped import ShapedRows
from .dropped import Drop, readable

# ==== What rows are compared by ====

HASH_BYTES = 16
"""Bytes of the hash of a conversation. Among 10^9 rows, a collision occurs once in 10^20 runs."""


@dataclass(frozen=True, slots=True)
class RowKeys:
    """The keys of the n rows of a batch.

    hashes  uint8[n, 16]  hash of the conversation
    known   bool[n]       whether the row is a conversation; other rows have no keys
    groups  uint64[n]     rows with equal groups stay in one split; zeros if `split_by` is None
    ids     n ids, None for rows without one
    """

    hashes: np.ndarray
    known: np.ndarray
    groups: np.ndarray
    ids: list[str | None]
    split_by: SplitBy | None = None

    def cut(self, first: int, last: int) -> RowKeys:
        """Return the keys of rows `first` to `last`."""
        own = slice(first, last)
        return RowKeys(self.hashes[own], self.known[own], self.groups[own], self.ids[own], self.split_by)

    def add(self, at: int, conversations: Sequence[Conversation]) -> None:
        """Set the keys of row `at`, which has no shape, from its conversations."""
        hashes = [conversation_hash(each) for each in conversations]
        hashed = hashes[0] if len(hashes) == 1 else _hash(b"".join(hashes))
        self.hashes[at] = np.frombuffer(hashed, np.uint8)
        self.known[at] = True
        self.ids[at] = conversations[0].id
        if self.split_by is not None:
            users = (m.content for m in conversations[0].messages if m.role == "user" and m.content)
            self.groups[at] = _group(hashed, next(users, None), self.ids[at], self.split_by)


def shaped_keys(shaped: ShapedRows, n: int, split_by: SplitBy | None = None) -> RowKeys:
    """Return the keys of a batch of `n` rows, set for those with a shape; groups if `split_by` is given."""
    hashes = [shape_hash(shape, texts) for shape, texts in zip(shaped.shapes, shaped.texts, strict=True)]
    index = np.asarray(shaped.index, dtype=np.int64)
    keys = RowKeys(
        np.zeros((n, HASH_BYTES), dtype=np.uint8),
        np.zeros(n, dtype=bool),
        np.zeros(n, dtype=np.uint64),
        [None] * n,
        split_by,
    )
    keys.hashes[index] = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)
    keys.known[index] = True
    for at, id_ in zip(shaped.index, shaped.ids, strict=True):
        keys.ids[at] = id_
    if split_by is not None:
        firsts = map(_first_user, shaped.shapes, shaped.texts)
        keys.groups[index] = np.fromiter(
            (_group(*each, split_by) for each in zip(hashes, firsts, shaped.ids, strict=True)),
            dtype=np.uint64,
            count=len(index),
        )
    return keys


def shape_hash(shape: RowShape, texts: Sequence[str]) -> bytes:
    """Return the hash of a conversation that has a shape."""
    sizes = ",".join([str(len(text)) for text in texts])
    return _hash(b"%b\0%b\0%b" % (_described(shape), sizes.encode(), "".join(texts).encode()))


def _described(shape: RowShape) -> bytes:
    """Return a shape as bytes; no two shapes have the same ones.

    Of messages with a role and a content only: their roles, a byte each (indices into `records.ROLES`).
    """
    codes = _codes(shape) if shape.tools is None and shape.weight is None else None
    if codes is not None:
        return codes
    head = f"shape {shape.tools} {shape.weight}".encode()
    return b"\n".join([head, *map(_described_message, shape.messages)])


@lru_cache(maxsize=4096)
def _codes(shape: RowShape) -> bytes | None:
    """Return the roles of messages, a byte each; None if they have more than a role and a content."""
    return bytes([ROLES.index(message.role) for message in shape.messages]) if shape.is_plain else None


@lru_cache(maxsize=4096)
def _described_message(shape: MessageShape) -> bytes:
    """Return the shape of a message as JSON: its role, slots, tool calls and marks."""
    calls = [[*call] for call in shape.calls]
    return json.dumps([shape.role, shape.slots, calls, shape.train, shape.weight]).encode()


def conversation_hash(conversation: Conversation) -> bytes:
    """Return the hash of any conversation; if it has a shape, it equals `shape_hash`."""
    shaped = shape_of(conversation)
    if shaped is not None:
        return shape_hash(*shaped)
    messages = conversation.messages
    parts = [dataclasses.asdict(message) for message in messages], conversation.tools
    others = [each for each in _beside_messages(conversation) if each is not None]
    if conversation.given is not None:
        others.append(_given_hash(conversation.given))
    text = json.dumps([*parts, conversation.template_kwargs, *others], sort_keys=True, default=str)
    return _hash(text.encode())


def _beside_messages(conversation: Conversation) -> tuple[object, ...]:
    return conversation.weight, conversation.document, conversation.side


def _given_hash(given: GivenTokens) -> str:
    """Return the hash of the tokens of a row and of what it gives of them."""
    found = hashlib.sha256(given.ids.tobytes() + given.trained.tobytes() + given.parts.tobytes())
    found.update(b"" if given.weights is None else given.weights.tobytes())
    found.update(json.dumps([given.floats, given.texts], default=str).encode())
    return found.hexdigest()


def _first_user(shape: RowShape, texts: Sequence[str]) -> str | None:
    """Return the first user text that is not empty."""
    at = shape.tools or 0
    for message in shape.messages:
        if message.role == "user" and message.content and texts[at]:
            return texts[at]
        at += len(message.slots)
    return None


def _group(hashed: bytes, first_user: str | None, id_: str | None, split_by: SplitBy) -> int:
    """Return the group of a row, 64 bits."""
    if split_by is SplitBy.id and id_ is not None:
        return _number(_hash(b"id\0" + id_.encode()))
    if split_by is SplitBy.conversation or first_user is None:
        return _number(hashed)
    return _number(_hash(" ".join(first_user.split()).casefold().encode()))


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:HASH_BYTES]


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed[:8], "little")


ROWS_AT_ONCE = 1 << 25
"""Rows whose hashes are in memory at the same time, about."""


# ==== Duplicates over all units ====

HASHED = np.dtype([("piece", "<i4"), ("row", "<i8"), ("hash", "u1", (HASH_BYTES,))])
"""One row that is a conversation: its slice in the unit, its number in the file, its hash."""


class DuplicateRows(NamedTuple):
    """Duplicates and their originals, int64[n] each, ascending by `place`.

    place  position of the duplicate among the hashed rows of all units, in order
    first  position of its original
    """

    place: np.ndarray
    first: np.ndarray


def hashed_rows(piece: int, numbers: np.ndarray, hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the known rows of a batch, `HASHED[k]`."""
    rows = np.empty(int(np.count_nonzero(known)), dtype=HASHED)
    rows["piece"], rows["row"], rows["hash"] = piece, numbers[known], hashes[known]
    return rows


def write_hashes(path: Path, parts: Sequence[np.ndarray]) -> None:
    """Write the rows of a unit, `HASHED`, to a new file in the format of `np.save`.

    `np.save` itself does not report a full disk as such.
    """
    rows = np.concatenate([np.empty(0, dtype=HASHED), *parts])
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.view(np.uint8).data)


def read_hashes(path: Path) -> np.ndarray:
    """Return the rows of a unit, `HASHED[n]`, mapped into memory. Raises `OutputError` if it has none."""
    with readable(path):
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        if rows.dtype != HASHED or rows.ndim != 1:
            raise ValueError("it holds something else")
    return rows


def find_duplicates(paths: Sequence[Path], rows_at_once: int = ROWS_AT_ONCE) -> DuplicateRows:
    """Return the duplicates among the rows of these units, which are in input order."""
    sizes = [len(read_hashes(path)) for path in paths]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    parts = 1 << max(0, (int(starts[-1]) // max(1, rows_at_once)).bit_length())
    found = [_equal_rows(paths, starts, part, parts) for part in range(parts)]
    place, first = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.argsort(place, kind="stable")
    return DuplicateRows(place[order], first[order])


def _equal_rows(paths: Sequence[Path], starts: np.ndarray, part: int, parts: int) -> DuplicateRows:
    """Return the duplicates among the rows whose hashes are in one of `parts` parts (a power of 2)."""
    hashes, places = [np.empty((0, 2), dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for path, start in zip(paths, starts.tolist(), strict=False):
        each = np.ascontiguousarray(read_hashes(path)["hash"]).view(np.uint64).reshape(-1, 2)
        own = np.flatnonzero(each[:, 0] % np.uint64(parts) == part)
        hashes.append(each[own])
        places.append(own + start)
    both, place = np.concatenate(hashes), np.concatenate(places)
    order = np.lexsort((both[:, 1], both[:, 0]))  # stable: equal rows stay in input order
    same = (np.diff(both[order], axis=0) == 0).all(axis=1)
    again = np.concatenate([np.zeros(min(1, len(order)), dtype=bool), same])
    head = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    return DuplicateRows(place[order[again]], place[order[head[again]]])


def count_by_source(
    paths: Sequence[Path], sources: Sequence[Sequence[str]], found: DuplicateRows
) -> Counter[str]:
    """Return the number of duplicates of each file; `sources` are the files of each unit's slices."""
    counts, start = Counter[str](), 0
    for path, names in zip(paths, sources, strict=True):
        rows = read_hashes(path)
        own = slice(*np.searchsorted(found.place, [start, start + len(rows)]))
        for piece, count in Counter(rows["piece"][found.place[own] - start].tolist()).items():
            counts[names[piece]] += count
        start += len(rows)
    return counts


def duplicate_drops(
    paths: Sequence[Path], sources: Sequence[Sequence[str]], found: DuplicateRows
) -> Iterator[tuple[int, list[Drop]]]:
    """Yield the duplicates of each unit that has some, with its number; `sources` are the files of the slices
    of each unit."""
    names = sorted({name for unit in sources for name in unit})
    starts = np.concatenate([[0], np.cumsum([len(read_hashes(path)) for path in paths])]).astype(np.int64)
    unit_of_first = np.searchsorted(starts, found.first, side="right") - 1
    source, first = np.zeros(len(found.first), dtype=np.int64), np.zeros(len(found.first), dtype=np.int64)
    for unit in np.unique(unit_of_first).tolist():
        own = unit_of_first == unit
        rows = read_hashes(paths[unit])[found.first[own] - starts[unit]]
        numbers = np.array([names.index(name) for name in sources[unit]])
        source[own], first[own] = numbers[rows["piece"]], rows["row"]
    for unit, path in enumerate(paths):
        own = slice(*np.searchsorted(found.place, starts[unit : unit + 2]))
        rows = read_hashes(path)[found.place[own] - starts[unit]]
        columns = (rows["piece"], rows["row"], source[own], first[own])
        drops = [
            Drop(piece, row, "duplicate", f"the same conversation is row {number} of {names[name]}")
            for piece, row, name, number in zip(*(each.tolist() for each in columns), strict=True)
        ]
        if drops:
            yield unit, drops
