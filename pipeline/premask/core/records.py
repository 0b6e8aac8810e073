"""The records that pass between the stages: rows, conversations, samples, tokens, units of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .arrays import offsets_of, runs_of_numbers
from .defaults import MAX_ROW_BYTES
from .roles import ROLES as ROLES  # noqa: PLC0414  recipes take it from there, all else from here


class Row(NamedTuple):
    """One input row as read: `value` is the parsed object, or None with `error` if it cannot be parsed.

    `row` counts from 0 in `source`. `original` is the text of the row if the source has one (JSONL), else
    None; then the reject log serializes `value`. `reason` is the one of the reject log for rows with `error`.
    """

    source: str
    row: int
    value: Any
    original: str | None = None
    error: str | None = None
    reason: str = "invalid_json"


@dataclass(frozen=True, slots=True)
class Parts:
    """The `value` of a row of which a function made several rows, in order. They are one row of the input."""

    rows: tuple[dict[str, Any], ...]


class Stretch(NamedTuple):
    """The author's mark of a part of a content: up to character `end` of it (not included), from the stretch
    before on. None means that the message decides."""

    end: int
    train: bool | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation, from any dialect.

    `tool_calls` have the form of OpenAI, with `arguments` as an object: `{"type": "function", "id": ...,
    "function": {"name": ..., "arguments": {...}}}`. `train` is set by the row; None means that the recipe
    decides. `stretches` are the author's marks of parts of the content, in order; they cover it, or there are
    none. `extra` has keys that are passed to the chat template unchanged.
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
    stretches: tuple[Stretch, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether it has a tool call, or a text or reasoning that is not blank."""
        texts = (self.content, self.reasoning)
        return bool(self.tool_calls) or any(text and not text.isspace() for text in texts)


class Floats(NamedTuple):
    """Numbers that a row gives to `length` of its tokens, from `first` on: a list of them, or one for all.
    They are as the row has them, and not yet checked."""

    name: str
    first: int
    length: int
    values: Any


