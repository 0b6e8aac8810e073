"""A finished output in another form: Arrow as `datasets` saves it to disk, or JSONL.

    export(Path("out/chats"), Path("out/arrow"), form="arrow", layout="unpacked")
    datasets.load_from_disk("out/arrow")["train"]

Some trainers take neither Parquet nor a Hub name: LLaMA-Factory's `tokenized_path` is what `load_from_disk`
reads. Rows of single samples are made from packs if only packs were written, without tokenizing again; they
come in the order of the packs. The reverse needs a run, which decides which samples share a pack.

The target is written as a whole or not at all, and the same output gives the same bytes. Features are those
of the contract, named in a way that all releases of `datasets` read (newer ones write `List`, which those
before 4 do not know). Cost: 15 ns a token and column as Arrow, 65 as JSONL (a shard of
30 M tokens: 1.5 s, and 4 s with two columns); memory is 200 MB above the libraries', whatever the size.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array, offsets_of, runs_of_numbers
from ..core.atomic_files import sha256_file, sync, sync_tree
from ..core.contract import IGNORE_INDEX, LOSS_WEIGHTS, PADDED_LENGTHS, SIDES, TRAINED_MASKS, layout_schema
from ..core.errors import OutputError
from ..core.manifest import Manifest, Shard
from ..output.dataset import BATCH_TOKENS, Dataset, flat, open_dataset
from ..output.read_samples import fitting, sample_sizes

_OF_FLOATS = (LOSS_WEIGHTS.type, pa.list_(pa.float32()))
_JSONL_TOKENS = 1 << 16  # of a batch; as Python objects a token takes a hundred bytes


@dataclass(frozen=True)
class Exported:
    """What was written: rows of a layout, and the columns they have."""

    target: Path
    layout: str
    columns: tuple[str, ...]
    rows: int
    tokens: int


def export(  # noqa: PLR0913  all by keyword but the first two
    out: Path,
    target: Path,
    *,
    form: str,
    layout: str | None = None,
    columns: Sequence[str] | None = None,
    split: str | None = None,
) -> Exported:
    """Write one layout of an output to `target`, by default the packed one if it was written.

    `target` is a directory for `arrow`, a file for `jsonl`. `columns` are written in their order, by default
    all; `split` names one split, by default all are written, which `arrow` alone can hold.

    Raises `OutputError` if the output cannot be read, lacks the layout, the split or a column, if `target`
    exists, or if there are several splits for one file.
    """
    dataset = open_dataset(out)
    manifest, written = dataset.manifest, dataset.layouts
    layout = layout or dataset.layout
    if layout not in written and not SIDES.keys().isdisjoint([layout, dataset.layout]):
        raise OutputError(f"{out} has the layout {dataset.layout} alone, and {layout} cannot be made of it")
    if layout == "packed" and "packed" not in written:
        raise OutputError(
            f"{out} has no packs, and which samples share one is decided in a run: run the recipe with "
            "--layout packed, or export the layout unpacked"
        )
    schema = _schema(layout, manifest.recipe, columns)
    if target.resolve().is_relative_to(out.resolve()):
        raise OutputError(f"{target} is within {out}, which stays as it is: choose another target")
    if os.path.lexists(target) and not (
        not target.is_symlink() and target.is_dir() and form == "arrow" and not any(target.iterdir())
    ):
        raise OutputError(f"{target} exists already; nothing was changed there: choose another target")
    source = layout if layout in written else "packed"
    splits = _splits(dataset, form, split)
    tokens = _JSONL_TOKENS if form == "jsonl" else None
    files: _Files = {}
    for name in splits:
        shards = dataset.shards(source, name)
        _check_shards(dataset, shards)
        files[name] = [_batches(dataset, shard, layout, schema, tokens) for shard in shards]
    try:
        return _write(target, files, form, layout, schema, manifest)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; check space and permissions"
        ) from None


_Files = dict[str, list[Iterator[pa.RecordBatch]]]
"""For each split its shards, each as the batches that are read from it when they are needed."""


def _splits(dataset: Dataset, form: str, split: str | None) -> list[str]:
    """Return the splits to write."""
    out, there = dataset.root, dataset.splits
    if split is not None and split not in there:
        raise OutputError(f"{out} has no split '{split}'; there are {', '.join(there)}")
    if split is None and form == "jsonl" and len(there) > 1:
        raise OutputError(f"{out} has the splits {', '.join(there)}: name the one to write, with --split")
    return there if split is None else [split]


def _schema(layout: str, recipe: Mapping[str, Any], columns: Sequence[str] | None) -> pa.Schema:
    """Return the columns to write, with the names that Arrow gives the items of a list by default."""
    there = layout_schema(layout, recipe)
    names = list(there.names if columns is None else columns)
    for name in names:
        if name not in there.names:
            raise OutputError(
                f"the {layout} layout has no column '{name}'; there are {', '.join(there.names)}"
            )
    if not names or len(set(names)) < len(names):
        raise OutputError("name each column once, and at least one")
    fields = [there.field(name) for name in names]
    return pa.schema(
        [(f.name, pa.list_(f.type.value_type) if pa.types.is_list(f.type) else f.type) for f in fields]
    )


def _check_shards(dataset: Dataset, shards: Sequence[Shard]) -> None:
    """Raise for shards that are not as they were written: Parquet would decode many of them anyway."""
    for shard in shards:
        there = dataset.path(shard.path)
        if there.stat().st_size != shard.bytes or sha256_file(there) != shard.sha256:
            path = dataset.root / shard.path
            raise OutputError(
                f"{path} has changed since the run; fetch it again; see 'premask verify {dataset.root}'"
            )


# ==== Rows ====


def _batches(
    dataset: Dataset, shard: Shard, layout: str, schema: pa.Schema, tokens: int | None
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard in the layout and with the columns that are wanted."""
    needed, same = list(schema.names), shard.kind == layout
    if not same:
        needed = [name for name in needed if name not in {"attention_mask", "length"}]
        sizes = [name for name in _SIZES if name in dataset.schema("packed").names]
        needed = list(dict.fromkeys(["input_ids", "labels", *needed, *sizes]))
    for batch in dataset.batches(shard, needed, tokens=tokens or BATCH_TOKENS):
        if not _is_sound(batch):
            path = dataset.root / shard.path
            raise OutputError(f"{path} is damaged; fetch it again; see 'premask verify {dataset.root}'")
        own = batch if same else unpack(batch)
        yield pa.RecordBatch.from_arrays([own.column(f.name).cast(f.type) for f in schema], schema=schema)


