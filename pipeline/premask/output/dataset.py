"""A finished output, read and checked in one place.

    dataset = open_dataset(Path("out/chats"))           # OutputError if there is none that can be read
    dataset.manifest.counts.kept                        # the manifest, typed (core/manifest.py)
    dataset.splits, dataset.layouts                     # ["train", "test"], ["packed"]
    for shard in dataset.shards("packed", "train"):
        for batch in dataset.batches(shard, ["input_ids"]):
            values, offsets = flat(batch.column("input_ids"))
    for batch in dataset.rejects(["source", "row", "reason"]): ...
    for found in dataset.check(): ...                   # every shard against the manifest: files, problems

An output may come from a stranger, so nothing is used before it is checked: `parse_manifest` checks types,
bounds and the form of names, `path` where a name leads and whether a regular file is there
(`core/received_files.py`), `batches` what a shard declares (`parquet_files.py`), `check` what a file holds.
What is to be checked besides belongs into one of these.

Cost: opening takes 10 us a shard. Decoding takes 2 to 5 ns a token and column; a batch has about
`BATCH_TOKENS` tokens, whatever the size of the row groups, so memory is some tens of MB. `check` hashes every
byte once, 0.8 ns each, and reads footers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.atomic_files import sha256_file
from ..core.contract import CONTRACT_VERSION, schema_of
from ..core.errors import OutputError, PushError, one_line
from ..core.manifest import (
    LAYOUTS,
    MANIFEST_BYTES,
    ListedFile,
    Manifest,
    ManifestError,
    Shard,
    parse_manifest,
)
from ..core.received_files import Entry, UnusableFileError, read_bounded, regular_file, walk
from ..core.recipe import Recipe
from .parquet_files import PAGE_BYTES, Footer, open_parquet, runs_of_groups, undone, undone_schema

BATCH_TOKENS = 1 << 20
"""Tokens of a batch, about."""

CARD_BYTES = 1 << 20
"""Bytes of README.md, at most; the head of it is parsed."""

SMALL_BYTES = 1 << 28
"""Bytes of any other file than a shard, at most."""

_FEWEST_VALUES, _MOST_VALUES = (
    1 << 25,
    1 << 27,
)  # in a column of a row group: what any output, and none, may have
_MOST_ROWS = 1 << 27  # of a shard
_LINES, _LINEAGE_PAGE = 1 << 16, 1 << 26  # of a batch of lineage or rejects; bytes of a page of lineage
_BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, IndexError)  # what pyarrow raises
_AT_ONCE = {"rejects": 256, "lineage": _LINES}  # lines of which single ones are picked
_MAY_BE_NULL = {"rejects": {"id", "original"}, "lineage": {"id"}}


class UnreadableError(OutputError):
    """A file of an output that cannot be read; `why` is the cause, `denied` whether it is not allowed."""

    def __init__(self, path: Path, error: Exception) -> None:
        self.why = error.what if isinstance(error, UnusableFileError) else one_line(error, 200)
        self.denied = isinstance(error, PermissionError)
        super().__init__(f"{path} cannot be read: {self.why}; see 'premask verify {path.parent.parent}'")


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file of an output: its path within it, size in bytes, sha256 and git's hash of its content.

    `touched` is its time of change in ns when it was hashed. Git's hash is None for shards: stores that
    keep large files apart know them by their sha256.
    """

    path: str
    local: Path
    bytes: int
    sha256: str
    git: str | None
    touched: int

    def unchanged(self) -> None:
        """Raise `PushError` if the file was written to since it was hashed."""
        try:
            stat = self.local.stat()
        except OSError as error:
            raise PushError(f"{self.local} cannot be read any more: {error.strerror}") from error
        if (stat.st_size, stat.st_mtime_ns) != (self.bytes, self.touched):
            raise PushError(f"{self.local} was changed while it was being pushed; run the command again")


class Problem(NamedTuple):
    """What is wrong with a file of an output; `kind` is one of `missing`, `irregular`, `size`, `sha256`,
    `unreadable`, `footer`, `contract`, `schema`, `picture` and `tokenizer`."""

    kind: str
    file: str
    what: str


