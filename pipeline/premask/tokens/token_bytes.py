"""The bytes of text that each token of a vocabulary represents."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from ..core.arrays import offsets_of
from ..core.facts import recall

_PARTS = ("normalizer", "pre_tokenizer", "decoder")


class _Model(msgspec.Struct):
    type: str
    vocab: Any = None
    unk_token: str | None = None


class _Spec(msgspec.Struct):
    """The parts of a tokenizer that are read; a typed reader skips the rest, above all merges."""

    model: _Model
    added_tokens: list[dict[str, Any]]
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


class _Tables(msgspec.Struct):
    """The tables as they are kept: `lengths` are int32, little-endian."""

    spec: dict[str, Any]
    lengths: bytes | None


@lru_cache(maxsize=4)
def byte_tables(tokenizer_json: str) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the normalizer, pre-tokenizer and decoder of a tokenizer, and the bytes of text per token id.

    The bytes are int32[vocabulary], or None if tokens have no fixed number of bytes. Cost: a tenth of a
    second, once for a tokenizer (`core/facts.py`).
    """
    about = [hashlib.sha256(tokenizer_json.encode()).hexdigest()]
    kept = recall("bytes", about, _Tables, lambda: _as_kept(*_byte_tables(tokenizer_json)), holds=_is_whole)
    lengths = None if kept.lengths is None else np.frombuffer(kept.lengths, dtype="<i4").astype(np.int32)
    return kept.spec, lengths


def _as_kept(spec: dict[str, Any], lengths: np.ndarray | None) -> _Tables:
    return _Tables(spec, None if lengths is None else lengths.astype("<i4").tobytes())


def _is_whole(tables: _Tables) -> bool:
    return tables.spec.keys() == {*_PARTS} and len(tables.lengths or b"") % 4 == 0


def _byte_tables(tokenizer_json: str) -> tuple[dict[str, Any], np.ndarray | None]:
    whole = msgspec.json.decode(tokenizer_json, type=_Spec)
    model = whole.model
    spec = {name: getattr(whole, name) for name in _PARTS}
    decoder = json.dumps(whole.decoder or {})
    byte_level, byte_fallback = '"ByteLevel"' in decoder, '"ByteFallback"' in decoder
    if model.type != "BPE" or byte_level == byte_fallback:
        return spec, None
    vocabulary: dict[str, int] = model.vocab
    added = {token["content"]: token["id"] for token in whole.added_tokens}
    lengths = np.zeros(max([*vocabulary.values(), *added.values()], default=-1) + 1, dtype=np.int32)
    sizes = map(len, vocabulary) if byte_level else map(_fallback_length, vocabulary)
    lengths[list(vocabulary.values())] = list(sizes)
    for token, index in added.items():
        lengths[index] = len(token.encode()) if byte_level else _fallback_length(token)
    unknown = None if model.unk_token is None else vocabulary.get(model.unk_token)
    if unknown is not None:
        lengths[unknown] = _UNKNOWN
    return spec, lengths


_UNKNOWN = 1 << 30  # bytes of a token for any unknown text: more than a text has, so that no size fits


def _fallback_length(token: str) -> int:
    """Return the bytes of text of a piece of a byte-fallback vocabulary.

    >>> _fallback_length("<0x0A>"), _fallback_length("\u2581é")
    (1, 3)
    """
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.replace("\u2581", " ").encode())


def byte_names() -> list[str]:
    """Return the characters for the 256 bytes in byte-level vocabularies (the table of GPT-2).

    >>> byte_names()[0x20], byte_names()[0x41]
    ('Ġ', 'A')
    """
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(0x100)]


BYTES_OF_CHARACTERS = {name: byte for byte, name in enumerate(byte_names())}
"""Character -> byte, the inverse."""


def byte_offsets(text: str) -> np.ndarray:
    """Return the first byte (UTF-8) of each character of a text, and the end: int64[characters + 1].

    >>> byte_offsets("aé").tolist()
    [0, 1, 3]
    """
    if text.isascii():
        return np.arange(len(text) + 1, dtype=np.int64)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return offsets_of(sizes)


def character_spans(text: str, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the characters that tokens cover, first and one past the last, from their bytes.

    A token with a part of a character covers the whole character.

    >>> [each.tolist() for each in character_spans("aé", np.array([0, 1, 2]), np.array([1, 2, 3]))]
    [[0, 1, 1], [1, 2, 2]]
    """
    if text.isascii():
        return starts, ends
    bytes_at = byte_offsets(text)
    return np.searchsorted(bytes_at, starts, side="right") - 1, np.searchsorted(bytes_at, ends, side="left")
