"""Numpy and Arrow: arrays from one to the other without a copy, and where stretches lie side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """The values, numbers of a fixed size, as an Arrow array that shares their memory.

    >>> arrow_array(np.array([1, 2], dtype=np.int32)).to_pylist()
    [1, 2]
    """
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def offsets_of(counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """Where each of n stretches starts that lie side by side, and the end: int64[n+1].

    >>> offsets_of([2, 3]).tolist()
    [0, 2, 5]
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=offsets[1:])
    return offsets


def name_hash(text: str) -> int:
    """64 bits of a hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _chance(numbers: np.ndarray) -> np.ndarray:
    """Numbers from 0 to 1 that look random, of 64-bit ones."""
    chance: np.ndarray = (mixed_bits(numbers) >> np.uint64(11)) / np.float64(2**53)
    return chance


def mixed_bits(numbers: np.ndarray) -> np.ndarray:
    """64-bit numbers with their bits mixed (the finalizer of SplitMix64: Steele, Lea and Flood 2014)."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return result


def hash_samples(
    ids: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, lengths: np.ndarray
) -> np.ndarray:
    """A number for each of n samples, flat and of at least one token each, uint64[n]: equal for equal
    samples, and else different but for one case in 2**64. A sum of mixed words, so that all samples are done
    at once (the mixing is that of SplitMix64); no protection against who seeks two that are equal.

    >>> a, b = np.array([7, 8, 7, 8], np.int32), np.array([-1, 8, -1, 8], np.int32)
    >>> one, other = hash_samples(a, b, None, np.array([2, 2]))
    >>> bool(one == other), bool(one == hash_samples(a[:2], b[2:] + 1, None, np.array([2]))[0])
    (True, False)
    """
    starts = np.cumsum(lengths) - lengths
    words = np.arange(len(ids), dtype=np.uint64)
    words -= np.repeat(starts.astype(np.uint64), lengths)
    words *= np.uint64(0x9E3779B97F4A7C15)
    words ^= ids.astype(np.uint64) | labels.astype(np.uint64) << np.uint64(32)
    if weights is not None:
        words += weights.astype(np.float32).view(np.uint32) * np.uint64(0xD6E8FEB86659FD93)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return np.asarray(np.add.reduceat(words, starts))
