"""Texts of any segments, cut into tokens at any bytes: for tests that judge arrays by their readable twins.

drawn = draw(random_texts())
drawn.masked, drawn.tokens        # in bytes, flat
drawn.samples, drawn.tokens_of    # the same in characters, text by text
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from hypothesis import strategies as st
from premask.core.arrays import offsets_of
from premask.core.records import (
    MIXED,
    NOT_TRAINED,
    PROOFS,
    TEMPLATE,
    TOOLS,
    WRITERS,
    MaskedTexts,
    Origin,
    Sample,
    Tokens,
    Turn,
)
from premask.tokens.token_bytes import byte_offsets, character_spans


class TokensOf(NamedTuple):
    """The tokens of one text: ids, and the first and one past the last character of each."""

    ids: list[int]
    starts: list[int]
    ends: list[int]


class Drawn(NamedTuple):
    """n texts, in bytes and in characters."""

    masked: MaskedTexts
    tokens: Tokens
    samples: list[Sample]
    tokens_of: list[TokensOf]


Segment = tuple[str, Origin, int]
"""Text, who wrote it, and the message whose completion it belongs to."""

Span = tuple[int, int]

T = TypeVar("T")

_LETTERS = st.text(st.sampled_from("ab \né你🙂"), max_size=5)
_ORIGINS = [
    TEMPLATE,
    Origin(0, "user", "content"),
    Origin(1, "assistant", "content"),
    Origin(2, "tool", "content"),
    TOOLS,
    MIXED,
]
_SEGMENTS = st.lists(
    st.tuples(_LETTERS, st.sampled_from(_ORIGINS), st.sampled_from([NOT_TRAINED, 1, 3])),
    min_size=1,
    max_size=6,
)
_WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 2.0])


@st.composite
def random_texts(draw: st.DrawFn) -> Drawn:
    """Some of the segments are empty; some tokens hold a part of a character."""
    segments = draw(st.lists(_SEGMENTS, min_size=1, max_size=4))
    weights = [_one_each(draw, _WEIGHTS, own) if draw(st.booleans()) else [] for own in segments]
    seams = [_one_each(draw, st.booleans(), own) for own in segments]
    proofs = [draw(st.sampled_from(PROOFS)) for _ in segments]
    new_row = [draw(st.booleans()) for _ in segments]
    samples = [sample_of(*each) for each in zip(segments, weights, seams, proofs, strict=True)]
    spans = [draw(_spans(sample.text)) for sample in samples]
    masked = _masked(segments, weights, seams, proofs, np.cumsum(new_row))
    tokens = _tokens(spans, [len(sample.text.encode()) for sample in samples])
    apart = [_apart(tokens, sample.text, spans, i) for i, sample in enumerate(samples)]
    return Drawn(masked, tokens, samples, apart)


def _one_each(draw: st.DrawFn, values: st.SearchStrategy[T], segments: list[Segment]) -> list[T]:
    return draw(st.lists(values, min_size=len(segments), max_size=len(segments)))


def sample_of(
    segments: list[Segment], weights: Sequence[float], seams: Sequence[bool] = (), proof: str = "inference"
) -> Sample:
    """The sample of these segments: neighbours of one message are one turn. Weights and seams are one a
    segment, or none."""
    turns: list[Turn] = []
    at, before = 0, NOT_TRAINED
    for text, _, message in segments:
        if message != NOT_TRAINED and message == before:
            turns[-1] = turns[-1]._replace(end=at + len(text))
        elif message != NOT_TRAINED:
            turns.append(Turn(message, at, at + len(text)))
        at, before = at + len(text), message
    runs = tuple((len(text), origin) for text, origin, _ in segments)
    whole, sizes = "".join(text for text, _, _ in segments), [length for length, _ in runs]
    weighed = tuple(zip(sizes, weights, strict=False))
    begins = [sum(sizes[:i]) for i, seam in enumerate(seams) if seam]
    edges = tuple(sorted({at for at in begins if at < len(whole)}))
    return Sample(whole, tuple(turns), runs, proof, weighed, edges)


@st.composite
def _spans(draw: st.DrawFn, text: str) -> list[Span]:
    """The bytes of each token of a text: side by side, as byte tables give them, or as a tokenizer reports
    them: in whole characters, some of no token, and some tokens of no character."""
    size = len(text.encode())
    cuts = draw(st.sets(st.integers(1, size - 1))) if size > 1 else set()
    spans = list(pairwise(sorted({0, *cuts, size})))
    if draw(st.booleans()):
        return spans
    bytes_at = byte_offsets(text)
    found, end = [], 0
    for span in spans:
        kind = draw(st.sampled_from(["whole", "whole", "left out", "empty before"]))
        first, last = (int(bytes_at[at]) for at in character_spans(text, *np.array(span)))
        if kind == "empty before" and end <= first:
            found.append((end, end))
        if kind != "left out":
            found.append((first, last))
            end = last
    return found


def _masked(
    segments: list[list[Segment]],
    weights: list[list[float]],
    seams: list[list[bool]],
    proofs: list[str],
    rows: np.ndarray,
) -> MaskedTexts:
    flat = [
        (len(text.encode()), WRITERS.index(origin.role), message)
        for own in segments
        for text, origin, message in own
    ]
    sizes, writers, messages = (np.array(column) for column in zip(*flat, strict=True))
    ones = [own or [1.0] * len(segments[i]) for i, own in enumerate(weights)]
    return MaskedTexts(
        ["".join(text for text, _, _ in own) for own in segments],
        rows.astype(np.int64),
        np.array([PROOFS.index(proof) for proof in proofs], dtype=np.int8),
        offsets_of([len(own) for own in segments]),
        sizes,
        writers,
        messages,
        np.array([seam for own in seams for seam in own]),
        np.array([each for own in ones for each in own], dtype=np.float32) if any(weights) else None,
    )


def _tokens(spans: list[list[Span]], sizes: list[int]) -> Tokens:
    begin = offsets_of(sizes)
    flat = [np.array(own, dtype=np.int64).reshape(-1, 2) + begin[i] for i, own in enumerate(spans)]
    starts, ends = np.concatenate(flat).T
    ids = np.arange(100, 100 + len(starts), dtype=np.int32)
    return Tokens(ids, offsets_of([len(own) for own in spans]), starts, ends)


def _apart(tokens: Tokens, text: str, spans: list[list[Span]], number: int) -> TokensOf:
    own = np.array(spans[number], dtype=np.int64).reshape(-1, 2)
    starts, ends = character_spans(text, own[:, 0], own[:, 1])
    ids = tokens.ids[tokens.offsets[number] : tokens.offsets[number + 1]]
    return TokensOf(ids.tolist(), starts.tolist(), ends.tolist())
