"""Numbers that look random and are the same on every machine: who is in a sample, a split, a shuffle; and a
hash of samples, to compare them.

    mix           words -> words with their bits mixed, in place
    mixed_bits    numbers -> 64-bit hashes
    chance        numbers -> fractions of 1
    name_hash     a text -> 64 bits
    hash_samples  tokens and labels -> one hash a sample

All of them end in the finalizer of SplitMix64 (Steele, Lea and Flood 2014). It is no protection against
someone who looks for two inputs with the same hash. Cost: about 2 ns a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: what SplitMix64 adds from one number to the next."""


def mix(words: np.ndarray) -> np.ndarray:
    """Mix the bits of words, uint64[n], in place, and return them: each bit depends on all bits of its word.

    >>> mix(np.array([0, 1], dtype=np.uint64)).tolist()
    [0, 6238072747940578789]
    """
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def mixed_bits(numbers: np.ndarray) -> np.ndarray:
    """Return a hash of each number, uint64[n] -> uint64[n]: the first output of SplitMix64 seeded with it.

    >>> mixed_bits(np.array([0, 1], dtype=np.uint64)).tolist()
    [16294208416658607535, 10451216379200822465]
    """
    return mix(numbers + GOLDEN)


def chance(numbers: np.ndarray) -> np.ndarray:
    """Return a fraction for each number, uint64[n] -> float64[n], at least 0 and below 1.

    >>> chance(np.array([0, 1], dtype=np.uint64)).round(3).tolist()
    [0.883, 0.567]
    """
    fractions: np.ndarray = (mixed_bits(numbers) >> np.uint64(11)) / np.float64(2**53)
    return fractions


def name_hash(text: str) -> int:
    """Return 64 bits of the sha256 of a text.

    >>> name_hash("a.jsonl")
    6988126093042477709
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def hash_samples(
    ids: np.ndarray, labels: np.ndarray, floats: Mapping[str, np.ndarray], lengths: np.ndarray
) -> np.ndarray:
    """Return a number for each of n samples, uint64[n]: the same for equal samples, and different for others
    but for one case in 2**64.

    `ids` and `labels` int32[tokens] and each of `floats`, float32[tokens] by name, hold the samples side by
    side, `lengths` int64[n] has at least 1 for each. The hash is a sum over tokens, so that all samples are
    done at once.

    >>> a, b = np.array([7, 8, 7, 8], np.int32), np.array([-1, 8, -1, 8], np.int32)
    >>> one, other = hash_samples(a, b, {}, np.array([2, 2]))
    >>> bool(one == other), bool(one == hash_samples(a[:2], b[2:] + 1, {}, np.array([2]))[0])
    (True, False)
    """
    starts = np.cumsum(lengths) - lengths
    words = np.arange(len(ids), dtype=np.uint64)
    words -= np.repeat(starts.astype(np.uint64), lengths)
    words *= GOLDEN
    words ^= ids.astype(np.uint64) | labels.astype(np.uint64) << np.uint64(32)
    for name, values in floats.items():
        words += values.astype(np.float32).view(np.uint32) * np.uint64(name_hash(name) | 1)
    return np.asarray(np.add.reduceat(mix(words), starts))
