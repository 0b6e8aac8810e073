"""Tokens that rows bring: held against the tokenizer, with their numbers, and as the text of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from premask.core.errors import RowError
from premask.core.records import Floats, GivenText, GivenTokens, SampleTokens, Tokens
from premask.masking.given_tokens import check_given, column, given_sample
from premask.masking.labels import label_tokens, token_numbers
from premask.masking.segments import masked_texts

BYTES = [b"a", "é".encode()[:1], "é".encode()[1:], b"b", b"", b"<s>"]


class Vocabulary:
    """Six tokens; the last is a control token."""

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray((ids < 0) | (ids >= len(BYTES)))

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        return tuple(b"".join(BYTES[i] for i in ids if i < last).decode() for last in (6, 5))


def given(ids: list[int], trained: list[int], **more: Any) -> GivenTokens:
    parts = np.array(more.pop("parts", [0] * len(ids)), np.int32)
    mask = np.array(trained, dtype=bool)
    return GivenTokens(np.array(ids, np.int32), mask, parts, more.pop("proof", "tokens"), **more)


def labels_of(tokens: GivenTokens, columns: Sequence[str] = ()) -> tuple[list[int], dict[str, list[float]]]:
    """The labels and numbers of tokens after all stages, and whether their bytes are those of the text."""
    sample = given_sample(tokens, None, BYTES.__getitem__, columns)
    assert sample.given is not None
    assert sample.given.sizes.sum() == len(sample.text.encode())
    assert sample.given.sizes.min() > 0
    ends = np.cumsum(sample.given.sizes)
    placed = Tokens(tokens.ids, np.array([0, len(tokens.ids)]), ends - sample.given.sizes, ends)
    masked = masked_texts([sample], [0])
    labels = label_tokens(masked, placed)
    assert labels.straddling.tolist() == [0]
    return labels.labels.tolist(), {
        name: token_numbers(masked.given, placed, labels, name).tolist() for name in columns
    }


@pytest.mark.parametrize(
    "trained", [[0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
)
def test_the_labels_are_those_of_the_row_wherever_characters_are_cut(trained: list[int]) -> None:
    ids = [0, 1, 2, 3, 4, 5]
    wanted = [id_ if on and at else -100 for at, (id_, on) in enumerate(zip(ids, trained, strict=True))]
    assert labels_of(given(ids, trained))[0] == wanted


def test_the_text_is_what_whole_characters_decode_to() -> None:
    sample = given_sample(given([0, 1, 2, 3], [0, 1, 1, 1]), 0.5, BYTES.__getitem__, ())
    assert (sample.text, sample.turns) == ("aéb", ((0, 1, 3),))
    assert sample.weights == ((1, 0.5), (2, 0.5))
    assert sample.given is not None
    assert sample.given.sizes.tolist() == [1, 1, 1, 1]
    cut = given_sample(given([0, 1, 2, 3], [0, 0, 1, 1]), None, BYTES.__getitem__, ())
    assert cut.text == "a\ufffd\ufffdb"


def test_adjacent_parts_are_turns_of_their_own() -> None:
    tokens = given([0, 3, 3, 0], [0, 1, 1, 1], parts=[0, 1, 2, 2])
    assert given_sample(tokens, None, BYTES.__getitem__, ()).turns == ((1, 1, 2), (2, 2, 4))


def test_weights_of_tokens_and_of_the_row() -> None:
    tokens = given([0, 3, 3], [0, 1, 1], weights=np.array([0, 1, 2], np.float32))
    assert given_sample(tokens, 0.5, BYTES.__getitem__, ()).weights == ((1, 0), (1, 0.5), (1, 1))


def test_numbers_are_zero_where_nothing_is_trained_and_nan_where_none_is_known() -> None:
    tokens = given([0, 3, 3, 0], [0, 1, 1, 0], floats=(Floats("x", 0, 4, [9, 1, 2, None]),))
    labels, numbers = labels_of(tokens, ["x", "y"])
    assert labels == [-100, 3, 3, -100]
    assert numbers["x"] == [0, 1, 2, 0]
    assert (numbers["y"][0], numbers["y"][3]) == (0, 0)
    assert np.isnan(numbers["y"][1:3]).all()
    assert column(tokens, "y") is None


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ([-1, -2, -3], "'logprobs' has 3 entries for 2 tokens"),
        ([-1, None], "'logprobs' holds None at token 2, which is no finite number"),
        ([-1, float("nan")], "'logprobs' holds nan at token 2"),
        ([float("-inf"), -1], "'logprobs' holds -inf at token 1"),
        ([True, -1], "'logprobs' holds True at token 1"),
        ([-1, 0.5], "'logprobs' is 0.5 at token 2: a log probability is 0 or less"),
        ("-1", "'logprobs' has 2 entries for 2 tokens"),
    ],
)
def test_wrong_log_probabilities(values: Any, detail: str) -> None:
    tokens = given([0, 3, 3], [0, 1, 1], floats=(Floats("logprobs", 1, 2, values),), proof="trajectory")
    if values == "-1":
        with pytest.raises(RowError, match="which is no finite number"):
            column(tokens, "logprobs")
        return
    with pytest.raises(RowError) as refused:
        check_given(tokens, Vocabulary(), ["logprobs"])
    assert refused.value.reason == "bad_tokens"
    assert refused.value.detail.startswith(detail)
    check_given(tokens, Vocabulary(), [])


def test_a_number_for_all_tokens_and_one_that_is_missing() -> None:
    tokens = given([0, 3, 3], [0, 1, 1], floats=(Floats("reward", 1, 2, 0.5),), proof="trajectory")
    found = column(tokens, "reward")
    assert found is not None
    assert found.tolist() == [0, 0.5, 0.5]
    with pytest.raises(RowError, match="token 1 is trained, but has no number in 'logprobs'"):
        column(tokens, "logprobs")


def test_ids_that_are_no_tokens() -> None:
    for ids, at in (([0, 6], 1), ([-1, 0], 0)):
        with pytest.raises(RowError, match=rf"token {at} has the id -?\d, which the tokenizer does not have"):
            check_given(given(ids, [0, 1]), Vocabulary(), ())


@pytest.mark.parametrize("text", ["b<s>", "b"])
def test_a_text_with_control_tokens_or_without(text: str) -> None:
    check_given(given([0, 3, 5], [0, 1, 1], texts=(GivenText("completion", 1, 3, text),)), Vocabulary(), ())


def test_a_text_that_the_ids_do_not_decode_to() -> None:
    tokens = given([0, 3, 0, 3], [0, 1, 1, 1], texts=(GivenText("completion", 1, 4, "bbb"),))
    with pytest.raises(RowError) as refused:
        check_given(tokens, Vocabulary(), ())
    what = "'completion' differs at character 1: the row has 'bb', its ids decode to 'ab'"
    assert (refused.value.reason, refused.value.detail) == ("text_mismatch", what)


def test_sample_tokens_go_with_their_texts() -> None:
    samples = [given_sample(given([i, 3], [0, 1]), None, BYTES.__getitem__, ()) for i in (0, 3, 5)]
    masked = masked_texts(samples, [0, 1, 2])

    def ids(found: dict[int, SampleTokens] | Any) -> dict[int, int]:
        return {i: int(each.ids[0]) for i, each in found.items()}

    assert ids(masked.given) == {0: 0, 1: 3, 2: 5}
    assert ids(masked.cut(1, 3).given) == {0: 3, 1: 5}
    assert ids(masked.taken(np.array([2, 0])).given) == {0: 5, 1: 0}
    assert ids(masked.cut(0, 1).joined(masked.cut(2, 3)).given) == {0: 0, 1: 5}