_SIZES = ("seq_lengths", PADDED_LENGTHS.name)


def _is_sound(rows: pa.RecordBatch) -> bool:
    """Whether ids are no negative numbers, and the samples of each pack are as long as the pack."""
    if "input_ids" not in rows.schema.names:
        return True
    ids = flat(rows.column("input_ids"))
    if ids.values.size and ids.values.min() < 0:
        return False
    is_packed = "seq_lengths" in rows.schema.names
    return not is_packed or bool(fitting(rows, np.diff(ids.offsets)).all())


def unpack(packs: pa.RecordBatch) -> pa.RecordBatch:
    """Return the samples of packs as rows of the unpacked layout, without padding; copies no tokens unless
    there is any.

    >>> pack = {"input_ids": [[5, 6, 7, 8]], "labels": [[-100, 6, -100, 8]], "seq_lengths": [[2, 2]]}
    >>> unpack(pa.RecordBatch.from_pydict(pack)).to_pydict()["input_ids"]
    [[5, 6], [7, 8]]
    """
    (lengths, _), (rooms, _) = sample_sizes(packs)
    bounds, lengths = arrow_array(offsets_of(lengths).astype(np.int32)), lengths.astype(np.int32)
    lists = {
        name: flat(packs.column(name)).values
        for name in packs.schema.names
        if name in ("input_ids", "labels", *TRAINED_MASKS) or packs.schema.field(name).type in _OF_FLOATS
    }
    if rooms.sum() > lengths.sum():
        places = runs_of_numbers(offsets_of(rooms)[:-1], lengths)
        lists = {name: each[places] for name, each in lists.items()}
    lists["attention_mask"] = np.ones(int(lengths.sum()), dtype=np.int8)
    columns = {name: pa.ListArray.from_arrays(bounds, arrow_array(each)) for name, each in lists.items()}
    samples = pa.RecordBatch.from_pydict({**columns, "length": arrow_array(lengths)})
    trained = offsets_of(lists["labels"] != IGNORE_INDEX)[offsets_of(lengths)]
    is_sample = np.diff(trained) > 0  # every sample has a token that is trained
    return samples if is_sample.all() else samples.filter(pa.array(is_sample))


