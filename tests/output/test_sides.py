"""Tables of sides: what a row holds, and that the samples are read from it as they were."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.core.contract import IGNORE_INDEX, SIDES
from premask.core.records import SampleOrigin, Samples
from premask.output.dataset import flat
from premask.output.sides import are_whole, as_packs, made_again, rows_of_sides, sides_of, sides_table
from premask.output.windows import Window, origin_table

N = IGNORE_INDEX


def samples_of(texts: list[tuple[list[int], list[int]]], sides: list[int]) -> Samples:
    """Samples of ids and labels."""
    flat_ids, labels = ([token for text in texts for token in text[i]] for i in (0, 1))
    lengths = [len(ids) for ids, _ in texts]
    origin = origin_table([SampleOrigin("a", i // 2, None, side, (1,)) for i, side in enumerate(sides)])
    offsets = np.cumsum([0, *lengths])
    return Samples(np.array(flat_ids, np.int32), np.array(labels, np.int32), offsets, origin)


CHOSEN = [1, 2, 3, 7, 8], [N, N, N, 7, N]
REJECTED = [1, 2, 3, 9], [N, N, N, 9]


def test_a_pair() -> None:
    (row,) = sides_table("preference", samples_of([CHOSEN, REJECTED], [0, 1])).to_pylist()
    assert row == {
        "prompt_ids": [1, 2, 3],
        "chosen_ids": [7, 8],
        "chosen_mask": [1, 0],
        "rejected_ids": [9],
        "rejected_mask": [1],
        "length": 5,
    }


def test_the_prompt_ends_where_a_token_is_trained_even_if_both_have_it() -> None:
    texts = [([1, 2, 5, 6], [N, N, 5, 6]), ([1, 2, 5, 7], [N, N, 5, 7])]
    assert sides_table("preference", samples_of(texts, [0, 1])).to_pylist()[0]["prompt_ids"] == [1, 2]


def test_the_prompt_ends_where_the_sides_part_even_if_nothing_is_trained_there() -> None:
    texts = [([1, 2, 5, 6], [N, N, N, 6]), ([1, 2, 8, 7], [N, N, N, 7])]
    (row,) = sides_table("preference", samples_of(texts, [0, 1])).to_pylist()
    assert (row["prompt_ids"], row["chosen_mask"]) == ([1, 2], [0, 1])


def test_answers_with_a_label() -> None:
    rows = sides_table("kto", samples_of([CHOSEN, REJECTED, REJECTED], [0, 1, 0])).to_pylist()
    assert [row["label"] for row in rows] == [True, False, True]
    assert rows[1] == {
        "prompt_ids": [1, 2, 3],
        "completion_ids": [9],
        "completion_mask": [1],
        "label": False,
        "length": 4,
    }


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """A text whose first token is not trained, and one is."""
    ids = draw(st.lists(st.integers(0, 2), min_size=2, max_size=8))
    trained = draw(st.lists(st.booleans(), min_size=len(ids) - 1, max_size=len(ids) - 1))
    trained[draw(st.integers(0, len(trained) - 1))] = True
    return ids, [N, *(token if so else N for token, so in zip(ids[1:], trained, strict=True))]


@given(st.lists(st.tuples(texts(), texts()), max_size=5), st.sampled_from([*SIDES]))
def test_samples_are_read_as_they_were_written(
    pairs: list[tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]]], layout: str
) -> None:
    for pair in pairs:
        pair[1][0][0] = pair[0][0][0]  # they share a token
    samples = samples_of([text for pair in pairs for text in pair], [0, 1] * len(pairs))
    table = sides_table(layout, samples)
    assert len(table) == len(rows_of_sides(layout, 2 * len(pairs)).offsets) - 1
    assert are_whole(layout, table).all()
    packs = as_packs(layout, table)
    assert np.array_equal(flat(packs.column("input_ids")).values, samples.ids)
    assert np.array_equal(flat(packs.column("labels")).values, samples.labels)
    assert np.array_equal(flat(packs.column("seq_lengths")).values, np.diff(samples.offsets))
    assert sides_of(layout, table).tolist() == [0, 1] * len(pairs)
    assert made_again(layout, table).equals(table)


@pytest.mark.parametrize(
    "column", [{"chosen_mask": [[1]]}, {"length": [9]}, {"prompt_ids": [[]]}, {"rejected_ids": [[]]}]
)
def test_rows_that_cannot_be_read(column: dict[str, list[list[int]]]) -> None:
    table = sides_table("preference", samples_of([CHOSEN, REJECTED], [0, 1]))
    changed = pa.RecordBatch.from_pydict({**table.to_pydict(), **column}, schema=table.schema)
    assert are_whole("preference", table).tolist() == [True]
    assert are_whole("preference", changed).tolist() == [False]


@given(st.lists(st.tuples(texts(), texts()), min_size=1, max_size=6), st.integers(1, 20))
def test_a_window_parts_no_pair(
    pairs: list[tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]]], size: int
) -> None:
    window = Window(size, together=2)
    samples = samples_of([text for pair in pairs for text in pair], [0, 1] * len(pairs))
    sides = [each.origin.column("sample").to_pylist() for each in window.add(samples)]
    sides.append(window.rest().origin.column("sample").to_pylist())
    assert all(each == [0, 1] * (len(each) // 2) for each in sides)
    assert sum(map(len, sides)) == 2 * len(pairs)
