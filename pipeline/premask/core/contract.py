"""The output contract: the columns of every file that is written, the reasons of rejects, and the version.

    schema_of("packed", recipe)         # the columns of packs, with those that a recipe adds

Whoever reads an output relies on this. The manifest belongs to it, too (`manifest.py`), and `schemas.py`
publishes all of it as JSON Schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

CONTRACT_VERSION = 1
"""Version of the output contract; written to the `premask.contract` key of every shard."""

BESIDE_OWN_ROW = "samples_beside_own_row"
"""The count of samples that share a pack with an earlier one of their row; there is none in outputs of older
versions, and without `shuffle` and copies."""

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's and Hugging Face's convention)."""


def labels_of_mask(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the labels that a mask stands for, int32[t]: the id where it is not 0.

    >>> labels_of_mask(np.array([5, 6], np.int32), np.array([0, 1])).tolist()
    [-100, 6]
    """
    return np.where(mask != 0, ids, np.int32(IGNORE_INDEX))


REASONS: Mapping[str, str] = {
    # reading
    "invalid_json": "the line is not valid JSON",
    "not_an_object": "the row is not a JSON object",
    "row_too_large": "the row is larger than max_row_bytes, or holds millions of values",
    "map_error": "the function of map raised an error, or returned no rows",
    "map_timeout": "the function of map took too much time or memory",
    "map_dropped": "the function of map left the row out",
    # normalizing
    "unknown_dialect": "the row matches no known conversation format",
    "no_messages": "the conversation has no messages",
    "unknown_role": "a message has a role that is not known",
    "wrong_type": "a field has a type that cannot be read",
    "no_assistant": "the conversation has no assistant turn",
    "empty_assistant": "no assistant turn has text or a tool call",
    "unsupported_content": "a message holds something other than text",
    "bad_tool_call": "a tool call cannot be read",
    "unsupported_weight": "a row, message or part has a loss weight other than 0 and 1",
    "bad_transcript": "a text cannot be cut into turns for certain",
    "rejected_answer": "the row says that its answer is not one to learn",
    "one_side": "the row has not both sides of a preference, or no label that says which one it has",
    "same_sides": "the chosen and the rejected answer are the same",
    "prompts_differ": "the chosen and the rejected answer have different prompts",
    "invalid_text": "the text holds code points that cannot be encoded as UTF-8",
    "duplicate": "the conversation is that of an earlier row",
    "near_duplicate": "the text is nearly that of an earlier row",
    "contaminated": "the text has text of an evaluation set",
    "not_kept": "the recipe's keep is not true of the row",
    # rendering and the mask
    "template_error": "the chat template raised an error",
    "template_unsafe": "the chat template did something the sandbox forbids",
    "template_unstable": "two renders of the same row differ",
    "origin_lost": "the template uses a construct that hides where text came from",
    "content_dropped": "the template does not print all of a trained turn, or of what the turn answers",
    "prompt_mismatch": "inference would show the model another prompt than the training text has",
    "open_reasoning": "the prompt at inference opens a reasoning block, but the turn has no reasoning",
    "boundary_unclear": "the start or end of an assistant turn cannot be proved",
    "control_token": "the content holds a control token of the tokenizer",
    "nothing_trained": "no token of the row would be trained",
    "bad_tokens": "the token ids, labels or numbers of the row do not fit together, or the tokenizer",
    "text_mismatch": "the token ids of the row do not decode to its text",
    "tokenizer_error": "the tokenizer raised an error, or took too much time or memory, for a text",
    # any
    "crashed": "work on the row ended its process, or raised an error that should not be",
    # encoding and packing
    "too_long": "the sample has more tokens than max_length, or the row too many messages",
}
"""Reject reason -> what it means. Every line of the reject log has one of these reasons."""

LEFT_OUT: Mapping[str, str] = {"map_dropped": "map", "not_kept": "keep"}
"""Reason of a line of the reject log -> the setting that left the row out. Such rows are not rejected:
they count as left out by the setting."""

NOT_REJECTED = frozenset({"duplicate", *LEFT_OUT})
"""Reasons of lines whose rows do not count as rejected."""


def listed(left_out: Mapping[str, int]) -> dict[str, int]:
    """Return how many lines of the reject log have each reason of `LEFT_OUT`, by what settings left out.

    >>> listed({"keep": 3, "where": 5})
    {'not_kept': 3}
    """
    return {reason: left_out[key] for reason, key in LEFT_OUT.items() if left_out.get(key)}


# ==== Columns ====


def _list(name: str, of: pa.DataType) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("element", of)))


PACKED_SCHEMA = pa.schema(
    [
        _list("input_ids", pa.int32()),
        _list("labels", pa.int32()),
        _list("position_ids", pa.int32()),
        _list("seq_lengths", pa.int32()),
        pa.field("length", pa.int32()),
    ]
)
"""One pack a row: whole samples back to back. `position_ids` restart at 0 with each sample, `seq_lengths` are
the samples' lengths, `length` their sum; the first label of each sample is -100. No padding, unless the
recipe wants it (`pad_rows`): then a last "sample" of pad tokens, all with label -100, fills the pack up."""


UNPACKED_SCHEMA = pa.schema(
    [
        _list("input_ids", pa.int32()),
        _list("labels", pa.int32()),
        _list("attention_mask", pa.int8()),
        pa.field("length", pa.int32()),
    ]
)
"""One sample a row, no padding; `attention_mask` is all ones."""


def _side(name: str) -> list[pa.Field]:
    return [_list(f"{name}_ids", pa.int32()), _list(f"{name}_mask", pa.int8())]


SIDES: Mapping[str, tuple[str, ...]] = {"preference": ("chosen", "rejected"), "kto": ("completion",)}
"""Layout of preferences -> the sides that a row holds. Each side is a sample: the prompt and the side."""


PREFERENCE_SCHEMA = pa.schema(
    [
        _list("prompt_ids", pa.int32()),
        *_side("chosen"),
        *_side("rejected"),
        pa.field("length", pa.int32()),
    ]
)
"""One pair a row, with the names of TRL: both texts begin with `prompt_ids`, the beginning that they have in
common before their first trained token. A mask is 1 where the loss falls, else 0. `length` is that of the
longer text."""


KTO_SCHEMA = pa.schema(
    [
        _list("prompt_ids", pa.int32()),
        *_side("completion"),
        pa.field("label", pa.bool_()),
        pa.field("length", pa.int32()),
    ]
)
"""One answer a row, likewise; `label` says whether it is a good one."""


LOSS_WEIGHTS = _list("loss_weights", pa.float32())
"""Optional last column of both layouts (recipe: `loss_weights`): what a token's loss counts, 0 where it has
none, otherwise the weight of its row times that of its message or part, 1 unless the row says another. It may
be 0 or negative where a token is trained. With `per_sample` it is divided by the sample's trained tokens."""


TRAINED_MASKS = {name: _list(name, pa.int8()) for name in ("assistant_masks", "completion_mask")}
"""Optional last columns of both layouts (recipe: `extra_columns`): 1 where `labels` holds an id, else 0. For
trainers that do not read `labels`; both say the same under the two names that are in use."""


def token_column(name: str) -> pa.Field:
    """Optional column of the layouts of samples (recipe: `token_columns`): a number of each token, such as
    the log probability with which it was sampled, as its row gives it. It is 0 where a token is not trained,
    and NaN where one is trained whose row gives none."""
    return _list(name, pa.float32())


PADDED_LENGTHS = _list("seq_lengths_padded", pa.int32())
"""Optional column of packs (recipe: `pad_to_multiple`): the samples' lengths with the pad tokens that follow
each, all multiples of that number. `seq_lengths` are then those without pad tokens, and `length` is the sum
of these. `position_ids` count on over the pad tokens, whose labels are -100."""


def row_schema(
    layout: str,
    *,
    loss_weights: bool = False,
    token_columns: Sequence[str] = (),
    extra_columns: Sequence[str] = (),
    multiples: bool = False,
) -> pa.Schema:
    """The columns of a layout, with those that a recipe adds to it; `multiples` is whether samples of packs
    are padded to multiples of a number.

    >>> row_schema("unpacked", extra_columns=["completion_mask"]).names
    ['input_ids', 'labels', 'attention_mask', 'length', 'completion_mask']
    """
    schema = _LAYOUT_SCHEMAS[layout]
    if multiples and layout == "packed":
        schema = schema.insert(schema.get_field_index("seq_lengths") + 1, PADDED_LENGTHS)
    added = [*([LOSS_WEIGHTS] if loss_weights else []), *map(token_column, token_columns)]
    for field_ in [*added, *(TRAINED_MASKS[name] for name in extra_columns)]:
        schema = schema.append(field_)
    return schema


_LAYOUT_SCHEMAS = {
    "packed": PACKED_SCHEMA,
    "unpacked": UNPACKED_SCHEMA,
    "preference": PREFERENCE_SCHEMA,
    "kto": KTO_SCHEMA,
}


def layout_schema(layout: str, recipe: Mapping[str, Any]) -> pa.Schema:
    """Return the columns that a layout has by a recipe, as a manifest shows it.

    >>> layout_schema("unpacked", {"loss_weights": True}).names
    ['input_ids', 'labels', 'attention_mask', 'length', 'loss_weights']
    """
    weights, extra = bool(recipe.get("loss_weights")), recipe.get("extra_columns", ())
    return row_schema(
        layout,
        loss_weights=weights,
        token_columns=recipe.get("token_columns") or (),
        extra_columns=extra,
        multiples=bool(recipe.get("pad_to_multiple")),
    )


REJECT_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("original", pa.string()),
    ]
)
"""One rejected row a line: where it is, why it was rejected, and the row itself as JSON. Rows
that were left out because of others are here, too, without the row: `detail` says which one they are like."""


