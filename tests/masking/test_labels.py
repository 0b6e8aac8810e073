"""Which tokens are trained: each rule on a case small enough to read, and any texts judged by the twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from premask.core.contract import IGNORE_INDEX
from premask.core.records import (
    NOT_TRAINED,
    PROOFS,
    TEMPLATE,
    WRITERS,
    Labels,
    MaskedTexts,
    Origin,
    Sample,
    Tokens,
    Turn,
)
from premask.masking import educational
from premask.masking.labels import label_tokens, trained_before, weigh_tokens, without_first
from premask.masking.segments import masked_texts
from random_texts import Drawn, random_texts

# ==== Small cases ====


def of_turns(*texts: tuple[int, list[Turn]]) -> MaskedTexts:
    """Texts of so many letters with these turns."""
    samples = [Sample("x" * size, tuple(turns), ((size, TEMPLATE),), "inference") for size, turns in texts]
    return masked_texts(samples, range(len(samples)))


def tokens_of(*texts: list[tuple[int, int, int]]) -> Tokens:
    """The (id, start, end) of each token; starts and ends are counted over all texts."""
    flat = np.array([token for text in texts for token in text], dtype=np.int64).reshape(-1, 3)
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return Tokens(flat[:, 0].astype(np.int32), offsets, flat[:, 1], flat[:, 2])


FOUR = tokens_of([(10, 0, 2), (11, 2, 4), (12, 4, 6), (13, 6, 8)])
"""Four tokens of two letters each."""


@pytest.mark.parametrize(
    ("turns", "labels", "straddling"),
    [
        ([], [-100, -100, -100, -100], 0),
        ([Turn(1, 2, 6)], [-100, 11, 12, -100], 0),
        ([Turn(1, 0, 8)], [-100, 11, 12, 13], 0),  # nothing predicts the first token
        ([Turn(1, 3, 6)], [-100, -100, 12, -100], 1),
        ([Turn(1, 2, 5)], [-100, 11, -100, -100], 1),
        ([Turn(1, 3, 5)], [-100, -100, -100, -100], 2),
        ([Turn(1, 2, 4), Turn(2, 4, 6)], [-100, 11, 12, -100], 0),
        ([Turn(1, 2, 3), Turn(2, 3, 4)], [-100, -100, -100, -100], 2),  # one token, written by two turns
        ([Turn(1, 4, 4)], [-100, -100, -100, -100], 0),
    ],
)
def test_label_tokens(turns: list[Turn], labels: list[int], straddling: int) -> None:
    found = label_tokens(of_turns((8, turns)), FOUR)

    assert found.labels.tolist() == labels
    assert found.straddling.tolist() == [straddling]
    assert (found.labels.dtype, found.straddling.dtype) == (np.int32, np.int64)


def test_trained_stretches() -> None:
    """Of each its text, its message and its tokens; the first token of a text is in none."""
    found = label_tokens(of_turns((8, [Turn(1, 0, 4), Turn(3, 5, 8)])), FOUR)

    assert (found.sample.tolist(), found.message.tolist()) == ([0, 0], [1, 3])
    assert (found.first.tolist(), found.last.tolist()) == ([1, 3], [2, 4])
    assert found.trained_before.tolist() == [0, 0, 1, 1, 2]
    assert found.weights is None


def test_a_stretch_within_one_token_has_no_token() -> None:
    found = label_tokens(of_turns((8, [Turn(1, 4, 5)])), FOUR)

    assert (found.labels == IGNORE_INDEX).all()
    assert found.last[0] <= found.first[0]


def test_label_tokens_keeps_texts_apart() -> None:
    """Turns that touch where one text ends and the next begins are two; an empty text has none."""
    masked = of_turns((4, [Turn(0, 2, 4)]), (0, []), (2, [Turn(0, 0, 2)]))
    tokens = tokens_of([(1, 0, 2), (2, 2, 4)], [], [(3, 4, 5), (4, 5, 6), (5, 5, 6)])
    found = label_tokens(masked, tokens)

    assert found.labels.tolist() == [-100, 2, -100, 4, 5]
    assert found.straddling.tolist() == [0, 0, 0]
    assert found.sample.tolist() == [0, 2]


def test_label_tokens_without_characters() -> None:
    """A token of no text (a dummy space) is never trained."""
    found = label_tokens(of_turns((3, [Turn(0, 1, 3)])), tokens_of([(1, 0, 2), (2, 2, 2), (3, 2, 3)]))

    assert found.labels.tolist() == [-100, -100, 3]
    assert found.straddling.tolist() == [1]


def test_labels_of_nothing() -> None:
    found = label_tokens(masked_texts([], []), tokens_of())

    assert (found.labels.tolist(), found.straddling.tolist()) == ([], [])
    assert found.trained_before.tolist() == [0]
    assert weigh_tokens(found).tolist() == []


def test_weights_are_those_of_the_first_character() -> None:
    """A token that is not trained has none, whatever its characters have."""
    turns, weights = (Turn(1, 2, 4), Turn(3, 4, 8)), ((4, 0.5), (3, 1.0), (1, 3.0))
    sample = Sample("x" * 8, turns, ((8, TEMPLATE),), "inference", weights)
    labels = label_tokens(masked_texts([sample], [0]), FOUR)

    assert weigh_tokens(labels).tolist() == [0, 0.5, 1, 1]
    assert weigh_tokens(labels).dtype == np.float32


def test_the_first_token_of_a_piece_is_not_trained() -> None:
    labels = np.array([5, 6, -100])

    assert without_first(labels).tolist() == [-100, 6, -100]
    assert labels.tolist() == [5, 6, -100]
    assert trained_before(labels).tolist() == [0, 1, 2, 2]
    assert without_first(labels[:0]).tolist() == []


# ==== Segments ====


def test_segments_of_a_sample() -> None:
    """Cut where another begins to write, where the weight changes, and at the edges of completions; counted
    in bytes."""
    user, assistant = Origin(0, "user", "content"), Origin(1, "assistant", "content")
    runs = ((2, TEMPLATE), (1, user), (1, TEMPLATE), (2, assistant), (3, TEMPLATE))
    weights = ((4, 1.0), (4, 0.5), (1, 1.0))
    sample = Sample("<>é:H🙂</>", (Turn(1, 4, 8),), runs, "split", weights, (4, 8))
    masked = masked_texts([sample], [7])

    assert masked.sizes.tolist() == [2, 2, 1, 5, 2, 1]
    assert [WRITERS[code] for code in masked.writers] == [
        "template",
        "user",
        "template",
        "assistant",
        "template",
        "template",
    ]
    assert masked.messages.tolist() == [NOT_TRAINED] * 3 + [1, 1, NOT_TRAINED]
    assert masked.weights is not None
    assert masked.weights.tolist() == [1, 1, 1, 0.5, 0.5, 1]
    assert masked.seams.tolist() == [False, False, False, True, False, True]
    assert (masked.offsets.tolist(), masked.rows.tolist()) == ([0, 6], [7])
    assert [PROOFS[code] for code in masked.proofs] == ["split"]


def by_byte(masked: MaskedTexts) -> list[list[float]]:
    """Writer, message and weight of each byte."""
    weights = np.ones(len(masked.sizes)) if masked.weights is None else masked.weights
    table = np.stack([masked.writers, masked.messages, weights], axis=1)
    found: list[list[float]] = np.repeat(table, masked.sizes, axis=0).tolist()
    return found


def seams_of(masked: MaskedTexts) -> list[int]:
    """The bytes of all seams; the end of a text is none."""
    begins = np.cumsum(masked.sizes) - masked.sizes
    ends = [int(masked.sizes[:last].sum()) for last in masked.offsets[1:]]
    text = np.searchsorted(masked.offsets, np.arange(len(begins)), side="right") - 1
    within = begins < np.array(ends)[text]
    return sorted({int(at) for at in begins[masked.seams & within]})


def without_empty(sample: Sample) -> Sample:
    """The sample as it is decided: no turn and no run is empty."""
    turns = tuple(turn for turn in sample.turns if turn.start < turn.end)
    weights = tuple(run for run in sample.weights if run[0])
    return replace(sample, turns=turns, runs=tuple(run for run in sample.runs if run[0]), weights=weights)


@settings(max_examples=200)
@given(random_texts())
def test_segments_say_of_each_byte_what_the_sample_says(drawn: Drawn) -> None:
    masked = masked_texts([without_empty(sample) for sample in drawn.samples], drawn.masked.rows)

    assert by_byte(masked) == by_byte(drawn.masked)
    assert seams_of(masked) == seams_of(drawn.masked)
    assert masked.texts == drawn.masked.texts
    assert masked.proofs.tolist() == drawn.masked.proofs.tolist()


@given(random_texts(), random_texts())
def test_texts_joined_and_taken_are_the_same_texts(one: Drawn, other: Drawn) -> None:
    """Whatever order they are taken in; rows are kept."""
    joined = one.masked.joined(other.masked)
    order = np.random.default_rng(len(joined.texts)).permutation(len(joined.texts))
    taken = joined.taken(order)
    apart = [joined.taken(np.array([i])) for i in range(len(joined.texts))]

    assert joined.texts == one.masked.texts + other.masked.texts
    assert by_byte(joined) == by_byte(one.masked) + by_byte(other.masked)
    assert taken.texts == [joined.texts[i] for i in order]
    assert by_byte(taken) == [line for i in order for line in by_byte(apart[i])]
    assert taken.rows.tolist() == joined.rows[order].tolist()


# ==== Judged by the readable twin ====


def of_each(drawn: Drawn, flat: np.ndarray) -> list[list[float]]:
    """The values of all tokens, text by text."""
    return [each.tolist() for each in np.split(flat, drawn.tokens.offsets[1:-1])]


def labelled(drawn: Drawn) -> Labels:
    return label_tokens(drawn.masked, drawn.tokens)


@settings(max_examples=200)
@given(random_texts())
def test_labels_are_those_of_the_twin(drawn: Drawn) -> None:
    pairs = zip(drawn.samples, drawn.tokens_of, strict=True)

    assert of_each(drawn, labelled(drawn).labels) == [
        educational.labels_of(sample, *tokens) for sample, tokens in pairs
    ]


@settings(max_examples=200)
@given(random_texts())
def test_straddling_tokens_are_those_of_the_twin(drawn: Drawn) -> None:
    pairs = zip(drawn.samples, drawn.tokens_of, strict=True)

    assert labelled(drawn).straddling.tolist() == [
        educational.straddling_in(sample, tokens.starts, tokens.ends) for sample, tokens in pairs
    ]


@settings(max_examples=200)
@given(random_texts())
def test_weights_are_those_of_the_twin(drawn: Drawn) -> None:
    labels = labelled(drawn)
    each = zip(drawn.samples, of_each(drawn, labels.labels), drawn.tokens_of, strict=True)

    assert of_each(drawn, weigh_tokens(labels)) == [
        educational.weights_of(sample, [int(label) for label in own], tokens.starts)
        for sample, own, tokens in each
    ]


@settings(max_examples=200)
@given(random_texts())
def test_stretches_hold_all_trained_tokens(drawn: Drawn) -> None:
    labels = labelled(drawn)
    real = np.flatnonzero(drawn.tokens.starts < drawn.tokens.ends).tolist()
    ranges = zip(labels.first.tolist(), labels.last.tolist(), strict=True)
    trained = {at for first, last in ranges for at in range(first, last)}.intersection(real)

    assert sorted(trained) == np.flatnonzero(labels.labels != IGNORE_INDEX).tolist()
    assert np.diff(labels.trained_before).tolist() == (labels.labels != IGNORE_INDEX).astype(int).tolist()
    turns = [(i, turn.message) for i, sample in enumerate(drawn.samples) for turn in sample.turns]
    assert list(zip(labels.sample.tolist(), labels.message.tolist(), strict=True)) == turns
