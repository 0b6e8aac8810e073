"""What is shown of a row: cards with turns, and turns with pieces of text.

    card = Card("sample 0", ("id a",), (), (view_of("", tokens, limit=12_000),))
    card.samples[0].blocks      # turns, and gaps where tokens are left out

A long sample is shown without its middle, a row with many samples without the last ones.

Cost: a few microseconds a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from ...core.contract import IGNORE_INDEX
from ...core.text import visible
from .tokens import Tokens
from .turns import template_texts, turns_of

GROUP_CHARACTERS = 400
"""Characters of one token that are shown."""
CONTEXT = 40
"""Tokens that are shown around those that differ, if two outputs are compared."""
BINS = 120
"""Steps of the strip that shows where a sample is trained."""


class Piece(NamedTuple):
    """Tokens that share their characters, as they are shown. `label` is one that is not the token's id."""

    text: str
    ids: tuple[int, ...]
    trained: bool
    control: bool
    template: bool
    weight: float
    label: int | None
    changed: bool


@dataclass(frozen=True)
class Turn:
    """Consecutive text of one writer: its tokens, those that are trained, and what is shown of it."""

    role: str
    tokens: int
    trained: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Gap:
    """Tokens that are not shown: padding, or the middle of a long sample."""

    padding: bool
    tokens: int
    trained: int


@dataclass(frozen=True)
class View:
    """A sample as it is shown. `strip` has (start, size) of its trained stretches, in thousandths."""

    name: str
    tokens: int
    trained: int
    strip: tuple[tuple[int, int], ...]
    blocks: tuple[Turn | Gap, ...]
    guessed: bool
    """Whether the roles are read from markers."""

    @property
    def pieces(self) -> Iterator[Piece]:
        """All that is shown of its text."""
        return (piece for block in self.blocks if isinstance(block, Turn) for piece in block.pieces)


@dataclass(frozen=True)
class Card:
    """A row as it is shown: its title, what it says of itself, what is strange, its samples, and how many
    more it has."""

    title: str
    facts: tuple[str, ...]
    notes: tuple[str, ...]
    samples: tuple[View, ...]
    more: int = 0


def view_of(name: str, tokens: Tokens, *, limit: int) -> View:
    """Return what is shown of a sample of t tokens: at most `limit` characters, and no padding."""
    sizes = np.array([count for _, count in tokens.groups], dtype=np.int64)
    firsts = np.cumsum(sizes) - sizes
    padded = tokens.padding[firsts] if len(firsts) else np.zeros(0, dtype=bool)
    shown = _shown(tokens, firsts, limit) & ~padded
    turns = turns_of(tokens)
    places = np.searchsorted([first for first, _ in turns], firsts, side="right") - 1
    real = tokens.trained & ~tokens.padding
    guessed = tokens.origins is None and any(role for _, role in turns)
    blocks = tuple(_blocks(tokens, turns, [*zip(shown, padded, places, strict=True)]))
    return View(name, int((~tokens.padding).sum()), int(real.sum()), _strip(real), blocks, guessed)


def notes_of(tokens: Tokens) -> list[str]:
    """Return sentences on what is strange in the labels of a sample."""
    found = []
    if wrong := int(tokens.differs.sum()):
        found.append(f"{wrong:,} labels differ from their token.")
    if len(tokens.ids) and not tokens.trained.any() and not tokens.padding.all():
        found.append("Nothing is trained.")
    if tokens.padding.any() and (wrong := int((tokens.padding & tokens.trained).sum())):
        found.append(f"{wrong:,} padding tokens are trained: their labels should be -100.")
    return found


def _shown(tokens: Tokens, firsts: np.ndarray, limit: int) -> np.ndarray:
    """Return which groups are shown: two thirds of the room for the start, and one for the end. If outputs
    are compared, it is what differs, and some tokens around it."""
    sizes = np.array([len(text[:GROUP_CHARACTERS]) for text, _ in tokens.groups], dtype=np.int64)
    kept = np.ones(len(sizes), dtype=bool)
    if tokens.changed is not None:
        near = np.convolve(tokens.changed, np.ones(2 * CONTEXT + 1), "same")[: len(tokens.ids)] > 0
        kept = near[firsts]
        return np.asarray(kept & (np.cumsum(np.where(kept, sizes, 0)) <= limit))
    if sizes.sum() > limit:
        ends = np.cumsum(sizes)
        kept = (ends <= limit * 2 // 3) | (ends[-1] - ends + sizes <= limit // 3)
    return kept


def _blocks(
    tokens: Tokens, turns: Sequence[tuple[int, str]], states: Sequence[tuple[bool, bool, int]]
) -> Iterator[Turn | Gap]:
    """Yield turns and gaps, given for each group whether it is shown, whether it is padding, and its turn."""
    template, trained, at = template_texts(tokens), tokens.trained, 0
    ends = [*(first for first, _ in turns[1:]), len(tokens.ids)]
    numbered = enumerate(states)
    for (shown, padded, turn), same in groupby(numbered, key=lambda each: _key(*each[1])):
        groups = [tokens.groups[i] for i, _ in same]
        length = sum(count for _, count in groups)
        own = slice(at, at + length)
        at += length
        if not shown:
            yield Gap(bool(padded), length, int(trained[own].sum()))
            continue
        whole = slice(turns[turn][0], ends[turn])
        real = ~tokens.padding[whole]
        pieces = tuple(_pieces(tokens, groups, own.start, template))
        yield Turn(turns[turn][1], int(real.sum()), int((trained[whole] & real).sum()), pieces)


def _key(shown: bool, padded: bool, turn: int) -> tuple[bool, bool, int]:  # noqa: FBT001
    """Return what the groups of a block have in common: a gap can go over several turns."""
    return bool(shown), bool(padded), int(turn) if shown else -1


def _pieces(
    tokens: Tokens, groups: Sequence[tuple[str, int]], at: int, template: Sequence[bool]
) -> Iterator[Piece]:
    for text, count in groups:
        own = slice(at, at + count)
        labels, ids = tokens.labels[own], tokens.ids[own]
        on = labels != IGNORE_INDEX
        wrong = labels[on & (labels != ids)]
        weights = None if tokens.weights is None else tokens.weights[own][on]
        yield Piece(
            _short(text),
            tuple(ids.tolist()),
            bool(on.any()),
            bool(tokens.control[at]),
            template[at],
            1.0 if weights is None or not len(weights) else float(weights[0]),
            int(wrong[0]) if len(wrong) else None,
            tokens.changed is not None and bool(tokens.changed[own].any()),
        )
        at += count


def _short(text: str) -> str:
    """Return the text of a token, printable but for line breaks, and cut if it is long."""
    left_out = len(text) - GROUP_CHARACTERS
    more = f"... {left_out:,} more characters" if left_out > 0 else ""
    return "\n".join(visible(line) for line in text[:GROUP_CHARACTERS].split("\n")) + more


def _strip(trained: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return where a sample is trained: (start, size) of stretches, in thousandths of its tokens.

    >>> _strip(np.array([False, True]))
    ((500, 500),)
    """
    if not trained.any():
        return ()
    length = len(trained)
    bins = trained[np.arange(BINS) * length // BINS]
    bins[np.flatnonzero(trained) * BINS // length] = True
    edges = np.flatnonzero(np.diff(bins.astype(np.int8), prepend=0, append=0)) * 1000 // BINS
    return tuple((int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True))
