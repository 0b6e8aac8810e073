"""Labelled rows on disk, so that other runs on the same rows do not tokenize them again.

    cache = RowCache(Path(recipe.cache))
    for batch in cache.batches(key, lambda: label(piece)):      # labels and writes, or reads

A file holds the rows of one slice of the input, before any are chosen or packed. Runs that differ only in
splits, repeats, layouts or duplicates share it. Its name is a hash of everything that decides its content
(`slice_key`). A file that cannot be read, or that another user can have written, is written again. No file is
ever removed: delete the directory to free the space.

Cost: writing takes 20 ns a token, reading 6 ns; 3 bytes a token.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array
from ..core.atomic_files import named, sync
from ..core.contract import REJECT_SCHEMA
from ..core.locks import lock_file
from ..core.private_files import changeable, make_private
from ..core.recipe import OTHER_KEYS, Recipe
from ..core.records import Reject, Samples
from ..core.source_entry import Source
from ..core.versions import code_hash
from ..output.identity import RunIdentity
from ..output.shards import reject_table
from .batches import LabelledBatch
from .duplicates import HASH_BYTES, RowKeys

_CHOOSING = {"duplicates", "near_duplicates", "decontaminate", "splits", "seed"}
_LAYING_OUT = {"layout", "pad_rows", "extra_columns", "pack_window", "unit_rows"}
"""Recipe keys that choose among labelled rows or lay them out, but do not change them."""


def slice_key(identity: RunIdentity, recipe: Recipe, entry: Source, about_slice: Sequence[Any]) -> str:
    """Return the hash of everything that decides how the rows of a slice are labelled.

    `about_slice` is the file with its sha256 or version, the rows and the dialect.
    """
    left_out = (OTHER_KEYS - {"engine", "verify"}) | _CHOOSING | _LAYING_OUT | {"sources"}
    data = {
        "code": code_hash(),
        "run": [identity.tokenizer, identity.template, identity.versions],
        "recipe": recipe.model_dump(mode="json", exclude=set(left_out)),
        "seed": recipe.seed if entry.sample is not None else 0,
        "entry": entry.model_copy(update={"path": "", "repeat": 1.0}).model_dump(mode="json"),
        "slice": list(about_slice),
    }
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


class RowCache:
    """A directory of labelled rows. Raises `OutputError` if it cannot be written, or others can write it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def batches(self, key: str, label: Callable[[], Iterable[LabelledBatch]]) -> Iterator[LabelledBatch]:
        """Yield the batches of a slice: those cached under `key`, else those of `label`.

        The batches of `label` are cached once all of them have been taken.
        """
        path, done = self._directory / key[:2] / f"{key}.arrow", 0
        try:
            if changeable(path, self._directory) is not None:
                raise PermissionError(path)
            for batch in read_rows(path):
                yield batch
                done += 1
        except _UNREADABLE:
            yield from islice(self._keep(path, label()), done, None)

    def _keep(self, path: Path, batches: Iterable[LabelledBatch]) -> Iterator[LabelledBatch]:
        with named(self._directory):
            make_private(path.parent, self._directory)
            _remove_left_over(path)
            file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.")
            lock_file(file)  # the lock shows that a process is writing it
            scratch, sink = Path(name), pa.OSFile(name, "wb")
        try:
            writer: pa.ipc.RecordBatchFileWriter | None = None
            for batch in batches:
                row = as_row(batch)
                with named(self._directory):
                    writer = writer or pa.ipc.new_file(sink, row.schema, options=_OPTIONS)
                    writer.write_batch(row)
                yield batch
            with named(self._directory):
                (writer or pa.ipc.new_file(sink, pa.schema([]))).close()
                sink.close()
                sync(scratch)
                scratch.rename(path)
        finally:
            with suppress(OSError):
                sink.close()
            scratch.unlink(missing_ok=True)
            os.close(file)


def _remove_left_over(path: Path) -> None:
    """Remove the scratch files of processes that were killed while they wrote this file."""
    for each in path.parent.glob(f".{path.stem}.*"):
        with suppress(OSError), each.open("rb") as file:  # another process may have removed it
            if lock_file(file.fileno(), wait_s=0):  # it is locked while it is being written
                each.unlink()


_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")
_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, TypeError)
"""What reading raises if there is no file, or a damaged one."""


def read_rows(path: Path) -> Iterator[LabelledBatch]:
    """Yield the batches of a file. It is not mapped into memory: a read error would kill the process."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as cached:
        for i in range(cached.num_record_batches):
            yield _from_arrow(cached.get_batch(i))


# ==== A batch as a row of lists ====


def as_row(batch: LabelledBatch) -> pa.RecordBatch:
    """Return a batch as one row: each of its arrays is one list."""
    samples, keys = batch.samples, batch.keys
    if keys is None:
        raise ValueError("only rows with keys can be cached")
    about = {"left_out": dict(batch.left_out), "verified": batch.verified, "tally": [*batch.tally]}
    columns = {
        "about": pa.array([json.dumps(about)]),
        "numbers": _list(arrow_array(batch.numbers)),
        "of_row": _list(arrow_array(batch.of_row)),
        "tokens": _list(arrow_array(samples.ids)),
        "labels": _list(arrow_array(samples.labels)),
        "offsets": _list(arrow_array(samples.offsets)),
        "weights": _list(arrow_array(_or_none(samples.weights))),
        "origin": _list(samples.origin.to_struct_array()),
        "rejects": _list(reject_table(batch.rejects).to_struct_array()),
        "tally": _list(arrow_array(np.concatenate([_or_none(None, np.int32), *batch.tally.values()]))),
        "hashes": _list(arrow_array(keys.hashes.reshape(-1))),
        "known": _list(arrow_array(keys.known.view(np.uint8))),
        "groups": _list(arrow_array(keys.groups)),
        "ids": _list(pa.array(keys.ids, pa.string())),
    }
    return pa.RecordBatch.from_pydict(columns)


def _list(values: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def _or_none(values: np.ndarray | None, dtype: type[np.generic] = np.float32) -> np.ndarray:
    return np.zeros(0, dtype=dtype) if values is None else values


def _from_arrow(row: pa.RecordBatch) -> LabelledBatch:
    column = {name: row.column(name).values for name in row.schema.names if name != "about"}
    array = {name: values.to_numpy() for name, values in column.items() if not _is_nested(values)}
    about = json.loads(row.column("about")[0].as_py())
    n, samples = len(array["numbers"]), len(array["of_row"])
    weights = array["weights"] if len(array["weights"]) == len(array["tokens"]) > 0 else None
    labelled = Samples(
        array["tokens"], array["labels"], array["offsets"], _batch_of(column["origin"]), weights
    )
    rejects = _batch_of(column["rejects"]).to_pylist()
    keys = RowKeys(
        array["hashes"].reshape(n, HASH_BYTES),
        array["known"].view(bool),
        array["groups"],
        column["ids"].to_pylist(),
    )
    tally = dict(zip(about["tally"], array["tally"].reshape(-1, samples), strict=True)) if samples else {}
    return LabelledBatch(
        array["numbers"],
        labelled,
        array["of_row"],
        [Reject(**{field.name: each[field.name] for field in REJECT_SCHEMA}) for each in rejects],
        tally,
        about["verified"],
        keys,
        about["left_out"],
    )


def _is_nested(values: pa.Array) -> bool:
    return bool(pa.types.is_struct(values.type) or pa.types.is_string(values.type))


def _batch_of(rows: pa.StructArray) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(rows)
