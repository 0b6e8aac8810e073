"""Samples that change places so that those of one row are in different packs."""

from __future__ import annotations

import numpy as np
from premask.output.spreading import apart, copy_numbers, together


def test_samples_change_places_only_where_both_packs_have_the_room() -> None:
    lengths = np.array([5, 5, 6, 4])  # sample 1 would need the place of 2 or 3, and both packs are full
    packs = apart(np.array([0, 0, 1, 1]), lengths, np.array([0, 0, 1, 2]), 10)
    assert packs.tolist() == [0, 0, 1, 1]
    packs = apart(np.array([0, 0, 1, 1]), lengths, np.array([0, 0, 1, 2]), 11)
    assert len(together(packs, np.array([0, 0, 1, 2]))) == 0
    assert np.bincount(packs, lengths).max() <= 11


def test_no_sample_comes_into_a_pack_that_has_its_row() -> None:
    rows = np.repeat(np.arange(6), 6)
    packs = apart(np.repeat(np.arange(6), 6), np.full(36, 3), rows, 18)
    assert len(together(packs, rows)) == 0  # each pack has each row once
    assert np.bincount(packs).tolist() == [6] * 6


def test_copies_are_numbered_in_their_order() -> None:
    assert copy_numbers(np.zeros(3, dtype=np.int64)).tolist() == [0, 1, 2]
    assert copy_numbers(np.zeros(0, dtype=np.int64)).tolist() == []
