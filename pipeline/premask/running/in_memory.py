"""Rows that are in memory, labelled as a run labels those of a file.

    for batch in label_rows(batches, [{"messages": [...]}], "openai", name="train"):
        print(batch.samples.ids, batch.rejects)

Objects are read like lines of JSONL (`memory_rows.py`), Arrow tables like Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..dialects import Form
from ..fast.plain_batches import BATCH_ROWS, batch_of
from ..sources.blocks import block_of
from ..sources.table_blocks import table_block
from .batches import BatchLabeller, LabelledBatch
from .memory_rows import memory_rows


def label_rows(
    batches: BatchLabeller, values: Sequence[Any], form: Form, *, name: str, first: int = 0
) -> Iterator[LabelledBatch]:
    """Yield objects as labelled batches; `name` is their source, and `first` the number of the first one."""
    for start in range(0, len(values), BATCH_ROWS):
        rows = memory_rows(name, first + start, values[start : start + BATCH_ROWS])
        yield from batches.parts(batch_of(block_of(name, rows), form), form)


def label_table(
    batches: BatchLabeller, table: pa.Table, form: Form, *, name: str, first: int = 0
) -> Iterator[LabelledBatch]:
    """Yield the rows of an Arrow table as labelled batches, as `label_rows` does."""
    for batch in table.to_batches(max_chunksize=BATCH_ROWS):
        numbers = np.arange(first, first + batch.num_rows)
        yield from batches.parts(batch_of(table_block(name, numbers, batch), form), form)
        first += batch.num_rows
