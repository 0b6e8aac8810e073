"""Trajectories: the ids of prompt and completion as an engine sampled them, with log probabilities.

    {"prompt_ids": [...], "completion_ids": [...], "logprobs": [...]}
    {"segments": [{"ids": [...], "trained": false}, {"ids": [...], "trained": true, "logprobs": [...]}]}

The names of TRL (env_mask), verifiers (completion_mask, completion_logprobs), verl (response_ids,
response_mask, response_logprobs) and slime (tokens, response_length, loss_mask, rollout_log_probs) are read.
The numbers of a completion have an entry for each of its tokens, or are one number for all; which of them
are kept is said by the recipe (`token_columns`). A text beside ids must be what they decode to.

    >>> found = normalize({"prompt_ids": [1, 2], "completion_ids": [3], "logprobs": [-0.5]}).given
    >>> found.ids.tolist(), found.trained.tolist(), found.floats[0][:3]
    ([1, 2, 3], [False, False, True], ('logprobs', 2, 1))

A row of single steps (`trajectory`) is refused: write each step, or the whole, as a row with segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import RowError
from ..core.records import Conversation, Floats, GivenText, GivenTokens
from ..core.text import kind
from . import token_lists
from .cells import parsed
from .common import ID_KEYS
from .token_lists import MASKS, NO_MARKS, bad
from .tokens import LOGPROBS

PROMPT_IDS = ("prompt_ids", "prompt_token_ids")
COMPLETION_IDS = ("completion_ids", "response_ids", "completion_token_ids", "response_token_ids")
SEGMENT_IDS = ("ids", "token_ids", "input_ids", "tokens")
TRAINED = ("trained", "train", "mask", "loss_mask")
KNOWN = (*TRAINED, *MASKS, *NO_MARKS)
"""Fields of rows and segments that say what is trained, or surely nothing of it."""

_PROMPT_TEXTS, _COMPLETION_TEXTS = ("prompt",), ("completion", "response")


def recognize(value: Any) -> bool:
    """Whether the row has the ids of a completion, or segments of ids."""
    if not isinstance(value, dict):
        return False
    held = _segments(value)
    if held:
        return all(isinstance(each, dict) and _first(each, SEGMENT_IDS) for each in held)
    return bool(_first(value, COMPLETION_IDS) or {"tokens", "response_length"} <= value.keys())


def normalize(value: Any) -> Conversation:
    """Read a row as a trajectory. Raises `RowError`: not_an_object, unknown_dialect, bad_tokens,
    unsupported_content, wrong_type."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    row = {key: field for key, field in value.items() if field is not None}
    token_lists.check_masks(row, (*MASKS, *NO_MARKS))
    parts = [*_parts(row)]
    starts = np.cumsum([0, *(len(part.ids) for part in parts)]).tolist()
    given = GivenTokens(
        np.concatenate([part.ids for part in parts]).astype(np.int32),
        np.concatenate([part.trained for part in parts]),
        np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.ids) for part in parts]),
        "trajectory",
        None,
        tuple(
            Floats(name, start, len(part.ids), values)
            for part, start in zip(parts, starts, strict=False)
            for name, values in part.floats.items()
        ),
        tuple(_texts(row, parts, starts)),
    )
    return token_lists.conversation_of(row, given)


class _Part(NamedTuple):
    """A stretch of tokens by one author: ids int64[t], trained bool[t], numbers by name, and its text."""

    ids: np.ndarray
    trained: np.ndarray
    floats: Mapping[str, Any] = {}
    text: tuple[str, Any] | None = None


def _parts(row: Mapping[str, Any]) -> Iterator[_Part]:
    segments, completion = _segments(row), _first(row, COMPLETION_IDS)
    if segments:
        for number, segment in enumerate(segments):
            yield _segment(segment, f"segment {number}", row)
    elif completion:
        yield from _pair(row, completion)
    elif {"tokens", "response_length"} <= row.keys():
        yield from _counted(row)
    else:
        wanted = "completion_ids, response_ids, tokens and response_length, or segments"
        raise RowError("unknown_dialect", f"the row has no {wanted}")


# ==== Prompt and completion ====


def _pair(row: Mapping[str, Any], completion: str) -> Iterator[_Part]:
    prompt = _first(row, PROMPT_IDS)
    if not prompt:
        raise bad(f"beside '{completion}' is no 'prompt_ids'")
    ids = token_lists.ids(row, prompt)
    yield _Part(ids, np.zeros(len(ids), dtype=bool), text=_text(row, _PROMPT_TEXTS))
    yield _completion(row, token_lists.ids(row, completion))


