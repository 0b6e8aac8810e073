"""The records that pass between stages, the Arrow schemas of what is written, and their version.

    Row -> Conversation -> Sample -> TokenBatch -> Samples -> packs in shards
    any of them -> Reject

Everything here is plain data: frozen dataclasses for single things, numpy arrays for batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

CONTRACT_VERSION = 1
"""Version of the output contract; written to the `premask.contract` key of every shard."""

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's and Hugging Face's convention)."""

ROLES = ("system", "developer", "user", "assistant", "tool")
"""The roles a normalized message can have."""

REASONS: Mapping[str, str] = {
    # reading
    "invalid_json": "the line is not valid JSON",
    "not_an_object": "the row is not a JSON object",
    # normalizing
    "unknown_dialect": "the row matches no known conversation format",
    "no_messages": "the conversation has no messages",
    "unknown_role": "a message has a role that is not known",
    "wrong_type": "a field has a type that cannot be read",
    "no_assistant": "the conversation has no assistant turn",
    "empty_assistant": "an assistant turn has no text",
    "unsupported_content": "a message holds something other than text",
    "bad_tool_call": "a tool call cannot be read",
    "unsupported_weight": "a message has a loss weight other than 0 and 1",
    "bad_transcript": "a text cannot be cut into turns for certain",
    "rejected_answer": "the row says that its answer is not one to learn",
    "invalid_text": "the text holds code points that cannot be encoded as UTF-8",
    "duplicate": "the conversation is that of an earlier row",
    # rendering and the mask
    "template_error": "the chat template raised an error",
    "template_unsafe": "the chat template did something the sandbox forbids",
    "template_unstable": "two renders of the same row differ",
    "origin_lost": "the template uses a construct that hides where text came from",
    "content_dropped": "the template does not print the text of an assistant turn",
    "prompt_mismatch": "inference would show the model another prompt than the training text has",
    "boundary_unclear": "the start or end of an assistant turn cannot be proved",
    "control_token": "the content holds a control token of the tokenizer",
    "nothing_trained": "no token of the row would be trained",
    # any
    "crashed": "work on the row ended its process, or raised an error that should not be",
    # encoding and packing
    "too_long": "the sample is longer than max_length",
}
"""Reject reason -> what it means. Every line of the reject ledger has one of these reasons."""


# ==== Input side ====


class Row(NamedTuple):
    """One input row as read: `value` is the parsed object, or None with `error` when it cannot be read.

    `row` counts from 0 within `source`. `original` is the row's text where the source has one (JSONL),
    otherwise None (then the ledger serializes `value`).
    """

    source: str
    row: int
    value: Any
    original: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, whatever dialect it came from.

    `tool_calls` have OpenAI's shape with `arguments` as an object:
    `{"type": "function", "id": ..., "function": {"name": ..., "arguments": {...}}}`.
    `train` is the row's own wish (None = the recipe decides). `extra` holds keys that are passed on to
    the chat template as they are.
    """

    role: str
    content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    train: bool | None = None
    weight: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One input row, normalized. `template_kwargs` are arguments of the chat template for this row."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """One line of the reject ledger; `original` is None for a duplicate, which stands elsewhere, and for a
    row that could not even be read."""

    source: str
    row: int
    id: str | None
    reason: str
    detail: str
    original: str | None


# ==== Rendered side ====


class Origin(NamedTuple):
    """Where a character came from: a message and its field. `TEMPLATE` stands for the template itself.

    `message` is the index into the conversation; -2 stands for the row's tools or template arguments.
    """

    message: int
    role: str
    field: str

    @property
    def label(self) -> str:
        """`template`, or `ROLE:MESSAGE_INDEX`.

        >>> Origin(1, "assistant", "content").label
        'assistant:1'
        """
        if self.message == -1:
            return "template"
        return self.role if self.message < 0 else f"{self.role}:{self.message}"


TEMPLATE = Origin(-1, "template", "")
ARGUMENTS = Origin(-2, "arguments", "")


class Turn(NamedTuple):
    """A trained stretch of a sample: characters `start` to `end` of its text, written by `message`."""

    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One rendered training text, what is trained in it, and where each character came from.

    `runs` are (length in characters, origin) pairs that cover `text` from its start to its end.
    `turns` are sorted and do not overlap. `proof` names how the mask was proved.
    """

    text: str
    turns: tuple[Turn, ...]
    runs: tuple[tuple[int, Origin], ...]
    proof: str


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Token ids of a batch of n samples, flat.

    ids      int32[t]    token ids of all samples, one after another
    offsets  int64[n+1]  sample i is `ids[offsets[i]:offsets[i+1]]`
    starts   int64[t]    first character of each token, within its sample's text
    ends     int64[t]    one past the last character of each token; a token that ends inside a character
                         (bytes of one character spread over several tokens) counts the whole character
    """

    ids: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Segments(NamedTuple):
    """The texts of n samples, cut where another message begins to write and at the edges of trained
    stretches; flat, with sizes in bytes of UTF-8.

    sizes    int64[s]    bytes
    offsets  int64[n+1]  sample i consists of the segments offsets[i] to offsets[i+1]
    roles    int64[s]    who wrote it: 0 the template, else 1 + the index into `ROLES`
    turns    int64[s]    the message whose completion it is part of, -1 if it is not trained
    """

    sizes: np.ndarray
    offsets: np.ndarray
    roles: np.ndarray
    turns: np.ndarray


class ByteTokens(NamedTuple):
    """Token ids of a batch of n samples, flat, each token of a known number of bytes above 0.

    ids      int32[t]    token ids of all samples, one after another
    offsets  int64[n+1]  sample i is `ids[offsets[i]:offsets[i+1]]`
    edges    int64[t+1]  token k covers the bytes edges[k] to edges[k+1] of all texts, one after another
    """

    ids: np.ndarray
    offsets: np.ndarray
    edges: np.ndarray


class Stretches(NamedTuple):
    """The trained stretches of a batch in order, m of them.

    sample   int64[m]  the sample
    message  int64[m]  the message whose completion it is
    first    int64[m]  the first trained token, counted over the batch
    last     int64[m]  one past the last one; not above `first` if no token lies in it
    """

    sample: np.ndarray
    message: np.ndarray
    first: np.ndarray
    last: np.ndarray


# ==== Output side ====


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
none, otherwise the weight of its message, 1 unless the row says another."""

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
"""One rejected row a line: where it stands, why it was rejected, and the row itself as JSON. Duplicates that
were dropped are here, too, without the row: `detail` says which one they equal."""

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


class Samples(NamedTuple):
    """Labelled samples of one window, ready to be packed: the hand-over from labelling to packing.

    ids, labels  int32[t]    flat, all samples one after another
    offsets      int64[n+1]  sample i is `ids[offsets[i]:offsets[i+1]]`
    origin       n rows with the columns of `ORIGIN_SCHEMA`
    weights      float32[t] loss weights, None if the recipe does not want them
    """

    ids: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    origin: pa.RecordBatch
    weights: np.ndarray | None = None


class SampleOrigin(NamedTuple):
    """Where a sample came from: one row of `ORIGIN_SCHEMA`."""

    source: str
    row: int
    id: str | None
    sample: int
    trained_turns: tuple[int, ...]
