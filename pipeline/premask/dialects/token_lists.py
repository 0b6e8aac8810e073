"""Lists with an entry for each token, as rows of tokens have them: ids, masks, weights.

    >>> ids({"input_ids": [1, 5, 7]}, "input_ids").tolist()
    [1, 5, 7]
    >>> mask([0, 1.0, True], "loss_mask", 3).tolist()
    [False, True, True]

Every reader raises `RowError` with the reason bad_tokens, and names the list and the entry.

Cost: a tenth of a microsecond an entry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.contract import IGNORE_INDEX
from ..core.errors import RowError
from ..core.records import Conversation, GivenTokens
from ..core.text import kind
from .cells import parsed
from .common import MEDIA_KEYS, row_id
from .row_marks import row_weight

MASKS = (
    *("loss_mask", "assistant_masks", "assistant_mask", "assistant_tokens_mask", "completion_mask"),
    *("response_mask", "env_mask"),
)
"""Lists that are 1 where a token is trained, by their names in trainers and engines."""

NO_MARKS = ("attention_mask", "special_tokens_mask", "prompt_mask")
"""Lists that are named like masks, but do not say what is trained."""

_MASK_NAME = re.compile("mask|train", re.IGNORECASE)

ONE_SAMPLE = "give each sample as a row of its own"

MOST = 2**31


def bad(detail: str) -> RowError:
    """Return the error of lists that do not fit."""
    return RowError("bad_tokens", detail)


def is_ids(found: Any) -> bool:
    """Whether a field looks like token ids: a list of integers that is not empty.

    >>> is_ids([1, 2]), is_ids([]), is_ids(["a"]), is_ids([[1]])
    (True, False, False, False)
    """
    return isinstance(found, list) and bool(found) and all(type(each) is int for each in found[:64])


def entries(found: Any, name: str, length: int | None = None) -> list[Any]:
    """Return a list, which a table may keep as JSON in a cell; of `length` entries, if that is known."""
    found = parsed(found)
    if not isinstance(found, list):
        raise bad(f"'{name}' is a JSON {kind(found)}, not an array")
    if found and isinstance(found[0], list):
        raise bad(f"'{name}' holds arrays, as a batch does; {ONE_SAMPLE}")
    if length is not None and len(found) != length:
        raise bad(f"'{name}' has {len(found):,} entries for {length:,} tokens")
    return found


def integers(found: Any, name: str, length: int | None = None) -> np.ndarray:
    """Return a list of integers, int64[t]."""
    found = entries(found, name, length)
    if not {*map(type, found)} <= {int}:
        at = next(i for i, each in enumerate(found) if type(each) is not int)
        raise bad(f"'{name}' holds {_shown(found[at])} at token {at}, which is no integer")
    if found and not -MOST <= min(found) <= max(found) < MOST:
        at = next(i for i, each in enumerate(found) if not -MOST <= each < MOST)
        raise bad(f"'{name}' holds {found[at]} at token {at}, which is too large")
    return np.array(found, dtype=np.int64)


def ids(row: Mapping[str, Any], name: str) -> np.ndarray:
    """Return token ids, int64[t]; whether the tokenizer has them is seen later."""
    return integers(row[name], name)


def mask(found: Any, name: str, length: int) -> np.ndarray:
    """Return a list of 0 and 1, or false and true, bool[t]."""
    found = entries(found, name, length)
    at = next((i for i, each in enumerate(found) if not _is_bit(each)), None)
    if at is not None:
        raise bad(f"'{name}' holds {_shown(found[at])} at token {at}; it must be 0 or 1")
    return np.array(found, dtype=bool)


def check_masks(row: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise `RowError` for lists of 0 and 1 that are named like masks, but are none of the `known` fields:
    whether 1 means trained is not certain."""
    for name in (name for name in row if name not in known and _MASK_NAME.search(name)):
        held = parsed(row[name])
        if isinstance(held, list) and held and all(map(_is_bit, held)):
            raise bad(
                f"'{name}' looks like a mask, but is none that is read; if it is 1 where a token is trained, "
                "name it 'loss_mask'; else leave it out with the source's columns"
            )


def numbers(found: Any, name: str, length: int) -> np.ndarray:
    """Return a list of finite numbers, float32[t]."""
    found = entries(found, name, length)
    at = next((i for i, each in enumerate(found) if not is_number(each)), None)
    if at is not None:
        raise bad(f"'{name}' holds {_shown(found[at])} at token {at}, which is no finite number")
    return np.array(found, dtype=np.float32)


def is_number(found: Any) -> bool:
    """Whether a value is a finite number that float32 has.

    >>> is_number(0.5), is_number(-3), is_number(True), is_number(float("nan")), is_number(1e39)
    (True, True, False, False, False)
    """
    return type(found) in (int, float) and math.isfinite(found) and abs(found) < _LARGEST


_LARGEST = 3.4e38


def _is_bit(found: Any) -> bool:
    return isinstance(found, (bool, int, float)) and found in (0, 1)


def trained_by(labels: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
    """Return which tokens are trained by labels (int64[t], at the place of their token), bool[t]."""
    trained = labels != IGNORE_INDEX
    wrong = np.flatnonzero(trained & (labels != token_ids))
    if not len(wrong):
        return np.asarray(trained)
    at = int(wrong[0])
    what = f"label {labels[at]} at token {at} is neither -100 nor the id {token_ids[at]}"
    if (trained[:-1] <= (labels[:-1] == token_ids[1:])).all():
        what += "; labels seem to be shifted by one: give each at the place of its token"
    raise bad(what)


def conversation_of(row: Mapping[str, Any], given: GivenTokens) -> Conversation:
    """Return tokens with the id and the weight of their row. Raises `RowError`: unsupported_content,
    wrong_type."""
    media = [key for key in (*MEDIA_KEYS, "pixel_values") if row.get(key)]
    if media:
        raise RowError("unsupported_content", f"the row refers to {', '.join(media)}; only text can be used")
    return Conversation((), id=row_id(row), weight=row_weight(row), given=given)


def unpacked_only(row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `RowError` for a row that holds several samples, by a list of their lengths."""
    for name in names:
        if row.get(name) is not None and len(entries(row[name], name)) != 1:
            raise bad(f"'{name}' says that the row holds several samples; {ONE_SAMPLE}")


def _shown(found: Any) -> str:
    return f"{found!r:.40}"
