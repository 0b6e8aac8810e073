"""Samples of at most `max_length` tokens: cases written by hand, and any texts judged by the readable twin."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.arrays import offsets_of
from premask.core.contract import IGNORE_INDEX
from premask.core.errors import RowError
from premask.core.recipe import TooLong
from premask.core.records import TEMPLATE, MaskedTexts, Origin, Sample, Tokens, Turn
from premask.labeller import LabelledTexts
from premask.masking import educational
from premask.masking.labels import label_tokens
from premask.masking.segments import masked_texts
from premask.running.fitting import KeptFloats, Pieces, count, cut, fit, samples_of
from premask.tokens.encode import Encoded
from random_texts import Drawn, random_texts

N = IGNORE_INDEX

# ==== One text ====


@pytest.mark.parametrize(
    ("labels", "policy", "pieces"),
    [
        ([N, N, 7], TooLong.reject, [(0, 3)]),  # it fits
        ([N, 5, 6, 7], TooLong.truncate, [(0, 3)]),
        ([N, 5, 6, 7], TooLong.split, [(0, 3)]),  # the last piece would train nothing but its first token
        ([N, 5, 6, N, N, 7], TooLong.split, [(0, 3), (3, 6)]),
        ([N, N, N, N, N, 7], TooLong.split, [(3, 6)]),
        ([N, 5, 6, N, N, N, N, 7, 8], TooLong.split, [(0, 3), (6, 9)]),
        ([N, 5, 6, N, 7, N, 8, 9], TooLong.split, [(0, 3), (3, 6), (6, 8)]),
    ],
)
def test_cut(labels: list[int], policy: TooLong, pieces: list[tuple[int, int]]) -> None:
    assert cut(np.array(labels), 3, policy) == pieces


@pytest.mark.parametrize(
    ("labels", "policy", "detail"),
    [
        (
            [N, 5, 6, 7],
            TooLong.reject,
            "4 tokens are more than max_length 3; see too_long: truncate or split",
        ),
        (
            [N, N, N, 7],
            TooLong.truncate,
            "no piece of 3 of the 4 tokens has a trained token",
        ),
        ([N, N, N, 7], TooLong.split, "no piece of 3 of the 4 tokens has a trained token"),
    ],
)
def test_cut_leaves_nothing(labels: list[int], policy: TooLong, detail: str) -> None:
    with pytest.raises(RowError) as error:
        cut(np.array(labels), 3, policy)

    assert (error.value.reason, error.value.detail) == ("too_long", detail)


# ==== Rows ====

USER, ANSWER = Origin(0, "user", "content"), Origin(1, "assistant", "content")


def labelled(
    *texts: str, rows: list[int] | None = None, errors: dict[int, RowError] | None = None, weight: float = 1
) -> LabelledTexts:
    """Texts of letters, a token each, whose ids are the letters' codes: small ones are the template's, digits
    a user's, capitals are answered by message 1 and those from N on by message 3."""
    samples = [_sample(text, weight) for text in texts]
    masked = masked_texts(samples, list(range(len(texts))) if rows is None else rows)
    tokens = _tokens(masked)
    zeros = np.zeros(len(texts), dtype=np.int64)
    return LabelledTexts(
        masked, Encoded(tokens, zeros, zeros, zeros, errors or {}), label_tokens(masked, tokens)
    )


def _sample(text: str, weight: float) -> Sample:
    origins = [ANSWER if x.isupper() else USER if x.isdigit() else TEMPLATE for x in text]
    turns: list[Turn] = []
    for at, letter in enumerate(text):
        if letter.isupper():
            turns.append(Turn(1 if letter < "N" else 3, at, at + 1))
    runs = tuple((1, origin) for origin in origins)
    weights = tuple((1, weight if "A" <= x < "N" else 1.0) for x in text)
    return Sample(text, tuple(turns), runs, "inference", () if weight == 1 else weights)


def _tokens(masked: MaskedTexts) -> Tokens:
    codes = np.frombuffer("".join(masked.texts).encode(), dtype=np.uint8).astype(np.int32)
    edges = np.arange(len(codes) + 1)
    return Tokens(codes, offsets_of([len(text) for text in masked.texts]), edges[:-1], edges[1:])


def spelled(pieces: Pieces, texts: LabelledTexts) -> list[str]:
    whole = "".join(texts.masked.texts)
    return [whole[first:last] for first, last in zip(pieces.first, pieces.last, strict=True)]


def said(errors: dict[int, RowError]) -> dict[int, str]:
    return {row: f"{error.reason}: {error.detail}" for row, error in errors.items()}