class Checked(NamedTuple):
    """A file of the manifest held against its line: the file (None if it is not there, or of another size),
    its rows (those of the manifest if they cannot be counted), and what is wrong."""

    name: str
    file: LocalFile | None
    rows: int
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> bool:
        """Whether its rows can be read, and have the columns of the contract."""
        unusable = {"missing", "irregular", "unreadable", "schema"}
        return not any(each.kind in unusable for each in self.problems)


@dataclass(frozen=True)
class Dataset:
    """A finished output: its folder and its manifest, which is valid."""

    root: Path
    manifest: Manifest

    # ==== What there is ====

    @cached_property
    def layouts(self) -> list[str]:
        """The layouts that were written, `packed` first."""
        return self.manifest.layouts

    @cached_property
    def layout(self) -> str:
        """The layout that is read where one is enough: `packed`, if it was written."""
        return self.layouts[0]

    @cached_property
    def splits(self) -> list[str]:
        """The splits that the output has, `train` first."""
        return self.manifest.splits

    @cached_property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer and its chat template. Raises `OutputError` if it holds anything but
        regular files, more than a tokenizer has, or files that are not those of the manifest."""
        folder = self.root / "tokenizer"
        if folder.is_symlink():
            raise UnusableFileError(folder, "it is a link, and links are not followed")
        size = 0
        for entry in self._of_tokenizer():
            size += regular_file(self.root, entry.name).stat().st_size
        if size > SMALL_BYTES:
            raise UnusableFileError(folder, f"its files have more than {SMALL_BYTES:,} bytes")
        for each in self.manifest.tokenizer_files:
            if not _is_as_listed(regular_file(self.root, each.path), each):
                raise UnusableFileError(self.root / each.path, "it has changed since the run")
        return folder

    def shards(self, kind: str, split: str | None = None) -> list[Shard]:
        """The shards of a kind (`manifest.KINDS`), in order; those of one split if it is named."""
        return self.manifest.shards_of(kind, split)

    def schema(self, kind: str) -> pa.Schema:
        """The columns that shards of a kind have."""
        return schema_of(kind, self.manifest.recipe)

    def recipe(self) -> Recipe:
        """The recipe of the run, with the tokenizer and the chat template of the output."""
        own = {"tokenizer": str(self.tokenizer), "chat_template": None, "output": "-"}
        return Recipe.model_validate({**self.manifest.recipe, **own})

    def path(self, name: str) -> Path:
        """Where a file of the output lies, by a path without links. Raises `OutputError` if it is no regular
        file within the output (in the Hub's cache: of its repo)."""
        return regular_file(self.root, name)

    def card(self) -> Mapping[str, Any] | None:
        """The YAML at the head of README.md; None if there is none that can be read."""
        try:
            return front_matter_of(read_bounded(self.path("README.md"), CARD_BYTES))
        except OutputError:
            return None

    # ==== Rows ====

    def batches(
        self,
        shard: Shard,
        columns: Sequence[str] | None = None,
        *,
        tokens: int = BATCH_TOKENS,
        nulls: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a shard in batches of about so many tokens, by the average of their row groups.
        Lines of lineage and rejects count as one token each.

        Raises `UnreadableError` if the shard cannot be read, has no such columns, or declares what no shard
        has; unless `nulls`, also for a null where the contract has none.
        """
        names = self.schema(shard.kind).names if columns is None else list(columns)
        most = min(tokens, _LINES) if shard.kind in _MAY_BE_NULL else tokens
        optional = set(names) if nulls else _MAY_BE_NULL.get(shard.kind, set())
        with self._reading(shard, names) as (file, footer):
            for groups, each in runs_of_groups(footer, 4 * BATCH_TOKENS):
                size = max(1, most // max(each, 1))
                for read in file.iter_batches(size, row_groups=groups, columns=names):
                    batch = undone(read)
                    _check_batch(batch, shard.kind, optional)
                    yield batch

    def rows(
        self, shard: Shard, numbers: np.ndarray, columns: Sequence[str]
    ) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """Yield some rows of a shard by their numbers in it (int64[n], ascending), in batches, each with the
        numbers of its rows. Only row groups that have some are read. Raises as `batches` does."""
        most = _AT_ONCE.get(shard.kind, BATCH_TOKENS)
        with self._reading(shard, columns) as (file, footer):
            for number, first, wanted in _groups_with(footer, numbers):
                group = footer.groups[number]
                size, at = max(1, most * max(group.rows, 1) // max(group.columns[0].values, 1)), first
                reads = file.iter_batches(size, row_groups=[number], columns=list(columns))
                for read in reads:
                    own = wanted[(wanted >= at) & (wanted < at + read.num_rows)]
                    if len(own):
                        batch = undone(read.take(pa.array(own - at)))
                        _check_batch(batch, shard.kind, _MAY_BE_NULL.get(shard.kind, set()))
                        yield own, batch
                    at += read.num_rows
                    if at > wanted[-1]:
                        break

    @contextmanager
    def _reading(self, shard: Shard, names: Sequence[str]) -> Iterator[tuple[pq.ParquetFile, Footer]]:
        """A shard that has these columns; what goes wrong meanwhile is an `UnreadableError`."""
        wanted = self.schema(shard.kind)
        try:
            with self._opened(shard) as (file, footer):
                _check_columns(undone_schema(file.schema_arrow), [wanted.field(name) for name in names])
                yield file, footer
        except _BROKEN as error:
            raise UnreadableError(self.root / shard.path, error) from None

    def _opened(self, shard: Shard) -> AbstractContextManager[tuple[pq.ParquetFile, Footer]]:
        """A shard whose footer and pages are within bounds; raises one of `_BROKEN` otherwise."""
        path, settings = self.path(shard.path), self.manifest.settings
        values = min(max(settings.pack_window + settings.max_length, _FEWEST_VALUES), _MOST_VALUES)
        longest = (
            4 * settings.max_length if shard.kind in LAYOUTS else _MOST_VALUES
        )  # `verify` finds the others
        texts = [field.name for field in self.schema(shard.kind) if pa.types.is_string(field.type)]
        page = _LINEAGE_PAGE if shard.kind == "lineage" else PAGE_BYTES
        return open_parquet(path, rows=_MOST_ROWS, values=values, longest=longest, page=page, texts=texts)

    def lineage(
        self, split: str, columns: Sequence[str] | None = None, *, lines: int = 1 << 16
    ) -> Iterator[pa.RecordBatch]:
        """Yield the lineage of a split, so many lines at a time."""
        for shard in self.shards("lineage", split):
            yield from self.batches(shard, columns, tokens=lines)

    def rejects(self, columns: Sequence[str] | None = None, *, lines: int = 4096) -> Iterator[pa.RecordBatch]:
        """Yield the reject log, so many lines at a time."""
        for shard in self.shards("rejects"):
            yield from self.batches(shard, columns, tokens=lines)

    # ==== Files ====

    def has(self, shard: Shard) -> bool:
        """Whether a shard is there with its size; it is not read."""
        try:
            return self.path(shard.path).stat().st_size == shard.bytes
        except OutputError:
            return False

    def check(self, elsewhere: Collection[str] = ()) -> Iterator[Checked]:
        """Hold every shard, picture and file of the tokenizer against the manifest, but for those that lie
        `elsewhere`. Manifests of older versions do not list the files of the tokenizer."""
        yield from (self._check_shard(shard) for shard in self.manifest.shards if shard.path not in elsewhere)
        yield from (self._check_small(each, "picture") for each in self.manifest.pictures)
        yield from (self._check_small(each, "tokenizer") for each in self.manifest.tokenizer_files)

    def unlisted(self) -> list[str]:
        """What is no part of the output, and is not hidden."""
        return [
            entry.name for entry in walk(self.root) if self._is_foreign(entry) and not _is_hidden(entry.name)
        ]

    def small_files(self) -> Iterator[LocalFile]:
        """The tokenizer's files, the manifest, and README.md last. Raises `OutputError` if one is no regular
        file, or is larger than any of these is."""
        own = [entry.name for entry in self._of_tokenizer()]
        yield from (_hashed(self.root, name, small=True) for name in (*own, "manifest.json", "README.md"))

    def _of_tokenizer(self) -> list[Entry]:
        """What lies in the folder of the tokenizer and belongs there: what the manifest lists, or all but
        hidden files, shards and code if it is of an older version."""
        listed = {each.path for each in self.manifest.tokenizer_files}
        folder = self.root / "tokenizer"
        found = [] if folder.is_symlink() else list(walk(folder))
        inside = (entry._replace(name=f"tokenizer/{entry.name}") for entry in found)
        return [
            entry
            for entry in inside
            if (entry.name in listed if listed else _may_be_of_tokenizer(entry.name))
        ]

    def _is_foreign(self, entry: Entry) -> bool:
        if entry.name in self._listed:
            return False
        return bool(self.manifest.tokenizer_files) or not _may_be_of_tokenizer(entry.name)

    @cached_property
    def _listed(self) -> frozenset[str]:
        return frozenset({"manifest.json", "README.md", *(path for path, _, _ in self.manifest.listed)})

    def _check_shard(self, shard: Shard) -> Checked:
        name, problems = shard.path, list[Problem]()

        def note(kind: str, what: str) -> None:
            problems.append(Problem(kind, name, what))

        try:
            size, rows = self.path(name).stat().st_size, shard.rows
            file = _hashed(self.root, name) if size == shard.bytes else None
        except UnusableFileError as error:
            return _unusable(name, shard.rows, error)
        if file is None:  # and who knows how large it is
            note("size", f"it has {size:,} bytes, manifest.json says {shard.bytes:,}")
        elif file.sha256 != shard.sha256:
            note("sha256", "its sha256 is not the one in manifest.json")
        try:
            with self._opened(shard) as (opened, footer):
                schema = undone_schema(opened.schema_arrow)
        except _BROKEN as error:
            note("unreadable", f"it cannot be read: {UnreadableError(self.root / name, error).why}")
            return Checked(name, file, rows, tuple(problems))
        rows = footer.rows
        for key, found in (("rows", rows), ("raw_bytes", footer.raw_bytes)):
            if found != getattr(shard, key):
                note("footer", f"it has {found:,} {key}, manifest.json says {getattr(shard, key):,}")
        version = (schema.metadata or {}).get(b"premask.contract", b"none").decode(errors="replace")
        if version != str(CONTRACT_VERSION):
            note("contract", f"premask.contract is {version[:20]}, not {CONTRACT_VERSION}")
        if what := _other_columns(schema, self.schema(shard.kind)):
            note("schema", what)
        return Checked(name, file, rows, tuple(problems))

    def _check_small(self, listed: ListedFile, kind: str) -> Checked:
        name = listed.path
        try:
            file = _hashed(self.root, name, small=True)
        except UnusableFileError as error:
            return _unusable(name, 0, error)
        wrong = Problem(kind, name, "its sha256 is not the one in manifest.json")
        return Checked(name, file, 0, () if file.sha256 == listed.sha256 else (wrong,))


def _unusable(name: str, rows: int, error: UnusableFileError) -> Checked:
    kind = "missing" if error.missing else "irregular"
    return Checked(name, None, rows, (Problem(kind, name, error.what),))


def open_dataset(out: Path) -> Dataset:
    """Return the output in a folder.

    Raises `OutputError` if there is none that can be read, and `ManifestError` if its manifest has values
    that premask does not write.
    """
    path = out / "manifest.json"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)) and not out.exists():
        raise OutputError(f"{out} is in a store; fetch the folder, and name the copy")
    if not out.is_dir():
        what = "is a file" if out.exists() else "does not exist"
        if out.with_name(f".{out.name}.partial").is_dir():
            what = "is not finished: run its recipe again"
        raise OutputError(f"{out} {what}; name a directory that premask run has written")
    try:
        return Dataset(out, parse_manifest(read_manifest(out)))
    except UnusableFileError as error:
        if not error.missing:
            raise
        raise OutputError(
            f"{out} holds no manifest.json, so it is no output of premask; check the path"
        ) from None
    except ManifestError as error:
        raise ManifestError(error.what, error.count, str(path)) from None
    except OutputError as error:
        raise OutputError(f"{path}: {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = one_line(error)
        raise OutputError(f"{path} cannot be read: {reason}; fetch or write the output again") from None


def read_manifest(out: Path) -> bytes:
    """Return the content of the manifest in a folder. Raises `UnusableFileError` if there is none, or it is
    not one that is read."""
    return read_bounded(regular_file(out, "manifest.json"), MANIFEST_BYTES)


def _is_as_listed(path: Path, listed: ListedFile) -> bool:
    return path.stat().st_size == listed.bytes and sha256_file(path) == listed.sha256


def raw_bytes(footer: pq.FileMetaData) -> int:
    """Size of a Parquet file once decompressed, by its footer."""
    return sum(int(footer.row_group(i).total_byte_size) for i in range(footer.num_row_groups))


def _groups_with(footer: Footer, numbers: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the row groups that have some of these rows: its number, its first row, and those rows."""
    first = 0
    for number, group in enumerate(footer.groups):
        own = numbers[slice(*np.searchsorted(numbers, [first, first + group.rows]))]
        if len(own):
            yield number, first, own
        first += group.rows


def _check_batch(batch: pa.RecordBatch, kind: str, optional: Collection[str]) -> None:
    """Raise `ArrowInvalid` for text that is not UTF-8, and for a null in a column that is not `optional`."""
    if kind in {"rejects", "lineage"}:
        batch.validate(full=True)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        inner = column.values.null_count if pa.types.is_list(column.type) else 0
        if name not in optional and (column.null_count or inner):
            raise pa.ArrowInvalid(f"column {name} holds null")


def _check_columns(schema: pa.Schema, wanted: Sequence[pa.Field]) -> None:
    """Raise `ArrowTypeError` if a file lacks a column, or has another type for it."""
    for field in wanted:
        found = schema.field(field.name) if schema.names.count(field.name) == 1 else None
        if found is None or not found.equals(field):
            what = "not there" if found is None else found.type
            raise pa.ArrowTypeError(f"column {field.name} is {what}, not {field.type}")


def _other_columns(schema: pa.Schema, wanted: pa.Schema) -> str:
    """How the columns of a file differ from those that are wanted, in words; empty if they do not."""
    try:
        _check_columns(schema, list(wanted))
    except pa.ArrowTypeError as error:
        return str(error)
    if schema.equals(wanted):
        return ""
    return f"its columns are {', '.join(schema.names)[:200]}, not {', '.join(wanted.names)}"


def front_matter_of(card: bytes) -> Mapping[str, Any] | None:
    """The YAML at the head of a README.md; None if there is none that can be read."""
    import yaml  # noqa: PLC0415  only the card is YAML

    try:
        text = card[:CARD_BYTES].decode()
        head, end, _ = text.removeprefix("---\n").partition("\n---\n")
        data = yaml.load(head, _plain_loader()) if text.startswith("---\n") and end else None  # noqa: S506  it is safe
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError, yaml.YAMLError):
        return None
    return data if isinstance(data, dict) else None


def is_card(front: Mapping[str, Any] | None) -> bool:
    """Whether a front matter is that of a card which premask wrote, whoever has edited it since.

    >>> is_card({"tags": ["premask", "chat"]}), is_card({"tags": 1}), is_card(None)
    (True, False, False)
    """
    tags = (front or {}).get("tags")
    return isinstance(tags, list) and "premask" in tags


def _plain_loader() -> Any:
    """A loader of YAML without aliases, by which a few lines hold more than any memory."""
    import yaml  # noqa: PLC0415  only the card is YAML

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("a card has no aliases")
            return super().compose_node(parent, index)

    return Loader


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _may_be_of_tokenizer(name: str) -> bool:
    """Whether a file in `tokenizer/` can be one of a tokenizer: no shard, no code, not hidden."""
    fine = name.startswith("tokenizer/") and not _is_hidden(name)
    return fine and not name.endswith((".parquet", ".py", ".pyc", ".so"))


def _hashed(root: Path, name: str, *, small: bool = False) -> LocalFile:
    """A file of an output with its hashes; a `small` one is read at once."""
    path = regular_file(root, name)
    stat = path.stat()
    if small:
        content = read_bounded(path, SMALL_BYTES)
        sha256, git = hashlib.sha256(content).hexdigest(), _git_hash(content)
        return LocalFile(name, path, stat.st_size, sha256, git, stat.st_mtime_ns)
    return LocalFile(name, path, stat.st_size, sha256_file(path), None, stat.st_mtime_ns)


def _git_hash(content: bytes) -> str:
    """Return the name git gives to a file's content (a blob).

    >>> _git_hash(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# ==== List columns ====


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
