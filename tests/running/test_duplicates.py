"""The files with the hashes of rows: what was changed is one error."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from premask.core.errors import OutputError
from premask.running.duplicates import (
    HASHED,
    read_hashes,
    write_hashes,
)


@pytest.fixture
def hashes(tmp_path: Path) -> Path:
    path = tmp_path / "work/hashes/00000.npy"
    path.parent.mkdir(parents=True)
    rows = np.zeros(3, dtype=HASHED)
    rows["row"], rows["hash"][1] = [0, 1, 2], 7
    write_hashes(path, [rows])
    return path


def damaged(data: bytes) -> list[bytes]:
    """Contents that are none: empty, cut, zeros in the header, other types, objects."""
    zeros = [data[:at] + b"\0" * 8 + data[at + 8 :] for at in range(0, 120, 7)]
    changed = [data.replace(b"<i4", b"<f4"), data.replace(b"(3,)", b"(9,)"), data.replace(b"<i4", b"|O8")]
    return [b"", data[:9], data[:100], b"\xff" * 200, *zeros, *changed]


def test_hashes_that_were_changed(hashes: Path) -> None:
    assert read_hashes(hashes)["row"].tolist() == [0, 1, 2]
    work = re.escape(str(hashes.parent.parent))
    for content in damaged(hashes.read_bytes()):
        hashes.write_bytes(content)
        with pytest.raises(OutputError, match=f"was changed and cannot be read: .*; remove {work}, then run"):
            read_hashes(hashes)
