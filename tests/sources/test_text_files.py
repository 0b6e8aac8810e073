"""The layout of a text, seen from its first lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from inputs import rows_of, write
from premask.core.errors import SourceError
from premask.sources import files, text_files
from premask.sources.inspection import inspect_source


def test_only_the_start_of_a_long_first_line_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "_LONG_LINE", 8)
    monkeypatch.setattr(files, "CHUNK", 5)
    array, row = '[{"a": "0123456789]\\n"}, {"a": 1}]', '{"a": "0123456789}"}'
    found = {
        "array": (f"{array}\n\n", "json", 2),
        "bare": (array, "json", 2),
        "row": (f"\n{row}\n ", "json", 1),
        "lines": (f"{row}\n{row}", "jsonl", 2),
        "arrays": (f"{array}\n{array}\n", "jsonl", 2),
        "spread": (f"{array[:24]}\n{array[24:]}", "json", 2),
    }
    for name, (text, form, count) in found.items():
        source = write(tmp_path / f"{name}.json", text)
        assert inspect_source(source).format == form, name
        assert len(rows_of(source)) == count, name
    for name in ("array", "spread"):
        with pytest.raises(SourceError, match=r"holds one JSON array, .* rename it to .json"):
            inspect_source(write(tmp_path / "a.jsonl", found[name][0]))
