"""Keys that look like a mark of what to train, but are none that premask knows (`marks.py`, `row_marks.py`).

    >>> rows = [{"messages": [{"role": "assistant", "content": "Hi", "learnable": False}], "loss": 2.5}]
    >>> unknown_marks(rows)
    ['learnable']

It is looked for in the first rows of a file, once: a user who marked turns in an own spelling would otherwise
train what was meant to be left out. A key looks like a mark by its name, and if it has no other values than
true, false, 0 and 1. Takes a few microseconds a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from . import Named, tokens, trajectory
from .cells import parsed
from .fields import MappedFields
from .marks import TURN_KEYS
from .row_marks import LABEL_KEYS, LIST_KEYS, ROW_WEIGHT_KEYS, WEIGHT_LIST_KEYS, answer_label
from .sides import Sides

_NAME = re.compile("train|loss|mask|weight|label|learn|superv", re.IGNORECASE)
_OF_ROWS = frozenset({*LIST_KEYS, *ROW_WEIGHT_KEYS, *WEIGHT_LIST_KEYS})
_OF_DIALECTS = {"tokens": tokens.KNOWN, "trajectory": trajectory.KNOWN}


def unknown_marks(values: Sequence[Any], dialect: object = None) -> list[str]:
    """The keys of rows, turns and parts that look like marks and are not read, in the order in which they
    come."""
    seen: dict[str, bool] = {}
    for key, value in (pair for row in values for pair in _fields(row)):
        if _NAME.search(key) and value is not None and not _is_read(dialect, key, value):
            seen[key] = seen.get(key, True) and _may_be_mark(value)
    return [key for key, only in seen.items() if only]


def _is_read(dialect: object, key: str, value: Any) -> bool:
    """Whether a field is read where most are not: the label of an answer, and the lists of tokens."""
    if isinstance(dialect, str) and key in _OF_DIALECTS.get(dialect, ()):
        return True
    if key not in LABEL_KEYS or isinstance(dialect, MappedFields):
        return False
    if isinstance(dialect, Named) and dialect != "kto":
        return False
    return answer_label({key: value}, numbers=isinstance(dialect, Sides)) is not None


def warning(source: str, keys: Sequence[str]) -> str:
    """What to say of such keys of a file.

    >>> warning("a.jsonl", ["learnable"])[:58]
    "a.jsonl: 'learnable' looks like a mark of what to train, b"
    """
    names = ", ".join(f"{key[:40]!r}" for key in keys[:5])
    one, looks = ("it", "looks like a mark") if len(keys) == 1 else ("them", "look like marks")
    return (
        f"{source}: {names} {looks} of what to train, but premask does not read {one}; rename {one} (in a "
        "turn: train, loss, masked or weight; beside the turns: train_turns or weight; beside ids: "
        f"loss_mask), or take {one} out of the rows"
    )


def _may_be_mark(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(not isinstance(each, list) and _may_be_mark(each) for each in value)
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _fields(row: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a row, of its turns and of the parts of these, without marks that are known."""
    if isinstance(row, dict):
        yield from ((key, value) for key, value in row.items() if key not in _OF_ROWS)
    held = [row] if isinstance(row, list) else row.values() if isinstance(row, dict) else []
    for turn in (turn for value in held for turn in _objects(value)):
        yield from ((key, value) for key, value in turn.items() if key not in TURN_KEYS)
        for part in (part for value in turn.values() for part in _objects(value)):
            yield from ((key, value) for key, value in part.items() if key not in TURN_KEYS)


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, str) or value.lstrip().startswith("["):
        value = parsed(value)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
