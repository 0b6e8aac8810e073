"""Why a run kept no row: the counts of its reasons, and what the first rejected row says.

    raise RunError(why_nothing(accounts.values(), first_reject(output, records)))

Cost: one line of one reject log is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.text import visible
from ..output.directory import Output
from ..output.shards import UnitRecord, unit_file
from .tasks import Account

_DETAIL = 300  # characters of a detail that are shown


def why_nothing(accounts: Iterable[Account], first: str = "") -> str:
    """Return why no row was kept, by the accounts of all files; `first` is the first rejected row."""
    total = Account()
    for account in accounts:
        total.add(account)
    lost = [(count, reason) for reason, count in total.rejected.most_common()]
    lost += [(count, f"left out by {setting}") for setting, count in total.left_out.most_common()]
    if not total.rows:
        return "the input has no rows; nothing was written"
    why = ", ".join(f"{count} {what}" for count, what in lost)
    if not total.rejected:
        return f"every row was left out ({why}); nothing was written"
    what = "rejected or left out" if total.left_out else "rejected"
    shown = f"{first}; " if first else ""
    return (
        f"every row was {what} ({why}); {shown}nothing was written; 'premask explain' shows each row's reason"
    )


def first_reject(output: Output, records: Sequence[UnitRecord]) -> str:
    """Return source, row and detail of the first line of the reject log; empty if it cannot be read."""
    for number, record in enumerate(records):
        if "rejects" not in record.files:
            continue
        with suppress(OSError, pa.ArrowException):
            file = pq.ParquetFile(unit_file(output.unit(number), "rejects"))
            for batch in file.iter_batches(1, columns=["source", "row", "detail"]):
                line = batch.to_pylist()[0]
                detail = visible(line["detail"])[:_DETAIL]
                return f"{visible(line['source'])} row {line['row']}: {detail}"
    return ""
