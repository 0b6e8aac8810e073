"""What to know of an output before training on it: warnings by the counts of its manifest.

    warnings_of(manifest)      # [("Another prompt", "12 turns are trained behind another prompt than ...")]

Each warning has a name of one or two words, and a text of whole sentences without the last full stop. What is
as it should be is not mentioned.

Cost: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.display import percent
from .mask_counts import (
    PROOF_WORDS,
    behind_note,
    control_note,
    dropped_note,
    history_note,
    many,
    seam_note,
    straddling_note,
    turns_note,
    unclosed_note,
)

Warned = tuple[str, str]

_MISSED = 0.01
"""How far the share of a source may be from what was asked."""

_TRUSTED = ("as-rendered", "generation-tags")
"""Proofs that compare nothing with inference."""


def warnings_of(manifest: Mapping[str, Any]) -> list[Warned]:
    """Return the warnings of a manifest, name and text.

    >>> counts = {"tokens": 9, "turns_behind_another_prompt": 1}
    >>> warnings_of({"counts": counts, "recipe": {}})
    [('Another prompt', '1 turn is trained behind another prompt than inference shows')]
    """
    counts, recipe = manifest["counts"], manifest["recipe"]
    found = [
        ("History", history_note(counts)),
        ("Another prompt", behind_note(counts)),
        ("Dropped text", dropped_note(recipe, counts)),
        ("Open reasoning", unclosed_note(counts)),
        ("Turns without loss", turns_note(counts)),
        ("Seams", seam_note(recipe, counts)),
        ("Edges", straddling_note(counts)),
        ("Control tokens", control_note(recipe, counts)),
        ("Cut off", _cut_off(counts)),
        ("Duplicates", _duplicates(counts)),
        *_unproved(counts),
        *_shares(manifest.get("mixture")),
        *_files(manifest),
    ]
    return [(name, text) for name, text in found if text]


def _cut_off(counts: Mapping[str, Any]) -> str:
    found = counts.get("tokens_cut_off")
    return f"{found:,} tokens beyond max_length were cut off" if found else ""


def _duplicates(counts: Mapping[str, Any]) -> str:
    kept = counts.get("duplicates", 0) - counts.get("dropped", 0)
    if kept <= 0:
        return ""
    what = many(kept, "row that equals an earlier one is", "rows that equal an earlier one are")
    return f"{what} kept; duplicates: drop skips them"


def _unproved(counts: Mapping[str, Any]) -> Iterator[Warned]:
    proofs = counts.get("samples_by_proof", {})
    for name in _TRUSTED:
        if proofs.get(name):
            yield "Mask", f"{proofs[name]:,} samples: {PROOF_WORDS[name]}"


def _shares(mixture: Mapping[str, Any] | None) -> Iterator[Warned]:
    for each in (mixture or {"sources": []})["sources"]:
        if abs(each["got"] - each["asked"]) >= _MISSED:
            shares = f"{percent(each['got'], 1)} of the mixture; asked: {percent(each['asked'], 1)}"
            yield "Mixture", f"{each['source']} is {shares}"


def _files(manifest: Mapping[str, Any]) -> Iterator[Warned]:
    for each in manifest.get("inputs", []):
        if salvaged := each.get("salvaged"):
            lost = f"{salvaged['lost']:,} bytes after row {salvaged['row']:,} were not read"
            yield "Damaged file", f"{each['source']} is cut short: {lost}"
    for unit in manifest.get("set_aside", []):
        skipped = many(unit["rows"], "row", "rows")
        yield "Skipped rows", f"{skipped} of unit {unit['unit']:,}: work on them ended the process"