UNTRAINED = "nothing_trained: no token of sample {} is completely in an assistant turn"
TOO_LONG = "too_long: {} tokens are more than max_length {}; see too_long: truncate or split"


def test_texts_that_fit_are_their_own_pieces() -> None:
    texts = labelled("aAB", "bC", "cccD")
    pieces, errors = fit(texts, 4, TooLong.reject)

    assert errors == {}
    assert pieces.sample.tolist() == [0, 1, 2]
    assert spelled(pieces, texts) == ["aAB", "bC", "cccD"]


def test_texts_that_are_too_long() -> None:
    texts = labelled("aAB", "abABcCD", "abcdE", "x", "bC")
    reject, errors = fit(texts, 3, TooLong.reject)
    assert spelled(reject, texts) == ["aAB", "bC"]
    assert said(errors) == {1: TOO_LONG.format(7, 3), 2: TOO_LONG.format(5, 3), 3: UNTRAINED.format(0)}

    truncated, errors = fit(texts, 3, TooLong.truncate)
    assert spelled(truncated, texts) == ["aAB", "abA", "bC"]
    assert said(errors) == {
        2: "too_long: no piece of 3 of the 5 tokens has a trained token",
        3: UNTRAINED.format(0),
    }

    split, errors = fit(texts, 3, TooLong.split)
    assert split.sample.tolist() == [0, 1, 1, 2, 4]
    assert spelled(split, texts) == ["aAB", "abA", "BcC", "dE", "bC"]
    assert said(errors) == {3: UNTRAINED.format(0)}


def test_a_row_is_used_wholly_or_not_at_all() -> None:
    """Its first error is named: what cannot be encoded goes first, then what is not trained, then lengths."""
    texts = labelled("aA", "aB", "abcdC", "aD", "x", "aE", "aF", rows=[0, 3, 3, 5, 5, 7, 9])
    pieces, errors = fit(texts, 3, TooLong.reject)
    assert spelled(pieces, texts) == ["aA", "aE", "aF"]
    assert said(errors) == {3: TOO_LONG.format(5, 3), 5: UNTRAINED.format(1)}

    cannot = {2: RowError("control_token", "no"), 4: RowError("control_token", "never")}
    pieces, errors = fit(texts._replace(encoded=texts.encoded._replace(errors=cannot)), 3, TooLong.split)
    assert spelled(pieces, texts) == ["aA", "aE", "aF"]
    assert said(errors) == {3: "control_token: no", 5: "control_token: never"}


def test_no_texts() -> None:
    texts = labelled()
    pieces, errors = fit(texts, 3, TooLong.reject)
    samples = samples_of(texts, pieces, "a", (np.arange(0), []), KeptFloats(weights=True))

    assert errors == {}
    assert (len(samples.ids), samples.offsets.tolist(), samples.origin.num_rows) == (0, [0], 0)
    assert samples.weights is not None
    assert {name: each.tolist() for name, each in count(texts, pieces, TooLong.reject).items()} == {
        "straddling_tokens": [],
        "seam_tokens": [],
        "control_tokens_in_content": [],
        "encoded_by_reference": [],
    }


# ==== Samples ====


def letters(ids: np.ndarray) -> str:
    return "".join(map(chr, ids))


def test_samples_of_pieces() -> None:
    """Label and weight of a piece's first token go; lineage numbers the pieces of a row."""
    texts = labelled("aAB", "abABcNO", "bC", "x", rows=[0, 1, 1, 2], weight=0.5)
    pieces, _ = fit(texts, 3, TooLong.split)
    rows = np.array([10, 11, 12]), ["zero", None, "two"]
    samples = samples_of(texts, pieces, "chats", rows, KeptFloats(weights=True))

    assert letters(samples.ids) == "aABabABcNbC"
    assert samples.offsets.tolist() == [0, 3, 6, 9, 11]
    assert letters(np.where(samples.labels == N, ord("."), samples.labels)) == ".AB..A..N.C"
    assert samples.weights is not None
    assert samples.weights.tolist() == [0, 0.5, 0.5, 0, 0, 0.5, 0, 0, 1, 0, 0.5]
    assert samples.origin.to_pylist() == [
        {"source": "chats", "row": 10, "id": "zero", "sample": 0, "trained_turns": [1]},
        {"source": "chats", "row": 11, "id": None, "sample": 0, "trained_turns": [1]},
        {"source": "chats", "row": 11, "id": None, "sample": 1, "trained_turns": [3]},
        {"source": "chats", "row": 11, "id": None, "sample": 2, "trained_turns": [1]},
    ]


