"""Answers that were cut within their reasoning: a block that a trained turn opens and nothing closes.

    unclosed_in(masked)          # int64[n]: such turns of each sample

A model that reaches its limit of tokens leaves `<think>` without `</think>`. Templates print such an answer
as it is, so it is trained as one. It is counted from the texts and segments in which the fast and the slow
path meet (`core/records.py:MaskedTexts`). If the prompt opens the block, such a row is refused
(`open_reasoning`).

Cost: a third of a microsecond a text without such marks; else a microsecond a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..core.records import NOT_TRAINED, WRITERS, MaskedTexts
from .reasoning_marks import closer_of

UNCLOSED = "unclosed_reasoning"
"""The name of this count."""

_OPENERS = ("<think>", "[THINK]", "<seed:think>")
_MARKS = {opener.encode(): closer_of(opener).encode() for opener in _OPENERS}
"""Marks that no answer begins with but to reason, and what closes their blocks."""

_ANY = re.compile(b"|".join(map(re.escape, _MARKS)))
_NEAR = 24
"""Bytes of a message in which a mark is looked for, with the blanks before it."""

_ASSISTANT = WRITERS.index("assistant")
_OWN = (WRITERS.index("template"), _ASSISTANT)


def unclosed_in(masked: MaskedTexts) -> np.ndarray:
    """Return how many trained turns of each sample open a block of reasoning and never close it, int64[n]."""
    found = np.zeros(len(masked.texts), dtype=np.int64)
    if not any(opener in text for text in masked.texts for opener in _OPENERS):  # most data
        return found
    begins, of_text = _begins(masked)
    own = pairwise(np.searchsorted(of_text, np.arange(len(found) + 1)).tolist())
    for number, (text, (low, high)) in enumerate(zip(masked.texts, own, strict=True)):
        data = text.encode()
        if any(_ANY.search(data, at, at + _NEAR) for at in begins[low:high]):
            found[number] = sum(_unclosed(masked, number, data))
    return found


def _begins(masked: MaskedTexts) -> tuple[list[int], np.ndarray]:
    """Return where, in bytes, a trained turn may begin to speak, and in which text."""
    first = np.cumsum(masked.sizes) - masked.sizes
    of_text = np.repeat(np.arange(len(masked.texts)), np.diff(masked.offsets))
    first -= np.append(first, 0)[masked.offsets[:-1]][of_text]
    speaks = (masked.writers == _ASSISTANT) & (masked.messages != NOT_TRAINED)
    return first[speaks].tolist(), of_text[speaks]


def _unclosed(masked: MaskedTexts, number: int, data: bytes) -> Iterator[bool]:
    """Yield for each trained turn of a text whether it opens a block that nothing closes."""
    for start, end in _turns(masked, number):
        first = data[start : start + _NEAR].lstrip()
        yield any(first.startswith(mark) and closer not in data[start:end] for mark, closer in _MARKS.items())


def _turns(masked: MaskedTexts, number: int) -> Iterator[tuple[int, int]]:
    """Yield of each trained turn of the assistant: the first byte that it wrote itself, and one past the last
    byte before somebody else speaks."""
    own = slice(*masked.offsets[number : number + 2].tolist())
    columns = (masked.sizes, masked.writers, masked.messages)
    at, start, turn = 0, 0, NOT_TRAINED
    for size, writer, message in zip(*(each[own].tolist() for each in columns), strict=True):
        if turn != NOT_TRAINED and (writer not in _OWN or message not in (NOT_TRAINED, turn)):
            yield start, at
            turn = NOT_TRAINED
        if turn == NOT_TRAINED and writer == _ASSISTANT:
            start, turn = at, message
        at += size
    if turn != NOT_TRAINED:
        yield start, at
