"""The README of a repo that a person has edited, and ours: what stays of it when an output is pushed."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..output.dataset import front_matter_of


def merge_readme(ours: str, theirs: str) -> tuple[str, list[str]]:
    r"""Return our README with the front-matter keys that only theirs has, and its tags; and those keys.

    Merging again changes nothing, so an unchanged output is seen to be unchanged.

    >>> merge_readme("---\ntags: [a]\n---\nText", "---\nlicense: mit\ntags: [b]\n---\nOld")
    ('---\ntags:\n- a\n- b\nlicense: mit\n---\nText', ['license', 'tag b'])
    """
    (front, text), (there, _) = split_readme(ours), split_readme(theirs)
    mine, foreign = _mapping(front), _mapping(there)
    tags = [tag for tag in _texts(foreign.get("tags")) if tag not in _texts(mine.get("tags"))]
    added = {key: value for key, value in foreign.items() if key not in mine}
    kept = [*map(str, added), *(f"tag {tag}" for tag in tags if "tags" in mine)]
    if not kept:
        return ours, []
    merged = {**mine, **added}
    if "tags" in mine:
        merged["tags"] = [*_texts(mine["tags"]), *tags]
    return f"---\n{yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)}---\n{text}", kept


def split_readme(readme: str) -> tuple[str, str]:
    """Return front matter and text of a README; the front matter may be absent."""
    found = re.match(r"---[ \t]*\r?\n(.*?\n)?---[ \t]*(?:\r?\n|$)", readme, re.DOTALL)
    return (found[1] or "", readme[found.end() :]) if found else ("", readme)


def _mapping(front: str) -> dict[str, Any]:
    return dict(front_matter_of(f"---\n{front}---\n".encode()) or {})


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []
