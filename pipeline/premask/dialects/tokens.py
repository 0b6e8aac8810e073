"""Rows that are tokens already: ids, and which of them are trained.

    {"input_ids": [...], "labels": [...]}             labels are the id of their token, or -100
    {"input_ids": [...], "loss_mask": [...]}          0 and 1; also assistant_masks, completion_mask, ...
    {"prompt_ids": [...], "completion_ids": [...]}    the completion is trained, by its masks if it has some

    >>> row = {"input_ids": [1, 5, 7, 0], "labels": [-100, -100, 7, -100], "attention_mask": [1, 1, 1, 0]}
    >>> found = normalize(row).given
    >>> found.ids.tolist(), found.trained.tolist()
    ([1, 5, 7], [False, False, True])

Labels and masks are at the place of their token, as Hugging Face models take them, and not shifted. Padding
is left out. A row with several samples is refused: where they begin would be a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.errors import RowError
from ..core.records import Conversation, Floats, GivenTokens
from ..core.text import kind
from . import token_lists
from .cells import parsed
from .token_lists import MASKS, NO_MARKS, ONE_SAMPLE, bad

IDS, LABELS, WEIGHTS = "input_ids", "labels", "loss_weights"

LOGPROBS = (
    *("logprobs", "completion_logprobs", "response_logprobs", "rollout_log_probs", "rollout_logprobs"),
    *("sampling_logprobs", "old_logprobs"),
)
"""Log probabilities of sampled tokens, by their names in engines. Rows that have them are trajectories."""

_OF_PACKS = ("seq_lengths", "seq_lens", "sample_lengths", "cu_seqlens", "cu_seq_lens", "cu_seq_lens_q")
KNOWN = (IDS, LABELS, WEIGHTS, "position_ids", "length", "token_type_ids", *MASKS, *NO_MARKS)
"""Fields of such rows that are read, or say nothing of what is trained."""


def recognize(value: Any) -> bool:
    """Whether the row has ids, and labels or a mask beside them."""
    if not isinstance(value, dict):
        return False
    ids = parsed(value.get(IDS))
    if isinstance(ids, list) and ids:  # entries that are no ids have a reason of their own
        return any(isinstance(parsed(value.get(name)), list) for name in (LABELS, *MASKS))
    is_pair = all(token_lists.is_ids(parsed(value.get(name))) for name in ("prompt_ids", "completion_ids"))
    return is_pair and not any(value.get(name) is not None for name in LOGPROBS)


def normalize(value: Any) -> Conversation:
    """Read a row as tokens. Raises `RowError`: not_an_object, unknown_dialect, bad_tokens,
    unsupported_content, wrong_type."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    row = {key: field for key, field in value.items() if field is not None}
    token_lists.check_masks(row, KNOWN)
    if IDS in row:
        given = _whole(row)
    elif {"prompt_ids", "completion_ids"} <= row.keys():
        given = _pair(row)
    else:
        raise RowError("unknown_dialect", f"the row has no '{IDS}', and not prompt_ids and completion_ids")
    return token_lists.conversation_of(row, given)


def _whole(row: Mapping[str, Any]) -> GivenTokens:
    """Return the tokens of a row with ids for prompt and completion together."""
    token_lists.unpacked_only(row, _OF_PACKS[:3])
    _check_bounds(row)
    ids = token_lists.ids(row, IDS)
    trained = _trained(row, ids)
    real = _real(row, len(ids), trained)
    _check_positions(row, real)
    weights = token_lists.numbers(row[WEIGHTS], WEIGHTS, len(ids))[real] if _has_weights(row) else None
    floats = tuple(
        Floats(name, 0, len(held), held)
        for name, field in row.items()
        if name not in KNOWN and _is_of_tokens(held := parsed(field), len(ids))
    )
    if not real.all():
        keep = np.flatnonzero(real).tolist()
        floats = tuple(
            each._replace(length=len(keep), values=[each.values[i] for i in keep]) for each in floats
        )
    return _given(ids[real], trained[real], weights, floats)


