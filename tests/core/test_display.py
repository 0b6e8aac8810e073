"""How figures are shown: one form for terminal, card and page."""

from __future__ import annotations

import numpy as np
from premask.core.display import SHOWN_WRITERS, file_size, percent, writer_of
from premask.core.records import ROLES


def test_shares() -> None:
    assert [percent(1, 3), percent(np.int64(2), np.int64(2)), percent(0, 5)] == ["33.3%", "100.0%", "0.0%"]
    assert percent(0.976562, 1, 2) == "97.66%"
    assert percent(0, 0) == "-"


def test_sizes() -> None:
    assert [file_size(n) for n in (0, 1_234_567, 999_949_999, 12_345_678_901)] == [
        "0.0 MB", "1.2 MB", "999.9 MB", "12.3 GB",
    ]  # fmt: skip


def test_every_role_is_a_writer() -> None:
    assert set(ROLES) < set(SHOWN_WRITERS)
    assert [writer_of(f"{role}:3") for role in ROLES] == list(ROLES)


def test_tool_definitions_and_strangers() -> None:
    assert [writer_of(each) for each in ("tools", "template", "narrator:1")] == ["tools", "template", "other"]
