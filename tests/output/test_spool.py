"""A spool gives back what was put into it."""

from __future__ import annotations

import numpy as np
import pytest
from premask.core.arrays import offsets_of
from premask.core.records import SampleOrigin, Samples
from premask.output.spool import Spool
from premask.output.windows import concat_samples, origin_table


def _samples(lengths: list[int], *, weighed: bool) -> Samples:
    ids = np.arange(sum(lengths), dtype=np.int32)
    origin = origin_table([SampleOrigin("a", i, None, 0, (1,)) for i in range(len(lengths))])
    return Samples(
        ids, -ids, offsets_of(lengths), origin, {"loss_weights": ids.astype(np.float32)} if weighed else {}
    )


@pytest.mark.parametrize("weighed", [True, False])
def test_all_samples_in_order(weighed: bool) -> None:  # noqa: FBT001
    parts = [_samples(lengths, weighed=weighed) for lengths in ([3, 1], [], [70_000], [2])]
    spool = Spool()
    for part in parts:
        spool.add(part)

    assert len(spool) == 4
    found, wanted = spool.samples(), concat_samples(parts)
    assert all(np.array_equal(*each) for each in zip(found[:3], wanted[:3], strict=True))
    assert found.origin.equals(wanted.origin)
    assert (found.weights is None) == (not weighed)
    assert not weighed or np.array_equal(found.weights, wanted.weights)


def test_a_spool_without_samples() -> None:
    found = Spool().samples()

    assert (len(found.ids), len(found.origin), found.offsets.tolist()) == (0, 0, [0])