class GivenText(NamedTuple):
    """What a row says is the text of its tokens `first` to `last`; `name` is where the row has it."""

    name: str
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class GivenTokens:
    """The t tokens of a row that brings its own.

    ids      int32[t]    token ids
    trained  bool[t]     which tokens are trained; the first may be, too, though nothing predicts it
    parts    int32[t]    the part of the row that each token is in, ascending; a trained part is a turn
    proof    one of `PROOFS`
    weights  float32[t]  loss weights, None if all are 1
    floats   numbers of tokens, such as log probabilities
    texts    texts of tokens
    """

    ids: np.ndarray
    trained: np.ndarray
    parts: np.ndarray
    proof: str
    weights: np.ndarray | None = None
    floats: tuple[Floats, ...] = ()
    texts: tuple[GivenText, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation of an input row. `template_kwargs` are template arguments for this row, `weight` is
    the loss weight of the row. With `document`, the row is a text that is trained as a whole; with `given`,
    it is tokens. Both have no messages. `side` is 0 (`CHOSEN`) or 1 (`REJECTED`) if it is a side of a
    preference."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    id: str | None = None
    weight: float | None = None
    document: str | None = None
    side: int | None = None
    given: GivenTokens | None = None

    @property
    def is_chat(self) -> bool:
        """Whether it has messages, which a chat template prints."""
        return self.document is None and self.given is None


CHOSEN, REJECTED = 0, 1
"""The sides of a preference, and the numbers of their samples: the answer to learn, and the other one."""

SIDE_NAMES = ("chosen", "rejected")
"""Their names."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One line of the reject log.

    `original` is the text of the row. It is None for a row that is left out because of others, and for one
    that cannot be read at all.
    """

    source: str
    row: int
    id: str | None
    reason: str
    detail: str
    original: str | None


class Origin(NamedTuple):
    """The origin of a character: a message and its field, or `TEMPLATE`.

    `message` is the index into the conversation; -2 means tool definitions or template arguments of the row.
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


TOOLS = Origin(-2, "tools", "")
"""The tool definitions and template arguments of the row."""


WRITERS = ("template", *ROLES, "tools", "document", "tokens", "mixed")
"""The possible writers of a segment: the template, a message by its role, the tool definitions and template
arguments of the row, a document, a row of tokens, or an unknown message."""


PROOFS = (
    *("inference", "split", "composed", "as-rendered", "generation-tags", "document"),
    *("tokens", "trajectory"),
)
"""How a mask was proved.

inference        against the prompt at inference
split            likewise, with turns of rewritten history in samples of their own
composed         likewise; the text is prompt + completion, put together, because no render shows both
as-rendered      not against inference; the whole render decides
generation-tags  by the tags of the template
document         not at all: the text is trained as a whole
tokens           not at all: the row says which of its tokens are trained
trajectory       likewise; the tokens are those that a model has sampled
"""


NOT_TRAINED = -1
"""The message of a segment that belongs to no completion."""


class Turn(NamedTuple):
    """A trained span of a sample: characters `start` to `end` of its text, written by `message`."""

    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One rendered training text, with its trained spans and the origin of each character.

    text     the rendered text
    turns    trained spans, sorted, without overlap
    runs     (length in characters, origin) pairs that cover the text
    proof    one of `PROOFS`
    weights  (length in characters, loss weight) pairs that cover the text; none if all are 1
    seams    characters where a completion starts or ends, ascending
    counts   what else is to be counted of the conversation, at its first sample
    side     `CHOSEN` or `REJECTED` if it is a side of a preference
    given    its tokens, if the row brings them
    """

    text: str
    turns: tuple[Turn, ...]
    runs: tuple[tuple[int, Origin], ...]
    proof: str
    weights: tuple[tuple[int, float], ...] = ()
    seams: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    side: int | None = None
    given: SampleTokens | None = None


class SampleTokens(NamedTuple):
    """The t tokens of a sample that were not made from its text.

    ids     int32[t]  token ids
    sizes   int64[t]  bytes of the text that each covers, at least 1; they add up to the text
    floats  float32[t] by name: numbers of tokens
    """

    ids: np.ndarray
    sizes: np.ndarray
    floats: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class MaskedTexts:
    """Texts in segments, right after the mask is decided: the fast path and the slow path meet here.

    A segment is a stretch of bytes (UTF-8) with one writer, completely inside or outside a completion. There
    are n samples, of some rows of a batch, and s segments.

    texts     n strings
    rows      int64[n]    the row of each sample in its batch, ascending
    proofs    int8[n]     how its mask was proved, an index into `PROOFS`
    offsets   int64[n+1]  sample i consists of the segments `offsets[i]` to `offsets[i+1]`
    sizes     int64[s]    bytes
    writers   int64[s]    the writer, an index into `WRITERS`
    messages  int64[s]    the message whose completion it belongs to, `NOT_TRAINED` if none
    seams     bool[s]     whether it begins at the edge of a completion (the end of a text is none)
    weights   float32[s]  its loss weight; None if all are 1
    given     the tokens of texts that are not encoded, by the number of the text
    """

    texts: list[str]
    rows: np.ndarray
    proofs: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    writers: np.ndarray
    messages: np.ndarray
    seams: np.ndarray
    weights: np.ndarray | None = None
    given: Mapping[int, SampleTokens] = field(default_factory=dict)

    def joined(self, other: MaskedTexts) -> MaskedTexts:
        """Return the samples of both, concatenated."""
        weights = None
        if self.weights is not None or other.weights is not None:
            ones = [np.ones(len(each.sizes), dtype=np.float32) for each in (self, other)]
            both = zip((self.weights, other.weights), ones, strict=True)
            weights = np.concatenate([one if own is None else own for own, one in both])
        return MaskedTexts(
            self.texts + other.texts,
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.proofs, other.proofs]),
            np.concatenate([self.offsets, other.offsets[1:] + self.offsets[-1]]),
            np.concatenate([self.sizes, other.sizes]),
            np.concatenate([self.writers, other.writers]),
            np.concatenate([self.messages, other.messages]),
            np.concatenate([self.seams, other.seams]),
            weights,
            {**self.given, **{len(self.texts) + i: each for i, each in other.given.items()}},
        )

    def cut(self, first: int, last: int) -> MaskedTexts:
        """Return samples `first` to `last`; copies no segments."""
        if first == 0 and last == len(self.texts):
            return self
        own = slice(self.offsets[first], self.offsets[last])
        return MaskedTexts(
            self.texts[first:last],
            self.rows[first:last],
            self.proofs[first:last],
            self.offsets[first : last + 1] - self.offsets[first],
            self.sizes[own],
            self.writers[own],
            self.messages[own],
            self.seams[own],
            None if self.weights is None else self.weights[own],
            {i - first: each for i, each in self.given.items() if first <= i < last},
        )

    def taken(self, order: np.ndarray) -> MaskedTexts:
        """Return samples by their numbers, int64[n]."""
        counts = np.diff(self.offsets)[order]
        segments = runs_of_numbers(self.offsets[order], counts)
        return MaskedTexts(
            [self.texts[i] for i in order.tolist()],
            self.rows[order],
            self.proofs[order],
            offsets_of(counts),
            self.sizes[segments],
            self.writers[segments],
            self.messages[segments],
            self.seams[segments],
            None if self.weights is None else self.weights[segments],
            self.given and {at: self.given[i] for at, i in enumerate(order.tolist()) if i in self.given},
        )