def _counted(row: Mapping[str, Any]) -> Iterator[_Part]:
    """The parts of a row that says how many of its last tokens are the completion."""
    ids, length = token_lists.ids(row, "tokens"), row["response_length"]
    if type(length) is not int or not 0 <= length <= len(ids):
        raise bad(f"'response_length' is {length!r:.40}, which no {len(ids):,} tokens have")
    first = len(ids) - length
    yield _Part(ids[:first], np.zeros(first, dtype=bool), text=_text(row, _PROMPT_TEXTS))
    yield _completion(row, ids[first:])


def _completion(row: Mapping[str, Any], ids: np.ndarray) -> _Part:
    trained = np.ones(len(ids), dtype=bool)
    for name in (name for name in MASKS if name in row):
        trained &= token_lists.mask(row[name], name, len(ids))
    return _Part(ids, trained, _floats(row), _text(row, _COMPLETION_TEXTS))


def _floats(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that may hold numbers of tokens: lists and numbers; log probabilities by one name."""
    fields = {name: parsed(field) for name, field in row.items() if name not in _OTHERS}
    found = {name: field for name, field in fields.items() if _may_be_numbers(field)}
    known = [name for name in LOGPROBS if name in fields]
    same = [name for name in known if name in _SAME_LOGPROBS or "logprobs" not in known]
    if any(fields[name] != fields[same[0]] or "logprobs" not in known for name in same[1:]):
        raise bad(f"the row has log probabilities in {' and '.join(map(repr, same))}; leave one of them")
    return found | ({"logprobs": fields[known[0]]} if known else {})


_SAME_LOGPROBS = LOGPROBS[:3]
"""Names of one list; the other names may stand beside it, as those of another policy."""

_OTHERS = frozenset({*PROMPT_IDS, *COMPLETION_IDS, *SEGMENT_IDS, *TRAINED, *MASKS, *ID_KEYS, "prompt_mask"})
"""Fields that are no numbers of tokens, though they look so."""


def _may_be_numbers(field: Any) -> bool:
    first = field[0] if isinstance(field, list) and field else field
    return type(first) in (int, float)


# ==== Segments ====


def _segments(row: Mapping[str, Any]) -> Any:
    held = parsed(row.get("segments"))
    return held if isinstance(held, list) else None


def _segment(segment: Any, where: str, row: Mapping[str, Any]) -> _Part:
    if not isinstance(segment, dict):
        raise bad(f"{where} is a JSON {kind(segment)}, not an object")
    segment = {key: field for key, field in segment.items() if field is not None}
    name = _first(segment, SEGMENT_IDS)
    if not name:
        raise bad(f"{where} has no 'ids'")
    try:
        ids = token_lists.ids(segment, name)
        trained = _segment_trained(segment, len(ids))
        of_row = {key: each for key, each in _floats(row).items() if not isinstance(each, list)}
        floats = {**of_row, **_floats(segment)} if trained.any() else {}
    except RowError as error:
        raise RowError(error.reason, f"{where}: {error.detail}") from None
    text = segment.get("text")
    return _Part(ids, trained, floats, None if text is None else (f"{where}.text", text))


def _segment_trained(segment: Mapping[str, Any], length: int) -> np.ndarray:
    """Return which tokens of a segment are trained: by all its marks together, each of which is one for the
    segment or one for each token."""
    scalars = {key: [held] for key, held in segment.items() if not isinstance(held, (list, str))}
    token_lists.check_masks({**segment, **scalars}, KNOWN)
    names = [name for name in dict.fromkeys((*TRAINED, *MASKS)) if name in segment]
    if not names:
        raise bad("it does not say whether it is 'trained': true or false")
    marks = [_segment_mark(parsed(segment[name]), name, length) for name in names]
    return np.asarray(np.logical_and.reduce(marks))


def _segment_mark(held: Any, name: str, length: int) -> np.ndarray:
    if isinstance(held, list):
        return token_lists.mask(held, name, length)
    return np.full(length, token_lists.mask([held], name, 1)[0])


# ==== Texts ====


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of these keys that is not null; empty if none is."""
    return next((name for name in names if row.get(name) is not None), "")


def _text(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any] | None:
    """The text of a part; turns of a chat are none."""
    name = _first(row, names)
    return (name, row[name]) if name and isinstance(row[name], str) else None


def _texts(row: Mapping[str, Any], parts: list[_Part], starts: list[int]) -> Iterator[GivenText]:
    for part, first in zip(parts, starts, strict=False):
        if part.text is not None:
            name, text = part.text
            if not isinstance(text, str):
                raise RowError("wrong_type", f"'{name}' is a JSON {kind(text)}, not a string")
            yield GivenText(name, first, first + len(part.ids), text)
    if isinstance(row.get("text"), str):
        yield GivenText("text", 0, starts[-1], row["text"])
