"""A short run of the fuzz (`make fuzz` is the long one): no traceback, and every row accounted for."""

from __future__ import annotations

import pytest
from fuzz_rows import fuzz


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_of_all_kinds_are_accounted_for(seed: int) -> None:
    """What is asserted of each run stands in `fuzz_rows.one_run`."""
    totals = fuzz(600, seed_=seed, size=100)

    assert totals["rows"] >= 600
    assert totals["rows"] == totals["kept"] + totals["rejected"] + totals["dropped as duplicates"]
    assert totals["kept"] > 0
    assert totals["rejected"] > 0