class Tokens(NamedTuple):
    """Token ids of n texts, flat, with the bytes that they cover.

    Bytes are counted over all texts. `starts` and `ends` never decrease. A token that covers no text is
    empty.

    ids      int32[t]    token ids of all texts, concatenated
    offsets  int64[n+1]  text i is `ids[offsets[i]:offsets[i+1]]`
    starts   int64[t]    first byte of each token
    ends     int64[t]    one past its last byte
    """

    ids: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Labels(NamedTuple):
    """Labels of n texts, flat, and the m trained spans that they come from, in order.

    labels          int32[t]    the token id if the token is trained, else `IGNORE_INDEX`
    trained_before  int32[t+1]  number of trained tokens before each token, and in all
    straddling      int64[n]    number of straddling tokens; they are not trained
    sample          int64[m]    the text of a stretch
    message         int64[m]    the message whose completion it is
    first           int64[m]    its first token, counted over all texts
    last            int64[m]    one past its last token; not above `first` if no token is in it
    weights         float32[t]  loss weight of each token, trained or not; None if all are 1
    """

    labels: np.ndarray
    trained_before: np.ndarray
    straddling: np.ndarray
    sample: np.ndarray
    message: np.ndarray
    first: np.ndarray
    last: np.ndarray
    weights: np.ndarray | None = None


class Samples(NamedTuple):
    """Labelled samples, ready to be packed.

    ids, labels  int32[t]    flat, all samples concatenated
    offsets      int64[n+1]  sample i is `ids[offsets[i]:offsets[i+1]]`
    origin       n rows with the columns of `ORIGIN_SCHEMA`
    floats       float32[t] by name: loss weights and token columns, those that the recipe keeps
    """

    ids: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    origin: pa.RecordBatch
    floats: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def weights(self) -> np.ndarray | None:
        """The loss weights, float32[t]; None if the recipe does not keep them."""
        return self.floats.get("loss_weights")


class SampleOrigin(NamedTuple):
    """The origin of a sample: one row of `ORIGIN_SCHEMA`."""

    source: str
    row: int
    id: str | None
    sample: int
    trained_turns: tuple[int, ...]


class Kept(NamedTuple):
    """What is read of a damaged file: its first `size` bytes, decompressed, and then `end`."""

    size: int
    end: str = ""


class At(NamedTuple):
    """Where the bytes of a source are: a path, or a URL that is streamed.

    `version` is the version that was inspected, empty if the store does not report one. `kept` says what is
    read of a damaged file, None if it is read to its end.
    """

    path: str
    version: str = ""
    kept: Kept | None = None


