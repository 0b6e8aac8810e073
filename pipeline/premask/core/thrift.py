"""Structs of Thrift's compact protocol, in which Parquet writes its footer and the headers of its pages.

    fields, end = read_struct(data)

The format: `thrift-compact-protocol.md` of Apache Thrift; what the fields are: `parquet.thrift`. pyarrow
shows neither the headers of pages, nor a footer that contradicts itself.

Cost: some microseconds a struct.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 12


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return a struct that begins at a byte: number of a field -> value, and the byte behind it.

    Raises `IndexError` if the data ends within it, and `ValueError` if it is no struct.

    >>> read_struct(bytes([0x15, 0x04, 0x15, 0xC8, 0x01, 0x00]))
    ({1: 2, 2: 100}, 6)
    """
    if depth > _DEEPEST:
        raise ValueError(depth)
    fields, number = dict[int, Any](), 0
    while True:
        head, at = data[at], at + 1
        kind = head & 0x0F
        if not kind:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if kind in {1, 2}:  # the head of a bool holds its value
            fields[number] = kind == 1
        else:
            fields[number], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """Read a value of a kind: 3 byte, 4 to 6 integers, 7 double, 8 bytes, 9 list, 10 set, 12 struct."""
    if kind == 12:
        return read_struct(data, at, depth + 1)
    if kind in {4, 5, 6}:
        return _integer(data, at)
    if kind == 8:
        size, at = _varint(data, at)
        return data[at : _within(data, at + size)], at + size
    if kind in {9, 10}:
        head, at = data[at], at + 1
        count = head >> 4
        if count == 15:
            count, at = _varint(data, at)
        kind, items = 3 if (head & 0x0F) in {1, 2} else head & 0x0F, list[Any]()
        for _ in range(_within(data, count)):
            item, at = _value(data, at, kind, depth + 1)
            items.append(item)
        return items, at
    if kind in {3, 7}:
        return None, at + (1 if kind == 3 else 8)
    raise ValueError(kind)


def _within(data: bytes, place: int) -> int:
    if place > len(data):
        raise IndexError(place)
    return place


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError(value)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer with a sign, which is in its last bit."""
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
