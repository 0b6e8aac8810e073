"""The author's marks: which messages, parts and characters are trained, and how much they count.

    {"role": "assistant", "content": "Hm", "train": false}      a message; also trainable, training, ...
    {"type": "text", "text": "Hm", "weight": 0.5}               a part of a content
    {"train_detail": [{"begin_offset": 0, "end_offset": 8, "train": false}]}    characters (axolotl)

`row_marks.py` reads what is beside the turns. A mark takes parts out of the loss, or sets their weight; it
never adds what the recipe leaves out. Marks that contradict each other are refused, as is every value whose
sense is not certain.

    >>> read_mark({"masked": True}, "turn 1")
    Mark(train=False, weight=None)
    >>> read_mark({"train": True, "loss_scale": 0.5}, "turn 1")
    Mark(train=True, weight=0.5)

Cost: less than a microsecond for a message without marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Stretch
from ..core.strict_json import parse_json

_MAX = 3.4028234e38  # the largest float32


class Mark(NamedTuple):
    """A mark: trained or not, and a weight other than 1. None: it says nothing of this."""

    train: bool | None = None
    weight: float | None = None


NONE = Mark()

FLAG_KEYS = ("train", "trainable", "training", "train_on_turn", "train_turn", "loss", "loss_mask")
"""True or 1: trained."""

MASK_KEYS = ("masked", "mask")
"""True: not trained. A number under `mask` is refused, because data sets write it in both senses."""

WEIGHT_KEYS = ("weight", "loss_weight", "loss_scale")
"""0: not trained; any other number is the weight."""

RANGE_KEYS = ("train_detail", "training_detail")
"""Ranges of characters, as axolotl has them: the end is the last character of a range."""

TURN_KEYS = frozenset({*FLAG_KEYS, *MASK_KEYS, *WEIGHT_KEYS, *RANGE_KEYS})
"""Keys of a message that are marks."""

_FLAGS = frozenset(FLAG_KEYS)
_WEIGHTS = frozenset(WEIGHT_KEYS)
_SINGLE = (*FLAG_KEYS, *MASK_KEYS, *WEIGHT_KEYS)


def read_mark(turn: Mapping[str, Any], where: str) -> Mark:
    """The mark of a message or part, from all keys that say something. Raises `RowError`: wrong_type."""
    return NONE if TURN_KEYS.isdisjoint(turn) else agreed(marks_of(turn, where), where)


def marks_of(turn: Mapping[str, Any], where: str) -> dict[str, Mark]:
    """Each mark of a message or part by its name. Raises `RowError`: wrong_type."""
    held = [key for key in _SINGLE if turn.get(key) is not None]
    return {f"'{key}'": read_one(turn[key], key, where) for key in held}


def agreed(marks: Mapping[str, Mark], where: str) -> Mark:
    """What several marks of one thing say together; `marks` are by their names in words.

    Raises `RowError`: wrong_type, if two of them contradict each other.
    """
    for (one, a), (other, b) in combinations(marks.items(), 2):
        if _differ(a.train, b.train) or _differ(_weight(a), _weight(b)):
            raise RowError("wrong_type", f"{one}, {other} of {where} contradict each other")
    train = next((mark.train for mark in marks.values() if mark.train is not None), None)
    weight = next((mark.weight for mark in marks.values() if mark.weight is not None), None)
    return Mark(train, None if weight == 1 else weight)


def _weight(mark: Mark) -> float | None:
    return mark.weight if mark.train is not False else None


def _differ(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one != other


def read_one(value: Any, key: str, where: str) -> Mark:
    """One mark by its key. A weight of 1 is kept here, so that it contradicts another weight."""
    if key in _WEIGHTS:
        weight = finite_number(value, key, where)
        return Mark(train=False) if weight == 0 else Mark(True, weight)
    if key == "mask" and not isinstance(value, bool):
        detail = f"'mask' of {where} is not true or false; write 'train': true or false"
        raise RowError("wrong_type", detail)
    if not isinstance(value, (bool, int, float)) or value not in (0, 1):
        raise RowError("wrong_type", f"'{key}' of {where} is neither true nor false")
    return Mark(bool(value) if key in _FLAGS else not value)


def finite_number(value: Any, key: str, where: str) -> float:
    """A weight, as float32 can hold it. Raises `RowError`: wrong_type."""
    if not isinstance(value, (bool, int, float)) or not -_MAX <= value <= _MAX:
        raise RowError("wrong_type", f"'{key}' of {where} is neither a finite number nor true or false")
    return float(value)


# ==== Parts and characters ====


def stretches_of(parts: Sequence[tuple[int, Mark]]) -> tuple[Stretch, ...]:
    """Marks of consecutive parts, each of so many characters, as stretches; none if no part has a mark.

    >>> stretches_of([(3, Mark(False)), (0, Mark(True)), (2, NONE)])
    (Stretch(end=3, train=False, weight=None), Stretch(end=5, train=None, weight=None))
    """
    found: list[Stretch] = []
    end = 0
    for length, mark in parts:
        end += length
        if found and found[-1][1:] == mark:
            found[-1] = Stretch(end, *mark)
        elif length:
            found.append(Stretch(end, *mark))
    return tuple(found) if any(each[1:] != NONE for each in found) else ()


def read_ranges(turn: Mapping[str, Any], content: Any, where: str) -> tuple[Stretch, ...]:
    """The ranges of characters of a content (axolotl's `train_detail`), as stretches; what is in no range is
    not trained. Raises `RowError`: wrong_type."""
    key = next((key for key in RANGE_KEYS if turn.get(key) is not None), None)
    if key is None:
        return ()
    if not isinstance(content, str):
        raise RowError("wrong_type", f"'{key}' of {where} needs a content that is one text")
    held = json_within(turn[key])
    if held == [] and not _FLAGS.isdisjoint(turn):
        return ()  # an empty list beside a mark of the message, as tables have it
    if not isinstance(held, list):
        raise RowError("wrong_type", f"'{key}' of {where} is not a list of ranges")
    end, parts = 0, list[tuple[int, Mark]]()
    for begin, last, train in sorted(_range(each, key, where) for each in held):
        if begin < end or last >= len(content):
            detail = (
                f"'{key}' of {where}: the range {begin} to {last} overlaps another one or the end of the "
                f"content, which has {len(content)} characters; end_offset is the last character of a range"
            )
            raise RowError("wrong_type", detail)
        parts += [(begin - end, Mark(train=False)), (last + 1 - begin, Mark(train))]
        end = last + 1
    return stretches_of([*parts, (len(content) - end, Mark(train=False))])


def _range(value: Any, key: str, where: str) -> tuple[int, int, bool]:
    keys = ("begin_offset", "end_offset", "train")
    begin, end, train = (value.get(name) for name in keys) if isinstance(value, dict) else (None,) * 3
    offsets = all(isinstance(each, int) and not isinstance(each, bool) for each in (begin, end))
    if not offsets or train not in (0, 1) or not 0 <= begin <= end:  # type: ignore[operator]
        detail = (
            f"'{key}' of {where}: a range is not {{begin_offset: N, end_offset: N, train: true or false}}"
        )
        raise RowError("wrong_type", detail)
    return begin, end, bool(train)  # type: ignore[return-value]


def without_start(stretches: Sequence[Stretch], cut: int) -> tuple[Stretch, ...]:
    """Stretches of a text whose first `cut` characters are taken away.

    >>> without_start([Stretch(3, False), Stretch(5)], 4)
    (Stretch(end=1, train=None, weight=None),)
    """
    return tuple(each._replace(end=each.end - cut) for each in stretches if each.end > cut)


def json_within(value: Any) -> Any:
    """What a string holds as JSON, as tables keep lists in a cell; any other value, or no JSON, as it is.

    >>> json_within("[1]"), json_within(" "), json_within("a"), json_within(2)
    ([1], None, 'a', 2)
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value) if value.strip() else None
    except ValueError:
        return value