# ==== Files ====


def _write(  # noqa: PLR0913  one call
    target: Path,
    files: _Files,
    form: str,
    layout: str,
    schema: pa.Schema,
    manifest: Manifest,
) -> Exported:
    """Write beside the target, then put it in place by a rename. Returns what was written."""
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if form == "jsonl":
            done = scratch / "rows.jsonl"
            rows, tokens = _write_jsonl(done, [batches for each in files.values() for batches in each])
            sync(done)
        else:
            done = scratch / "tree"
            rows, tokens = _write_tree(done, files, layout, schema, manifest)
            sync_tree(done)
        done.rename(target)
        sync(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(target, layout, tuple(schema.names), rows, tokens)


def _write_jsonl(path: Path, files: Iterable[Iterator[pa.RecordBatch]]) -> tuple[int, int]:
    encoder, rows, tokens = msgspec.json.Encoder(), 0, 0
    with path.open("wb") as file:
        for batches in files:
            for batch in batches:
                file.write(encoder.encode_lines(batch.to_pylist()))
                rows, tokens = rows + batch.num_rows, tokens + _tokens(batch)
    return rows, tokens


def _write_tree(
    tree: Path, files: _Files, layout: str, schema: pa.Schema, manifest: Manifest
) -> tuple[int, int]:
    """Write what `DatasetDict.save_to_disk` of `datasets` writes (format: its `arrow_dataset.py`)."""
    counts = [
        _write_split(tree / split, split, each, layout, schema, manifest) for split, each in files.items()
    ]
    _write_text(tree / "dataset_dict.json", {"splits": [*files]})
    return sum(rows for rows, _ in counts), sum(tokens for _, tokens in counts)


def _write_split(  # noqa: PLR0913  one call
    folder: Path,
    split: str,
    files: Sequence[Iterator[pa.RecordBatch]],
    layout: str,
    schema: pa.Schema,
    manifest: Manifest,
) -> tuple[int, int]:
    rows, tokens, count = 0, 0, len(files)
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{count:05d}.arrow" for i in range(count)]
    for name, batches in zip(names, files, strict=True):
        with (folder / name).open("wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows, tokens = rows + batch.num_rows, tokens + _tokens(batch)
    of_split = [split] if split != "train" else []
    identity = json.dumps([manifest.run_key, layout, schema.names, *of_split])
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }
    info = {
        "citation": "",
        "description": "",
        "homepage": "",
        "license": manifest.card.license or "",
    }
    _write_text(folder / "state.json", state)
    _write_text(
        folder / "dataset_info.json", {**info, "features": {f.name: _feature(f.type) for f in schema}}
    )
    return rows, tokens


def _feature(type_: pa.DataType) -> dict[str, Any]:
    """Return a type as `datasets` has it in JSON, in words that all its releases know."""
    if pa.types.is_list(type_):
        return {"feature": _feature(type_.value_type), "_type": "Sequence"}
    return {"dtype": "float32" if type_ == pa.float32() else str(type_), "_type": "Value"}


def _write_text(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _tokens(batch: pa.RecordBatch) -> int:
    """Count the tokens of a batch by its first column with one value for each; 0 if there is none."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == "length":
            return int(column.to_numpy().sum())
        if pa.types.is_list(column.type) and name not in _SIZES:
            return len(flat(column).values)
    return 0
