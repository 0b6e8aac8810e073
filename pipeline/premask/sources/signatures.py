"""What the first bytes of a file say that it is, whatever its name says."""

from __future__ import annotations

_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x50\x2a\x4d\x18", "zstd"),  # a skippable frame, as pzstd writes it first
    (b"PAR1\x15", "parquet"),
    (b"ARROW1\x00", "Arrow IPC"),
    (b"BZh91AY&SY", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "a zip archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"<!DOCTYPE html", "an HTML page"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
)


def signature(head: bytes) -> str | None:
    """What a file is that begins with these bytes; None where they could be UTF-8 text.

    >>> signature(b"PK..."), signature(b"PK\\x03\\x04"), signature(b"{\\0}\\0")
    (None, 'a zip archive', 'UTF-16 text')
    """
    found = next((kind for magic, kind in _SIGNATURES if head.startswith(magic)), None)
    if found is None and len(head) > 3 and (not any(head[1:4:2]) or not any(head[:3:2])) and any(head):
        return "UTF-16 text"
    return found