@pytest.mark.parametrize(("text", "kept"), [("abcdE", "dE"), ("aBcde", "aBc")])
def test_the_one_piece_of_a_text(text: str, kept: str) -> None:
    """Its end or its beginning alone, where every text has one piece."""
    texts = labelled(text)
    pieces, _ = fit(texts, 3, TooLong.split)
    samples = samples_of(texts, pieces, "a", (np.arange(1), [None]), KeptFloats(weights=True))

    assert letters(samples.ids) == kept
    assert samples.labels.tolist() == [ord(x) if x.isupper() else N for x in kept]
    assert samples.offsets.tolist() == [0, len(kept)]
    assert samples.weights is not None
    assert len(samples.weights) == len(kept)


def test_a_text_of_which_all_pieces_are_kept() -> None:
    """The labels of the text itself stay as they are."""
    texts = labelled("aABCDE")
    pieces, _ = fit(texts, 3, TooLong.split)
    samples = samples_of(texts, pieces, "a", (np.arange(1), [None]), KeptFloats(weights=True))

    assert letters(samples.ids) == "aABCDE"
    assert letters(np.where(samples.labels == N, ord("."), samples.labels)) == ".AB.DE"
    assert texts.labels.labels.tolist() == [N, *map(ord, "ABCDE")]


def test_samples_that_fit_share_the_memory_of_their_texts() -> None:
    texts = labelled("aAB", "bC")
    pieces, _ = fit(texts, 3, TooLong.reject)
    samples = samples_of(texts, pieces, "a", (np.arange(2), [None, None]), KeptFloats())

    assert np.shares_memory(samples.ids, texts.encoded.tokens.ids)
    assert samples.weights is None


def test_trained_turns_are_those_of_which_a_token_is_trained() -> None:
    """Each once, ascending, also where a message is trained in several stretches."""
    texts = labelled("aOAaPB", "aNAB", "Aa")
    pieces, errors = fit(texts, 9, TooLong.reject)
    samples = samples_of(texts, pieces, "a", (np.arange(3), [None] * 3), KeptFloats())

    assert list(errors) == [2]
    assert samples.origin.column("trained_turns").to_pylist() == [[1, 3], [1, 3]]


# ==== Counts ====


def counted(texts: LabelledTexts, max_length: int, policy: TooLong) -> dict[str, list[int]]:
    pieces, _ = fit(texts, max_length, policy)
    return {name: each.tolist() for name, each in count(texts, pieces, policy).items()}


def test_counts() -> None:
    texts = labelled("a1AB", "b2C")

    assert counted(texts, 9, TooLong.reject) == {
        "tokens_template": [1, 1],
        "tokens_user": [1, 1],
        "tokens_assistant": [2, 1],
        "trained_assistant": [2, 1],
        "proved_inference": [1, 1],
        "straddling_tokens": [0, 0],
        "seam_tokens": [0, 0],
        "control_tokens_in_content": [0, 0],
        "encoded_by_reference": [0, 0],
    }


def test_what_a_text_has_as_a_whole_counts_for_its_first_piece() -> None:
    texts = labelled("a1AB", "b2CcdDaaa")
    encoded = texts.encoded._replace(
        in_content=np.array([1, 2]), by_reference=np.array([0, 1]), seam_tokens=np.array([1, 3])
    )
    found = counted(texts._replace(encoded=encoded), 3, TooLong.split)

    assert found == {
        "tokens_template": [1, 1, 2],
        "tokens_user": [1, 1, 0],
        "tokens_assistant": [1, 1, 1],
        "trained_assistant": [1, 1, 1],
        "proved_inference": [1, 1, 0],
        "straddling_tokens": [0, 0, 0],
        "seam_tokens": [1, 3, 0],
        "control_tokens_in_content": [1, 2, 0],
        "encoded_by_reference": [0, 1, 0],
        "too_long_split": [1, 1, 0],
        "tokens_cut_off": [1, 3, 0],
    }


def test_the_first_token_of_a_piece_counts_as_not_trained() -> None:
    found = counted(labelled("a1ABCcD"), 3, TooLong.split)

    assert found["tokens_assistant"] == [1, 2]
    assert found["trained_assistant"] == [1, 1]
    assert found["tokens_cut_off"] == [1, 0]


