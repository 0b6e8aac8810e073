"""What is known of a row after the mask, as columns: what the recipe's `keep` asks.

    traits = shaped_traits(batch.shaped, n=len(batch))
    traits.add(at, conversations)                    # for each row without a shape
    table = measured(samples.labels, samples.offsets, of_row, tally, traits)    # the columns of `COLUMNS`

Tokens are those that a run counts anyway: by sample, and by who wrote them (`fitting.count`). Nothing is
counted twice. A row with several samples has their sum.

Cost: 0.3 us a message for the traits, some ns a row for the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array
from ..core.contract import IGNORE_INDEX
from ..core.records import WRITERS, Conversation, Tally
from ..core.shapes import RowShape
from ..dialects.shaped import ShapedRows

TRAITS = ("messages", "assistant_messages", "longest_message", "has_tools", "has_tool_calls", "has_reasoning")
"""What is known of the conversations of a row."""

_WHOLE, _SHARE, _TRUTH = pa.int64(), pa.float64(), pa.bool_()

COLUMNS: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("samples", "tokens", "trained_tokens"), _WHOLE),
    "trained_share": _SHARE,
    "longest_sample": _WHOLE,
    **{f"{writer}_tokens": _WHOLE for writer in WRITERS},
    **{name: _TRUTH if name.startswith("has_") else _WHOLE for name in TRAITS},
}
"""Column of a row -> its type. Rows that lack something have 0 or false."""


class RowTraits(NamedTuple):
    """What the conversations of n rows have: int32[n, 6], a column for each of `TRAITS`. Of a row with
    several conversations, the largest number counts, and what one of them has."""

    values: np.ndarray

    def add(self, at: int, conversations: Sequence[Conversation]) -> None:
        """Set the traits of row `at`, which has no shape, from its conversations."""
        self.values[at] = np.max([_of_conversation(each) for each in conversations], axis=0)

    def cut(self, first: int, last: int) -> RowTraits:
        """Return the traits of rows `first` to `last`."""
        return RowTraits(self.values[first:last])


def shaped_traits(shaped: ShapedRows, n: int) -> RowTraits:
    """Return the traits of a batch of `n` rows, set for those with a shape."""
    values = np.zeros((n, len(TRAITS)), dtype=np.int32)
    if shaped.shapes:
        values[np.asarray(shaped.index)] = [*map(_of_shape, shaped.shapes, shaped.texts)]
    return RowTraits(values)


def _of_shape(shape: RowShape, texts: Sequence[str]) -> tuple[int, ...]:
    messages = shape.messages
    return (
        len(messages),
        sum(each.role == "assistant" for each in messages),
        max(_sizes(shape, texts), default=0),
        bool(shape.tools),
        any(each.calls for each in messages),
        any(each.reasoning for each in messages),
    )


def _sizes(shape: RowShape, texts: Sequence[str]) -> Iterator[int]:
    """Yield the characters of content and reasoning of each message."""
    rest = iter(texts[shape.tools or 0 :])
    for message in shape.messages:
        own = zip(message.slots, islice(rest, len(message.slots)), strict=True)
        yield sum(len(text) for name, text in own if name in ("content", "reasoning"))


def _of_conversation(conversation: Conversation) -> tuple[int, ...]:
    messages = conversation.messages
    return (
        len(messages),
        sum(each.role == "assistant" for each in messages),
        max((len(each.content or "") + len(each.reasoning or "") for each in messages), default=0),
        bool(conversation.tools),
        any(each.tool_calls for each in messages),
        any(each.reasoning is not None for each in messages),
    )


def measured(
    labels: np.ndarray, offsets: np.ndarray, of_row: np.ndarray, tally: Tally, traits: RowTraits
) -> pa.RecordBatch:
    """Return the columns of all n rows, also of those without a sample.

    `labels`, int32[t], are those of k samples, flat, and `offsets`, int64[k+1], say where each begins.
    `of_row`, int64[k], are their rows; `tally` has their tokens by writer.
    """
    n, lengths = len(traits.values), np.diff(offsets)
    trained_before = np.concatenate([[0], np.cumsum(labels != IGNORE_INDEX)])
    tokens = _sums(lengths, of_row, n)
    trained = _sums(np.diff(trained_before[offsets]), of_row, n)
    longest = np.zeros(n, dtype=np.int64)
    np.maximum.at(longest, of_row, lengths)
    columns = {
        "samples": np.bincount(of_row, minlength=n),
        "tokens": tokens,
        "trained_tokens": trained,
        "trained_share": trained / np.maximum(tokens, 1),
        "longest_sample": longest,
        **{f"{who}_tokens": _sums(tally.get(f"tokens_{who}"), of_row, n) for who in WRITERS},
        **dict(zip(TRAITS, traits.values.T, strict=True)),
    }
    arrays = [arrow_array(np.ascontiguousarray(columns[name])).cast(kind) for name, kind in COLUMNS.items()]
    return pa.RecordBatch.from_arrays(arrays, names=list(COLUMNS))


def _sums(values: np.ndarray | None, of_row: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of each row, int64[n]."""
    sums = np.zeros(n, dtype=np.int64)
    if values is not None:
        np.add.at(sums, of_row, values)
    return sums
