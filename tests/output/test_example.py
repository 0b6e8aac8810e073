"""Which row of an output its card shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from outputs import identity_of, make_output, recipe_of, samples_of
from premask.output.dataset import open_dataset
from premask.output.example import example_rows, example_shard


def shown(folder: Path, lengths: list[int]) -> tuple[int, int, int]:
    """Tokens of the row that is shown, those that are left out of it, and its first id."""
    recipe = recipe_of(max_length=2000)
    units = [([samples_of(lengths)], [])]
    make_output(folder / "out", units, identity=identity_of(recipe))
    (row,) = example_rows(open_dataset(folder / "out"))
    assert len(row.ids) == len(row.trained)
    assert any(row.trained)
    return len(row.ids), row.left_out, row.ids[0]


@pytest.mark.parametrize(
    ("lengths", "length", "left_out"),
    [
        ([3, 50, 60], 50, 0),
        ([3, 39], 39, 0),
        ([300, 260, 900], 260, 0),
        ([1000], 360, 640),
        ([256, 40], 256, 0),
    ],
)
def test_the_first_that_is_neither_short_nor_long(
    tmp_path: Path, lengths: list[int], length: int, left_out: int
) -> None:
    found = shown(tmp_path, lengths)

    assert found == (length, left_out, int(np.cumsum([0, *lengths])[lengths.index(length + left_out)]))


def test_an_output_without_rows_has_none(tmp_path: Path) -> None:
    make_output(tmp_path / "out", [([], [])])
    dataset = open_dataset(tmp_path / "out")

    assert example_shard(dataset.manifest) is None
    assert example_rows(dataset) == []