LINEAGE_SCHEMA = pa.schema(
    [
        pa.field("pack", pa.int64()),
        pa.field("offset", pa.int32()),
        pa.field("length", pa.int32()),
        pa.field("source", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("sample", pa.int32()),
        _list("trained_turns", pa.int32()),
        pa.field("split", pa.string()),
    ]
)
"""One sample a line: `pack` counts over all packed shards of a split in order, `offset` and `length` are
tokens within the pack; `sample` counts the samples of one input row, `trained_turns` are message indices. A
row that its source's `repeat` takes twice has each of its lines twice. In layouts of preferences `pack` is
the row, `sample` is 0 for a chosen answer and 1 for a rejected one, and `offset` counts as if the texts of
the row lay one behind the other, each with its prompt."""


PAD_TOKENS = pa.field("pad_tokens", pa.int32())
"""Optional last column of the lineage (recipe: `pad_to_multiple`): pad tokens that follow the sample."""


def lineage_schema(*, multiples: bool = False) -> pa.Schema:
    """The columns of the lineage; `multiples` is whether samples are padded to multiples of a number."""
    return LINEAGE_SCHEMA.append(PAD_TOKENS) if multiples else LINEAGE_SCHEMA


ORIGIN_SCHEMA = pa.schema(
    [LINEAGE_SCHEMA.field(name) for name in ("source", "row", "id", "sample", "trained_turns")]
)
"""Where samples came from, one a line: their lineage before they have places in packs."""


def schema_of(kind: str, recipe: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a kind of file (a layout, `lineage`, `rejects`) by a recipe, as a manifest shows
    it."""
    lineage = lineage_schema(multiples=bool(recipe.get("pad_to_multiple")))
    others = {"lineage": lineage, "rejects": REJECT_SCHEMA}
    return others[kind] if kind in others else layout_schema(kind, recipe)
