"""Rows in memory as files, so that a run on them can be repeated and checked.

    Inputs(Path("out/premask-inputs")).entries([dataset, "more.jsonl", [{"messages": [...]}]])

A file is named by the hash of its content: the same rows have the same name in every process, and are
written once. Nothing in the folder is ever changed. `premask verify` finds the files there again.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.atomic_files import named, sha256_file
from ..core.errors import RecipeError, RowError, SourceError, one_line
from ..running.memory_rows import json_value
from .arrow_types import as_parquet
from .kinds import tables_of

FOLDER = "premask-inputs"
"""Name of the folder beside an output."""

_DIGITS = 16


@dataclass(frozen=True)
class Inputs:
    """The folder of the files. It is made when the first one is written."""

    folder: Path

    def entries(self, sources: Any) -> list[Any]:
        """Return `sources` as a recipe has them. Raises `TypeError` for what can be no source, and
        `SourceError` for rows that cannot be written."""
        return [self._entry(each) for each in _listed(sources)]

    def _entry(self, given: Any) -> Any:
        if isinstance(given, (str, Path)):
            return str(given)
        if not isinstance(given, Mapping) or _is_splits(given):
            return self._file(given)
        if "path" not in given:
            what = "an entry of sources with settings needs a 'path'"
            raise RecipeError(f"premask.run: {what}; a list of rows is one source: sources=[rows]")
        path = given["path"]
        return {**given, "path": str(path) if isinstance(path, (str, Path)) else self._file(path)}

    def _file(self, rows: Any) -> str:
        kind, ending, write = _writer(rows)
        return str(self.add(kind, ending, write))

    def add(self, kind: str, ending: str, write: Callable[[Path], None]) -> Path:
        """Return a file that `write` writes, named by its content."""
        with self._scratch() as scratch:
            write(scratch)
            digest = sha256_file(scratch)
            path = self.folder / f"{kind}-{digest[:_DIGITS]}{ending}"
            _put(scratch, path, digest)
        return path

    def add_folder(self, kind: str, write: Callable[[Path], None]) -> Path:
        """Return a folder whose files `write` writes, named by their names and content."""
        with self._scratch() as scratch:
            write(scratch)
            path = self.folder / f"{kind}-{_hash_of_folder(scratch)[:_DIGITS]}"
            try:
                scratch.replace(path)
            except OSError:
                if not path.is_dir():
                    raise
        return path

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self.folder) as scratch:
                yield Path(scratch) / "new"


def _put(scratch: Path, path: Path, digest: str) -> None:
    """Give a file its name, unless one with the same content has it: another run may be reading that."""
    try:
        path.hardlink_to(scratch)
    except OSError:  # it is there, or the file system has no links
        if not path.is_file() or sha256_file(path) != digest:
            scratch.replace(path)


def _is_splits(given: Any) -> bool:
    """Whether a mapping is a `DatasetDict` or one of streams, and not an entry with settings."""
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(given, (datasets.DatasetDict, datasets.IterableDatasetDict))


def _listed(sources: Any) -> list[Any]:
    """Return sources as a list; a single one may be given by itself."""
    if isinstance(sources, (list, tuple)):
        return list(sources)
    return [sources]


def _hash_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


# ==== Kinds of rows ====


def _writer(rows: Any) -> tuple[str, str, Callable[[Path], None]]:
    """Return what rows are called, the ending of their file, and what writes it."""
    datasets, polars = sys.modules.get("datasets"), sys.modules.get("polars")
    if _is_splits(rows):
        split, kind = next(iter(rows), "train"), type(rows).__name__
        raise TypeError(f"premask.run: a {kind} is several sources; name its splits, such as data[{split!r}]")
    if datasets is not None and isinstance(rows, datasets.Dataset):
        return "dataset", ".parquet", partial(_write_tables, partial(tables_of, rows))
    if datasets is not None and isinstance(rows, datasets.IterableDataset):
        return "stream", ".jsonl", partial(_write_lines, rows)
    if polars is not None and isinstance(rows, polars.DataFrame):
        return "frame", ".parquet", partial(_write_tables, lambda: [rows.to_arrow()])
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        return "rows", ".jsonl", partial(_write_lines, rows)
    what = "a path, a list of rows, a Dataset, IterableDataset or polars DataFrame"
    raise TypeError(f"premask.run: a source is {what}, not {type(rows).__name__}")


def _write_tables(tables: Callable[[], Iterable[pa.Table]], path: Path) -> None:
    writer = None
    for table in map(as_parquet, tables()):
        writer = writer or pq.ParquetWriter(path, table.schema, store_schema=False)
        writer.write_table(table)
    if writer is None:
        raise SourceError(_EMPTY)
    writer.close()


def _write_lines(rows: Iterable[Any], path: Path) -> None:
    number = -1
    with path.open("wb") as file:
        for number, row in enumerate(rows):
            file.write(_line(number, row))
    if number < 0:
        raise SourceError(_EMPTY)


_NO_JSON = (TypeError, ValueError, RecursionError)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _wrong_key(row: Any) -> str:
    """Return the key of a row whose value is no JSON, as messages name it."""
    for key, held in row.items() if isinstance(row, Mapping) else ():
        try:
            _json(held)
        except _NO_JSON:
            return f", key {key!r:.40},"
    return ""


_EMPTY = "premask.run: a source is empty; give it at least one row"


def _line(number: int, row: Any) -> bytes:
    """Return a row as a line of JSONL. Raises `SourceError` for a row that is no JSON."""
    try:
        text = _json(json_value(row))
    except (RowError, *_NO_JSON) as error:
        key = _wrong_key(row)
        why = error.detail if isinstance(error, RowError) else one_line(error, 200)
        raise SourceError(
            f"premask.run: row {number}{key} is no JSON: {why}; give texts, numbers, lists "
            "and dicts, or a Dataset"
        ) from None
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return f"{json.dumps(row)}\n".encode()
