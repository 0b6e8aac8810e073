"""Arrow tables in memory with the types that Parquet gives back, so that they are read as files are."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

_OTHERS = ("dictionary<", "extension<", "_view", "large_")
"""Types, or parts of their names, that a reader of Parquet does not have to know."""


def as_parquet(table: pa.Table) -> pa.Table:
    """Return a table as it comes back from a Parquet file; most are returned as they are."""
    if not any(word in str(table.schema) for word in _OTHERS):
        return table
    held = io.BytesIO()
    pq.write_table(table, held, store_schema=False)
    return pq.read_table(held)
