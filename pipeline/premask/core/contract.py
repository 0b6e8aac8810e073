"""The output contract: the columns of every file that is written, the reasons of rejects, and the version.

    schema_of("packed", recipe)         # the columns of packs, with those that a recipe adds

Whoever reads an output relies on this. The manifest belongs to it, too (`manifest.py`), and `schemas.py`
publishes all of it as JSON Schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

CONTRACT_VERSION = 1
"""Version of the output contract; written to the `premask.contract` key of every shard."""

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's and Hugging Face's convention)."""

REASONS: Mapping[str, str] = {
    # reading
    "invalid_json": "the line is not valid JSON",
    "not_an_object": "the row is not a JSON object",
    "row_too_large": "the row is larger than max_row_bytes, or holds millions of values",
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
    "invalid_text": "the text holds code points that cannot be encoded as UTF-8",
    "duplicate": "the conversation is that of an earlier row",
    "near_duplicate": "the text is nearly that of an earlier row",
    "contaminated": "the text has text of an evaluation set",
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
    "tokenizer_error": "the tokenizer raised an error, or took too much time or memory, for a text",
    # any
    "crashed": "work on the row ended its process, or raised an error that should not be",
    # encoding and packing
    "too_long": "the sample has more tokens than max_length, or the row too many messages",
}
"""Reject reason -> what it means. Every line of the reject log has one of these reasons."""


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


LOSS_WEIGHTS = _list("loss_weights", pa.float32())
"""Optional last column of both layouts (recipe: `loss_weights`): what a token's loss counts, 0 where it has
none, otherwise the weight of its row times that of its message or part, 1 unless the row says another. It may
be 0 or negative where a token is trained. With `per_sample` it is divided by the sample's trained tokens."""


TRAINED_MASKS = {name: _list(name, pa.int8()) for name in ("assistant_masks", "completion_mask")}
"""Optional last columns of both layouts (recipe: `extra_columns`): 1 where `labels` holds an id, else 0. For
trainers that do not read `labels`; both say the same under the two names that are in use."""


def row_schema(layout: str, *, loss_weights: bool = False, extra_columns: Sequence[str] = ()) -> pa.Schema:
    """The columns of a layout, `packed` or `unpacked`, with those that a recipe adds to it.

    >>> row_schema("unpacked", extra_columns=["completion_mask"]).names
    ['input_ids', 'labels', 'attention_mask', 'length', 'completion_mask']
    """
    schema = PACKED_SCHEMA if layout == "packed" else UNPACKED_SCHEMA
    added = [LOSS_WEIGHTS] if loss_weights else []
    for field_ in [*added, *(TRAINED_MASKS[name] for name in extra_columns)]:
        schema = schema.append(field_)
    return schema


def layout_schema(layout: str, recipe: Mapping[str, Any]) -> pa.Schema:
    """Return the columns that a layout has by a recipe, as a manifest shows it.

    >>> layout_schema("unpacked", {"loss_weights": True}).names
    ['input_ids', 'labels', 'attention_mask', 'length', 'loss_weights']
    """
    weights, extra = bool(recipe.get("loss_weights")), recipe.get("extra_columns", ())
    return row_schema(layout, loss_weights=weights, extra_columns=extra)


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
row that its source's `repeat` takes twice has each of its lines twice."""


ORIGIN_SCHEMA = pa.schema(
    [LINEAGE_SCHEMA.field(name) for name in ("source", "row", "id", "sample", "trained_turns")]
)
"""Where samples came from, one a line: their lineage before they have places in packs."""


def schema_of(kind: str, recipe: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a kind of file (`packed`, `unpacked`, `lineage`, `rejects`) by a recipe, as a
    manifest shows it."""
    others = {"lineage": LINEAGE_SCHEMA, "rejects": REJECT_SCHEMA}
    return others[kind] if kind in others else layout_schema(kind, recipe)
