"""Marks beside the turns of a row: one for each turn, or a weight for the whole row.

    {"messages": [...], "train_turns": [false, false, false, true]}     one for each turn
    {"messages": [...], "message_loss_mask": [0, 1]}                    one for each turn of the assistant
    {"messages": [...], "metadata": {"train_turns": [...]}}             as Nemotron's rows have it
    {"messages": [...], "weight": 2}                                    the weight of the row
    {"messages": [...], "label": false}                                 whether the answer is a good one

    >>> turn_marks({"train_turns": [False, True]}, [False, True, False, True])
    [Mark(train=None, weight=None), Mark(train=False, weight=None), Mark(train=None, weight=None), \
Mark(train=True, weight=None)]
    >>> row_weight({"weight": "0.5"})
    0.5

Lists of another length, or of something else, are refused: they may be numbers of turns, or marks of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import RowError
from .marks import NONE, Mark, agreed, finite_number, json_within, read_one

LIST_KEYS = (
    *("train_turns", "train_on_turn", "train_on_turns", "train_mask", "loss_mask", "loss_masks"),
    *("message_loss_mask", "message_loss_masks", "turn_loss_mask"),
)
"""Keys of a row whose lists have a mark for each turn, or for each turn of the assistant."""

WEIGHT_LIST_KEYS = ("weight", "loss_weight", "loss_weights")
"""Keys whose lists have a weight for each turn."""

ROW_WEIGHT_KEYS = ("weight", "loss_weight", "sample_weight")
"""Keys of a row whose number is its weight."""

METADATA_KEY, METADATA_LIST = "metadata", "train_turns"

LABEL_KEYS = ("label", "kto_tag")
"""Keys of a row that say whether its answer is a good one."""

_MAY_BE_NUMBERS = frozenset({"train_turns", "train_on_turn", "train_on_turns"})
"""Lists that may be meant as numbers of turns: 0 and 1 are taken for marks only if each turn has one."""


def row_marks_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that are marks, as they are written."""
    keys = {*LIST_KEYS, *WEIGHT_LIST_KEYS, *ROW_WEIGHT_KEYS, METADATA_KEY}
    return {key: row[key] for key in row if key in keys}


def row_weight(row: Mapping[str, Any]) -> float | None:
    """The weight of a row; None if it is 1, or none is given. Raises `RowError`: wrong_type."""
    found: dict[str, Mark] = {}
    for key in ROW_WEIGHT_KEYS:
        value = json_within(row.get(key))
        if value is not None and not (isinstance(value, list) and key in WEIGHT_LIST_KEYS):
            found[f"'{key}'"] = Mark(weight=finite_number(value, key, "the row"))
    return agreed(found, "the row").weight if found else None


def answer_label(row: Any, *, numbers: bool = False) -> tuple[str, bool] | None:
    """The column that says whether the answer of a row is a good one, and what it says; None if there is
    none. It holds true or false, or one of these as a text; 1 and 0 count with `numbers` alone, since they
    may be numbers of classes.

    >>> answer_label({"label": "False"}), answer_label({"label": 0}), answer_label({"label": 0}, numbers=True)
    (('label', False), None, ('label', False))
    """
    held = row if isinstance(row, dict) else {}
    read = {name: _as_label(held[name], numbers=numbers) for name in LABEL_KEYS if name in held}
    return next(((name, good) for name, good in read.items() if good is not None), None)


def check_label(row: Any) -> None:
    """Raise `RowError` (rejected_answer) where a row says that its answer is not a good one."""
    name, good = answer_label(row) or ("", True)
    if not good:
        detail = f"'{name}' is false; where that means something else, set 'dialect' to that of the rows"
        raise RowError("rejected_answer", detail)


def _as_label(value: Any, *, numbers: bool) -> bool | None:
    if isinstance(value, str):
        words = {"true": True, "false": False} | ({"1": True, "0": False} if numbers else {})
        return words.get(value.strip().lower())
    if isinstance(value, bool) or (numbers and isinstance(value, (int, float)) and value in (0, 1)):
        return bool(value)
    return None


def turn_marks(row: Mapping[str, Any], answers: Sequence[bool]) -> list[Mark] | None:
    """The marks beside the turns, one for each turn, None if there are none; `answers` says which turns are
    the assistant's. Raises `RowError`: wrong_type."""
    lists = {f"'{name}'": _marks(name, held, answers) for name, held in _lists(row).items()}
    if not lists:
        return None
    marks = zip(*lists.values(), strict=True)
    return [agreed(dict(zip(lists, each, strict=True)), f"turn {i}") for i, each in enumerate(marks)]


def name_of_turn_marks(row: Mapping[str, Any]) -> str | None:
    """The name of the first list with a mark for each turn; None if the row has none."""
    return next(iter(_lists(row)), None)


def _lists(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: json_within(row[key]) for key in LIST_KEYS if row.get(key) is not None}
    for key in WEIGHT_LIST_KEYS:
        held = json_within(row.get(key))
        if isinstance(held, list):
            found[key] = held
    metadata = json_within(row.get(METADATA_KEY))
    if isinstance(metadata, dict):
        found[f"{METADATA_KEY}.{METADATA_LIST}"] = json_within(metadata.get(METADATA_LIST))
    return {key: held for key, held in found.items() if held not in (None, [], {})}


def _marks(name: str, held: Any, answers: Sequence[bool]) -> list[Mark]:
    key = name.rpartition(".")[2]
    weights = key in WEIGHT_LIST_KEYS
    how = f"write one for each of the {len(answers)} turns, such as {_example(answers, weights=weights)}"
    if not isinstance(held, list):
        raise RowError("wrong_type", f"'{name}' beside the turns is not a list; {how}")
    each_turn = len(held) == len(answers)
    if not each_turn and len(held) != sum(answers):
        detail = f"'{name}' beside the turns has {len(held)} entries for {len(answers)} turns, "
        raise RowError("wrong_type", f"{detail}{sum(answers)} of them the assistant's; {how}")
    numbers = each_turn or key not in _MAY_BE_NUMBERS
    marks = [_mark(value, weights=weights, numbers=numbers) for value in held]
    wrong = next((value for value, mark in zip(held, marks, strict=True) if mark is None), None)
    if wrong is not None:
        unclear = "" if numbers else ", which may be a mark or the number of a turn"
        raise RowError("wrong_type", f"'{name}' beside the turns holds {str(wrong)[:40]!r}{unclear}; {how}")
    read = iter([mark or NONE for mark in marks])
    return [next(read) if each_turn or is_answer else NONE for is_answer in answers]


def _mark(value: Any, *, weights: bool, numbers: bool) -> Mark | None:
    """One entry of a list, None if it cannot be read; null says nothing."""
    if value is None:
        return NONE
    if weights:
        try:
            return read_one(value, "weight", "")
        except RowError:
            return None
    if isinstance(value, bool) or (numbers and isinstance(value, (int, float)) and value in (0, 1)):
        return Mark(train=bool(value))
    return None


def _example(answers: Sequence[bool], *, weights: bool) -> str:
    words = ("0", "1") if weights else ("false", "true")
    shown = [words[is_answer] for is_answer in answers[:6]]
    return f"[{', '.join(shown)}{', ...' if len(answers) > 6 else ''}]"