class Salvage(NamedTuple):
    """What was lost of a damaged file of `bytes`: it ends within row `row`, and its last `lost` bytes
    (decompressed), from byte `byte` on, are not read."""

    bytes: int
    row: int
    byte: int
    lost: int


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """The properties of a source file.

    rows           lines of uncompressed JSONL (including blank ones), elements of an uncompressed JSON array,
                   or rows of Parquet; None if counting takes a full parse
    bytes          size of the file on disk or in its store; of a damaged one, of what is read of it
    sha256         its hash; None if only the `version` of a store is known
    entry          index of the entry of `recipe.sources` that names the file
    at             where the bytes are
    marks          positions in a JSON array, about every 4 MB: (element, byte after the bracket or comma
                   before it)
    selection      what the entry takes of its rows
    stop           rows from this number on are left out
    left_out       number of these rows, None if they have not been counted
    version        version in the store; empty for a local file
    max_row_bytes  bytes that a row may have
    salvage        what was lost, of a damaged file whose whole rows are read
    delimiter      what separates the cells of CSV, None if its header tells
    """

    source: str
    format: str
    compression: str | None
    bytes: int
    sha256: str | None
    rows: int | None
    entry: int = 0
    at: At | None = None
    marks: tuple[tuple[int, int], ...] = ()
    selection: Selection | None = None
    stop: int | None = None
    left_out: int | None = 0
    version: str = ""
    max_row_bytes: int = MAX_ROW_BYTES
    salvage: Salvage | None = None
    delimiter: str | None = None

    def about(self) -> dict[str, Any]:
        """Return the entry of the file in the manifest: which bytes it had, and what was lost of it."""
        known = {"source": self.source, "bytes": self.bytes, "sha256": self.sha256}
        known |= {"version": self.version} if self.version else {}
        if self.selection is not None and self.selection.map is not None:
            hook = self.selection.map
            known["map"] = {"function": hook.function, "sha256": hook.sha256}
        if self.salvage is None:
            return known
        lost = self.salvage._asdict()
        return {**known, "bytes": lost.pop("bytes"), "salvaged": lost}


Tally = dict[str, np.ndarray]
"""The counts of n samples: name -> int32[n]."""


class Slice(NamedTuple):
    """Consecutive rows of one file. `stop_row` None means up to the end.

    `start_byte` is where line `start_row` begins, and `end_byte` where line `stop_row` would begin. In a JSON
    array, they are the bytes after the bracket or comma before an element. Both are None unless the file is
    uncompressed and its rows are counted.

    `entry` is the index of the entry of `recipe.sources` that names the file, `selection` what it takes of
    the rows, and `at` where the bytes are. A row with more than `max_row_bytes` is not read. `delimiter` is
    what separates the cells of CSV, None if its header tells.
    """

    source: str
    format: str
    compression: str | None
    start_row: int
    stop_row: int | None
    start_byte: int | None
    end_byte: int | None
    entry: int = 0
    at: At | None = None
    selection: Selection | None = None
    max_row_bytes: int = MAX_ROW_BYTES
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """The work that a worker takes at a time; it becomes one shard per split and layout. `number` counts from
    0."""

    number: int
    slices: tuple[Slice, ...]


class Hook(NamedTuple):
    """A function that makes rows of rows: its name, MODULE:FUNCTION, the folder in which its module is sought
    first, and the sha256 of its file."""

    function: str
    folder: str
    sha256: str


class Selection(NamedTuple):
    """The rows that are taken of a source; None takes all.

    where    a condition on the row
    sample   share of the rows that meet it, chosen with `seed`
    columns  columns that are read
    map      the function that makes rows of them, None if they stay as they are
    """

    where: str | None = None
    sample: float | None = None
    seed: int = 0
    columns: tuple[str, ...] | None = None
    map: Hook | None = None


Runs = tuple[tuple[int, Origin], ...]


MIXED = Origin(-3, "mixed", "")
"""Origin of characters that may come from more than one message."""


GENERATED = Origin(-4, "generated", "")
"""Origin of text inside `{% generation %}` tags, in tagged renders."""


def cut(runs: Runs, start: int, stop: int) -> Runs:
    """Return the runs of characters `start` to `stop`.

    >>> cut(((3, TEMPLATE), (4, MIXED)), 2, 5) == ((1, TEMPLATE), (2, MIXED))
    True
    """
    kept, at = [], 0
    for length, origin in runs:
        low, high = max(start, at), min(stop, at + length)
        if low < high:
            kept.append((high - low, origin))
        at += length
        if at >= stop:
            break
    return tuple(kept)


def placed(runs: Runs) -> Iterator[tuple[int, int, Origin]]:
    """Yield runs as (start, end, origin)."""
    at = 0
    for length, origin in runs:
        yield at, at + length, origin
        at += length
