"""Mutated files of all formats are read, or refused in one line; `fuzz_inputs.py` has more of them."""

from __future__ import annotations

import fuzz_inputs
import pytest


def test_mutated_files_are_read_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_inputs.main(["--files", "52", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("52 files: ")
