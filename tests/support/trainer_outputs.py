"""Small outputs for trainers to load."""

from __future__ import annotations

from pathlib import Path

from commands import SAMPLE, TOKENIZER, process

ROWS = 34
"""Rows of the bundled sample, from its start: enough for a dozen packs."""


def written(folder: Path) -> Path:
    """An output with both layouts, and beside it one with all that a recipe can add to its rows."""
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:ROWS]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    words = ("run", folder / "rows.jsonl", "--tokenizer", TOKENIZER)
    both = ("--layout", "packed,unpacked", "--max-length", "256")
    added = ("--pad-rows", "to_length", "--extra-columns", "assistant_masks,completion_mask")
    for name, more in {"out": (), "other": added}.items():
        done = process(*words, "--output", folder / name, *both, *more)
        assert done.returncode == 0, done.stderr.decode()
    return folder / "out"
