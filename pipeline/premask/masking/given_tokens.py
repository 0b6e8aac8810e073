"""Tokens that a row brings, as a sample: checked against the tokenizer, and kept as they are.

    check_given(given, tokenizer, columns=["logprobs"])
    sample = given_sample(given, weight=None, bytes_of=tokenizer.bytes_of, columns=["logprobs"])

The text of such a sample is what its tokens decode to. It is for people, and for the stages that count in
bytes: where ids do not decode to whole characters, its bytes are others than those of the tokens. So each
token covers at least one byte of the text, and `labels.py` finds exactly those tokens trained that the row
says (and not the first of a sample, which nothing predicts).

Cost: a microsecond a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from ..core.errors import RowError
from ..core.records import Floats, GivenText, GivenTokens, Origin, Sample, SampleTokens, Turn

BytesOf = Callable[[int], bytes]
"""The bytes of text of a token."""

REPLACEMENT = "\ufffd"


class Vocabulary(Protocol):
    """What is asked of a tokenizer."""

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        """Which ids are no tokens, bool[t]."""

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """The texts that ids decode to, with control tokens and without."""


# ==== Checks ====


def check_given(given: GivenTokens, vocabulary: Vocabulary, columns: Sequence[str]) -> None:
    """Raise `RowError`: bad_tokens, text_mismatch, for tokens that the tokenizer does not have, for texts
    that they do not decode to, and for wrong numbers in `columns`."""
    unknown = np.flatnonzero(vocabulary.unknown(given.ids))
    if len(unknown):
        at = int(unknown[0])
        raise RowError(
            "bad_tokens", f"token {at} has the id {given.ids[at]}, which the tokenizer does not have"
        )
    for text in given.texts:
        _check_text(text, given, vocabulary)
    for name in columns:
        column(given, name)


def _check_text(text: GivenText, given: GivenTokens, vocabulary: Vocabulary) -> None:
    decoded = vocabulary.texts_of(given.ids[text.first : text.last].tolist())
    if text.text in decoded:
        return
    at, best = max((_equal(text.text, each), each) for each in decoded)
    shown = f"the row has {text.text[at : at + 20]!r}, its ids decode to {best[at : at + 20]!r}"
    raise RowError("text_mismatch", f"'{text.name}' differs at character {at}: {shown}")


def _equal(one: str, other: str) -> int:
    """Return the number of characters before the first that differs.

    >>> _equal("abc", "abd"), _equal("ab", "abc")
    (2, 2)
    """
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def column(given: GivenTokens, name: str) -> np.ndarray | None:
    """Return the numbers `name` of tokens, float32[t], 0 where the row gives none; None if it gives none at
    all. Raises `RowError`: bad_tokens."""
    parts = [each for each in given.floats if each.name == name]
    found, has = np.zeros(len(given.ids), dtype=np.float32), np.zeros(len(given.ids), dtype=bool)
    for part in parts:
        own = slice(part.first, part.first + part.length)
        found[own], has[own] = _numbers(part, given), True
    if given.proof != "trajectory" and not parts:
        return None
    missing = np.flatnonzero(given.trained & ~has)
    if len(missing):
        raise RowError("bad_tokens", f"token {missing[0]} is trained, but has no number in '{name}'")
    return found


def _numbers(part: Floats, given: GivenTokens) -> np.ndarray:
    """Return the numbers of some tokens. Those that are not trained may have null, and so may those that were
    not sampled: their number is NaN."""
    trained = given.trained[part.first : part.first + part.length]
    values = part.values if isinstance(part.values, list) else [part.values] * part.length
    if len(values) != part.length:
        raise RowError("bad_tokens", f"'{part.name}' has {len(values):,} entries for {part.length:,} tokens")
    numbers = [value if _is_number(value) else None for value in values]
    needed = trained & (given.proof == "trajectory")
    wrong = next(
        (i for i, each in enumerate(values) if numbers[i] is None and (needed[i] or not _is_null(each))), None
    )
    if wrong is not None:
        what = f"holds {values[wrong]!r:.40} at token {part.first + wrong}, which is no finite number"
        raise RowError("bad_tokens", f"'{part.name}' {what}")
    found = np.array([np.nan if value is None else value for value in numbers], dtype=np.float32)
    found[~trained] = 0
    found += np.float32(0)  # no -0.0: a table may write 0.0 for it
    above = np.flatnonzero(trained & (found > _ROUNDED)) if part.name == "logprobs" else found[:0]
    if len(above):
        what = f"is {found[above[0]]:g} at token {part.first + above[0]}: a log probability is 0 or less"
        raise RowError("bad_tokens", f"'{part.name}' {what}")
    return found


_ROUNDED = 0.01
"""How far above 0 a log probability may be by rounding."""


def _is_null(value: object) -> bool:
    """Whether a value says that there is none: null, or the NaN that tables have in its place."""
    return value is None or value != value  # noqa: PLR0124  only NaN is not itself


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 3.4e38  # type: ignore[arg-type]


# ==== The sample ====


def given_sample(
    given: GivenTokens, weight: float | None, bytes_of: BytesOf, columns: Sequence[str]
) -> Sample:
    """Return the sample of a row of tokens; `weight` is the loss weight of the row, and `columns` are the
    names of the numbers that are kept."""
    edges = _edges(given)
    pieces = [_shown([*map(bytes_of, given.ids[a:b].tolist())]) for a, b in pairwise(edges)]
    characters = [len(text) for text, _ in pieces]
    starts = [0, *np.cumsum(characters).tolist()]
    floats = {name: column(given, name) for name in columns}
    tokens = SampleTokens(
        given.ids,
        np.array([size for _, sizes in pieces for size in sizes], dtype=np.int64),
        {name: each for name, each in floats.items() if each is not None},
    )
    return Sample(
        "".join(text for text, _ in pieces),
        tuple(_turns(given, edges, starts)),
        tuple(_runs(given, edges, characters)),
        given.proof,
        tuple(_weights(given, weight, edges, characters)),
        given=tokens,
    )


def _edges(given: GivenTokens) -> list[int]:
    """Return where stretches of tokens begin and end that agree in all but their id."""
    change = np.zeros(len(given.ids) + 1, dtype=bool)
    change[[0, -1]] = True
    for each in (given.trained, given.parts, given.weights):
        if each is not None:
            change[1:-1] |= each[1:] != each[:-1]
    return [int(at) for at in np.flatnonzero(change)]


def _shown(pieces: Sequence[bytes]) -> tuple[str, list[int]]:
    """Return the text of tokens, and how many of its bytes each covers, at least 1.

    >>> _shown([b"a", b"\\xc3", b"\\xa9"]), _shown([b"a", b"\\xc3"]), _shown([b""])
    (('aé', [1, 1, 1]), ('a\\ufffd', [1, 3]), ('\\ufffd', [3]))
    """
    if all(pieces):
        try:
            return b"".join(pieces).decode(), [*map(len, pieces)]
        except UnicodeDecodeError:
            pass
    texts = [piece.decode("utf-8", "replace") or REPLACEMENT for piece in pieces]
    return "".join(texts), [len(text.encode()) for text in texts]


def _turns(given: GivenTokens, edges: Sequence[int], starts: Sequence[int]) -> Iterator[Turn]:
    for number, first in enumerate(edges[:-1]):
        if given.trained[first]:
            yield Turn(int(given.parts[first]), starts[number], starts[number + 1])


def _runs(
    given: GivenTokens, edges: Sequence[int], characters: Sequence[int]
) -> Iterator[tuple[int, Origin]]:
    for first, length in zip(edges, characters, strict=False):
        yield length, Origin(int(given.parts[first]), "tokens", "ids")


def _weights(
    given: GivenTokens, weight: float | None, edges: Sequence[int], characters: Sequence[int]
) -> Iterator[tuple[int, float]]:
    if given.weights is None and weight in (None, 1):
        return
    own = 1.0 if weight is None else weight
    for first, length in zip(edges, characters, strict=False):
        yield length, own if given.weights is None else own * float(given.weights[first])


def weights_of(given: GivenTokens | None) -> Mapping[str, float]:
    """Return the loss weight of the first trained token that has another one than 1, by a name for it."""
    if given is None or given.weights is None:
        return {}
    odd = np.flatnonzero(given.trained & (given.weights != 1))
    return {f"token {at}": float(given.weights[at]) for at in odd[:1].tolist() if at}