def _is_of_tokens(held: Any, length: int) -> bool:
    """Whether a field is a list of numbers with an entry for each token; null may be one of them."""
    return isinstance(held, list) and len(held) == length > 0 and type(held[0]) in (int, float, type(None))


def _given(
    ids: np.ndarray, trained: np.ndarray, weights: np.ndarray | None, floats: tuple[Floats, ...]
) -> GivenTokens:
    return GivenTokens(ids.astype(np.int32), trained, np.zeros(len(ids), np.int32), "tokens", weights, floats)


def _pair(row: Mapping[str, Any]) -> GivenTokens:
    """Return the tokens of a row with ids of a prompt and a completion."""
    prompt, completion = (token_lists.ids(row, name) for name in ("prompt_ids", "completion_ids"))
    trained = np.ones(len(completion), dtype=bool)
    for name in (name for name in MASKS if name in row):
        trained &= token_lists.mask(row[name], name, len(completion))
    before = np.zeros(len(prompt), dtype=bool)
    return _given(np.concatenate([prompt, completion]), np.concatenate([before, trained]), None, ())


def _has_weights(row: Mapping[str, Any]) -> bool:
    return isinstance(parsed(row.get(WEIGHTS)), list)


def _trained(row: Mapping[str, Any], ids: np.ndarray) -> np.ndarray:
    """Return which tokens are trained: by the labels, else by all masks together."""
    masks = {name: token_lists.mask(row[name], name, len(ids)) for name in MASKS if name in row}
    if LABELS not in row:
        if not masks:
            raise bad(f"beside '{IDS}' are neither '{LABELS}' nor a mask: {', '.join(MASKS)}")
        return np.asarray(np.logical_and.reduce([*masks.values()]))
    trained = token_lists.trained_by(token_lists.integers(row[LABELS], LABELS, len(ids)), ids)
    for name, held in masks.items():
        wrong = np.flatnonzero(trained & ~held)
        if len(wrong):
            raise bad(f"token {wrong[0]} is trained by '{LABELS}', but not by '{name}'")
    return trained


def _real(row: Mapping[str, Any], length: int, trained: np.ndarray) -> np.ndarray:
    """Return which tokens are no padding, by the attention mask, bool[t]."""
    name = "attention_mask"
    if name not in row:
        return np.ones(length, dtype=bool)
    held = token_lists.entries(row[name], name, length)
    if any(type(each) is int and each > 1 for each in held):
        raise bad(f"'{name}' numbers the samples of a packed row; {ONE_SAMPLE}")
    real = token_lists.mask(held, name, length)
    inside = np.flatnonzero(real)
    if len(inside) and not real[inside[0] : inside[-1]].all():
        at = int(inside[0] + np.argmin(real[inside[0] :]))
        raise bad(f"'{name}' is 0 at token {at}, between tokens that are seen; padding is at the ends only")
    wrong = np.flatnonzero(trained & ~real)
    if len(wrong):
        raise bad(f"token {wrong[0]} is trained, but '{name}' is 0 there")
    return real


def _check_positions(row: Mapping[str, Any], real: np.ndarray) -> None:
    """Raise `RowError` unless positions count from 0, as those of one sample do."""
    name = "position_ids"
    if name not in row:
        return
    found = token_lists.integers(row[name], name, len(real))[real]
    wrong = np.flatnonzero(found != np.arange(len(found)))
    if len(wrong):
        what = f"'{name}' is {found[wrong[0]]} at token {wrong[0]}, not {wrong[0]}"
        raise bad(f"{what}: the row holds several samples; {ONE_SAMPLE}")


def _check_bounds(row: Mapping[str, Any]) -> None:
    """Raise `RowError` for a row with several samples, by a list of where they begin."""
    for name in (name for name in _OF_PACKS[3:] if name in row):
        if len(token_lists.entries(row[name], name)) > 2:
            raise bad(f"'{name}' says that the row holds several samples; {ONE_SAMPLE}")