def test_a_token_counts_for_who_wrote_its_first_byte() -> None:
    """Three tokens of two letters: of template and user, of user and assistant, of the assistant."""
    masked = labelled("a11ABC").masked
    edges = np.array([0, 2, 4, 6])
    tokens = Tokens(np.array([7, 8, 9], dtype=np.int32), np.array([0, 3]), edges[:-1], edges[1:])
    zero = np.zeros(1, dtype=np.int64)
    texts = LabelledTexts(masked, Encoded(tokens, zero, zero, zero, {}), label_tokens(masked, tokens))
    found = counted(texts, 9, TooLong.reject)

    assert {name: each for name, each in found.items() if name.startswith(("tokens_", "trained_"))} == {
        "tokens_template": [1],
        "tokens_user": [1],
        "tokens_assistant": [1],
        "trained_assistant": [1],
    }
    assert found["straddling_tokens"] == [1]  # "1A" is across the edge of the answer


# ==== Judged by the readable twin ====


def judged(drawn: Drawn, pieces: Pieces, policy: TooLong, max_length: int) -> list[Counter[str]]:
    """What the twin counts of each piece."""
    found = []
    offsets, before = drawn.tokens.offsets, -1
    for i, first, last in zip(*(each.tolist() for each in pieces), strict=True):
        sample, tokens = drawn.samples[i], drawn.tokens_of[i]
        own = slice(first - offsets[i], last - offsets[i])
        labels = educational.labels_of(sample, *tokens)[own]
        origins = educational.origins_of(sample, tokens.starts[own])
        counts = Counter(f"tokens_{origin.role}" for origin in origins)
        pairs = list(zip(labels, origins, strict=True))[1:]  # nothing predicts the first token of a piece
        counts += Counter(f"trained_{origin.role}" for label, origin in pairs if label != N)
        if i != before:
            parts = pieces.sample == i
            lost = len(tokens.ids) - int((pieces.last - pieces.first)[parts].sum())
            cut_short = len(tokens.ids) > max_length
            counts[f"proved_{sample.proof}"] = 1
            counts["straddling_tokens"] = educational.straddling_in(sample, tokens.starts, tokens.ends)
            counts[f"too_long_{policy.value}"] = int(cut_short)
            counts["tokens_cut_off"] = lost
        found.append(+counts)
        before = i
    return found


@settings(max_examples=200)
@given(random_texts(), st.integers(2, 12), st.sampled_from(TooLong), st.data())
def test_pieces_and_counts_are_those_of_the_twin(
    drawn: Drawn, max_length: int, policy: TooLong, data: Any
) -> None:
    zeros = np.zeros(len(drawn.samples), dtype=np.int64)
    encoded = Encoded(drawn.tokens, zeros, zeros, zeros, {})
    texts = LabelledTexts(drawn.masked, encoded, label_tokens(drawn.masked, drawn.tokens))
    pieces, errors = fit(texts, max_length, policy)
    tally = count(texts, pieces, policy)

    found = [
        +Counter({name: int(each[i]) for name, each in tally.items()}) for i in range(len(pieces.sample))
    ]
    assert found == judged(drawn, pieces, policy, max_length)
    assert set(drawn.masked.rows[pieces.sample]).isdisjoint(errors)
    assert set(drawn.masked.rows) == {*drawn.masked.rows[pieces.sample].tolist(), *errors}

    rows = np.arange(100, 100 + len(drawn.samples) + 1), [None] * (len(drawn.samples) + 1)
    samples = samples_of(texts, pieces, "a", rows, KeptFloats(weights=True))
    assert_samples_are_those_of_the_twin(drawn, pieces, samples)


def assert_samples_are_those_of_the_twin(drawn: Drawn, pieces: Pieces, samples: Any) -> None:
    offsets = drawn.tokens.offsets
    for number, (i, first, last) in enumerate(zip(*(each.tolist() for each in pieces), strict=True)):
        sample, tokens = drawn.samples[i], drawn.tokens_of[i]
        own, place = (
            slice(first - offsets[i], last - offsets[i]),
            slice(*samples.offsets[number : number + 2]),
        )
        labels = educational.labels_of(sample, *tokens)
        weights = educational.weights_of(sample, labels, tokens.starts)
        assert samples.ids[place].tolist() == tokens.ids[own]
        assert samples.labels[place].tolist() == [N, *labels[own][1:]]
        assert samples.weights[place].tolist() == [0, *weights[own][1:]]
        trained = {
            turn.message
            for turn in sample.turns
            for label, start, end in list(zip(labels, tokens.starts, tokens.ends, strict=True))[own][1:]
            if label != N and turn.start <= start < end <= turn.end
        }
        assert samples.origin.column("trained_turns")[number].as_py() == sorted(trained)
