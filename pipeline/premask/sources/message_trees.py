"""Single messages that name their parents (Open Assistant's flat files) -> message trees, one a line.

    {"message_id": "b", "parent_id": "a", "text": "Hello", "role": "assistant"}     a row each
    {"message_tree_id": "a", "prompt": {"message_id": "a", ..., "replies": [{"message_id": "b", ...}]}}

    make_trees("messages.parquet", Path("trees.jsonl"))

A conversation is on several rows of such files, anywhere in them, so the whole file has to be seen first;
what comes out is read row by row like any other (`dialects/trees.py`). Nothing is left out: a message whose
parent is not in the file begins a line of its own, which a run refuses, as it does a row that is no message.
Replies keep the order of the file.

Cost: memory is that of all messages as Python objects, about five times the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.atomic_files import new_file
from ..core.errors import SourceError
from ..core.source_entry import Source
from .cutting import whole
from .listing import inspect_sources
from .reading import read_slice

_MAX_DEPTH = 100
"""Levels of replies in a tree: each is two of JSON, of which a row may have 256."""

Node = dict[str, Any]


@dataclass(frozen=True)
class Grouped:
    """How many rows went in, and what came out: whole trees, messages without their parent, other rows."""

    rows: int
    trees: int
    orphans: int
    others: int


def make_trees(sources: Sequence[str], target: Path) -> Grouped:
    """Write the trees that the messages of some files form, as JSONL.

    Raises `SourceError` where a file cannot be read or none holds such messages, `OutputError` where the
    target exists already or cannot be written.
    """
    nodes: dict[str, Node] = {}
    others: list[str] = []
    for value, text in _rows(sources):
        key = value.get("message_id") if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(key, str) and key not in nodes and _has_parent(value):
            nodes[key] = {**value, "replies": []}
        else:
            others.append(text)
    if not nodes:
        raise SourceError(f"{', '.join(sources)}: no row has a 'message_id'; these are no messages of trees")
    roots = _linked(nodes)
    orphans = sum(root.get("parent_id") is not None for root in roots)
    with new_file(target) as file:
        for root in roots:
            tree = {"message_tree_id": root["message_id"], "prompt": root}
            file.write(json.dumps(tree) + "\n")
        file.writelines(f"{text}\n" for text in others)
    return Grouped(len(nodes) + len(others), len(roots) - orphans, orphans, len(others))


def _rows(sources: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """The value of each row, and its text."""
    for info in inspect_sources([Source(path=path) for path in sources]):
        for row in read_slice(whole(info)):
            if row.reason == "row_too_large":
                raise SourceError(f"{row.source} row {row.row}: {row.error}; leave it out")
            yield row.value, json.dumps(row.value) if row.original is None else row.original


def _has_parent(message: Node) -> bool:
    """Whether a message names its parent, or says that it has none."""
    return message.get("parent_id") is None or isinstance(message["parent_id"], str)


def _linked(nodes: dict[str, Node]) -> list[Node]:
    """Put replies below their parents; the messages that are below none, in order.

    Where messages are each other's parents, the first of them begins a tree of its own, as does a message
    that is deeper than `_MAX_DEPTH`.
    """
    children: dict[str, list[Node]] = {}
    for node in nodes.values():
        children.setdefault(str(node.get("parent_id")), []).append(node)
    depth: dict[str, int] = {}
    roots = [node for node in nodes.values() if node.get("parent_id") not in nodes]
    for node in [*roots, *nodes.values()]:
        if node["message_id"] in depth:
            continue
        if node.get("parent_id") in nodes:
            roots.append(node)
        roots += _fill(node, children, depth)
    return roots


def _fill(root: Node, children: dict[str, list[Node]], depth: dict[str, int]) -> list[Node]:
    """Put all that is below a message there; returns the messages that are too deep, filled too."""
    depth[root["message_id"]] = 1
    waiting, deep = [root], list[Node]()
    for node in waiting:
        for child in children.get(node["message_id"], []):
            if child["message_id"] in depth:
                continue
            level = depth[node["message_id"]] + 1
            depth[child["message_id"]] = 1 if level > _MAX_DEPTH else level
            (deep if level > _MAX_DEPTH else node["replies"]).append(child)
            waiting.append(child)
    return deep
