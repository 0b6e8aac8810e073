"""A finished output as others read it: its manifest, and its shards a batch at a time.

    manifest = load_manifest(Path("out/chats"))
    for shard in shards_of(manifest, "packed"):
        for batch in read_batches(Path("out/chats") / shard["path"]):
            values, offsets = flat(batch.column("input_ids"))

Cost: reading and decoding takes 2 to 5 ns a token and column. A batch has about `BATCH_TOKENS` tokens,
whatever the size of the row groups, so memory is some tens of MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .core.errors import OutputError
from .finished import refuse_url

BATCH_TOKENS = 1 << 20
"""Tokens of a batch, about."""


def load_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of an output; `OutputError` if there is none that can be read."""
    path = out / "manifest.json"
    refuse_url(out)
    if not out.is_dir():
        what = "is a file" if out.exists() else "does not exist"
        raise OutputError(f"{out} {what}; name a directory that premask run has written")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"{out} holds no manifest.json, so it is no output of premask; check the path"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise OutputError(f"{path} cannot be read: {reason}; fetch or write the output again") from None
    if not isinstance(manifest, dict) or not {"contract", "recipe", "shards"} <= manifest.keys():
        raise OutputError(f"{path} is no manifest of premask; check the path")
    return manifest


def splits_of(manifest: Mapping[str, Any]) -> list[str]:
    """Return the splits that an output has; one of the recipe that got no rows is not there.

    >>> splits_of({"recipe": {"splits": {"test": 0.1}}, "shards": [{"path": "packed/test-0.parquet"}]})
    ['train', 'test']
    """
    layout = manifest["recipe"].get("layout", ["packed"])[0]
    others = manifest["recipe"].get("splits", {})
    return ["train", *(split for split in others if shards_of(manifest, layout, split))]


def shards_of(manifest: Mapping[str, Any], kind: str, split: str | None = None) -> list[Mapping[str, Any]]:
    """Return the manifest's lines of one kind (`packed`, `unpacked`, `rejects`, `lineage`), in order; those
    of one split only if it is named (rejects belong to none)."""
    stem = f"{kind}/" if split is None else f"{kind}/{split}-"
    return [shard for shard in manifest["shards"] if shard["path"].startswith(stem)]


def read_batches(
    path: Path, columns: Sequence[str] | None = None, *, tokens: int = BATCH_TOKENS
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard of tokens in batches of about so many tokens, going by the file's average.

    Raises what pyarrow raises if the file cannot be read.
    """
    with pq.ParquetFile(path) as file:
        footer = file.metadata
        each = _values(footer) // max(footer.num_rows, 1)
        size = max(1, tokens // max(each, 1))
        yield from file.iter_batches(batch_size=size, columns=None if columns is None else list(columns))


def _values(footer: Any) -> int:
    """Values of the first column, by the footer."""
    groups = (footer.row_group(i) for i in range(footer.num_row_groups))
    return sum(int(group.column(0).num_values) for group in groups)


class Lists(NamedTuple):
    """A list column, flat: row r holds `values[offsets[r]:offsets[r+1]]`; offsets int64[n+1] start at 0."""

    values: np.ndarray
    offsets: np.ndarray


def flat(column: pa.ListArray) -> Lists:
    """Return a list column without nulls as numpy arrays; copies no values.

    >>> flat(pa.array([[1, 2], [], [3]], pa.list_(pa.int32()))[1:])
    Lists(values=array([3], dtype=int32), offsets=array([0, 0, 1]))
    """
    offsets = column.offsets.to_numpy().astype(np.int64)
    return Lists(column.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])
