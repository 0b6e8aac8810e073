"""Windows: the samples of a unit, gathered until they are packed together, in memory that is used again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from premask.core.arrays import offsets_of
from premask.core.records import SampleOrigin, Samples
from premask.output.windows import Window, concat_samples, cut_samples, origin_table


def copied(samples: Samples) -> Samples:
    """The samples in memory of their own."""
    floats = {name: each.copy() for name, each in samples.floats.items()}
    return samples._replace(ids=samples.ids.copy(), labels=samples.labels.copy(), floats=floats)


def _samples(first: int, lengths: list[int], *, weighed: bool) -> Samples:
    """Samples of these lengths, whose ids count on from the first."""
    offsets = offsets_of(lengths)
    ids = np.arange(first, first + sum(lengths), dtype=np.int32)
    origin = origin_table([SampleOrigin("a", first + int(at), None, 0, ()) for at in offsets[:-1]])
    return Samples(ids, -ids, offsets, origin, {"loss_weights": ids.astype(np.float32)} if weighed else {})


@given(st.lists(st.lists(st.integers(1, 9), max_size=6), max_size=8), st.integers(1, 30), st.booleans())
def test_windows_are_the_samples_in_order(parts: list[list[int]], size: int, weighed: bool) -> None:  # noqa: FBT001
    """Cut where `size` tokens are reached, no sample cut; whatever was in the memory before."""
    made, number = [], 0
    for lengths in parts:
        made.append(_samples(number, lengths, weighed=weighed))
        number += sum(lengths)
    window = Window(size)
    for again in range(2):
        windows = [copied(full) for part in made for full in window.add(part)]
        rest = copied(window.rest())
        assert all(len(full.ids) >= size for full in windows), again
        assert all(full.offsets[-2] < size for full in windows)
        assert len(rest.ids) < size
        whole, joined = concat_samples(made), concat_samples([*windows, rest])
        for own, other in zip(joined[:3], whole[:3], strict=True):
            assert np.array_equal(own, other)
        assert pa.Table.from_batches([joined.origin]) == pa.Table.from_batches([whole.origin])
        if weighed and number:
            assert np.array_equal(joined.weights, whole.weights)


def test_an_empty_window() -> None:
    rest = Window(5).rest()

    assert (len(rest.ids), len(rest.origin), rest.offsets.tolist(), rest.weights) == (0, 0, [0], None)
    assert cut_samples(rest, 0, 0).offsets.tolist() == [0]
