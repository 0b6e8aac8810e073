"""A finished output, read and checked in one place.

    dataset = open_dataset(Path("out/chats"))           # OutputError if there is none that can be read
    dataset.manifest.counts.kept                        # the manifest, typed (core/manifest.py)
    dataset.splits, dataset.layouts                     # ["train", "test"], ["packed"]
    for shard in dataset.shards("packed", "train"):
        for batch in dataset.batches(shard, ["input_ids"]):
            values, offsets = flat(batch.column("input_ids"))
    for batch in dataset.rejects(["source", "row", "reason"]): ...
    for found in dataset.check(): ...                   # every shard against the manifest: files, problems

Nothing is used before it is checked: `parse_manifest` checks types, bounds and the form of names, `path`
where a name leads, `check` what a file holds. What is to be checked besides belongs into one of these.

Cost: opening takes 10 us a shard. Decoding takes 2 to 5 ns a token and column; a batch has about
`BATCH_TOKENS` tokens, whatever the size of the row groups, so memory is some tens of MB. `check` hashes every
byte once, 0.8 ns each, and reads footers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from ..core.manifest import ChartFile, Manifest, ManifestError, Shard, parse_manifest
from ..core.recipe import Recipe

BATCH_TOKENS = 1 << 20
"""Tokens of a batch, about."""


class UnreadableError(OutputError):
    """A file of an output that cannot be read; `why` is the cause, `denied` whether it is not allowed."""

    def __init__(self, path: Path, error: Exception) -> None:
        self.why = one_line(error, 200)
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
    """What is wrong with a file of an output; `kind` is one of `missing`, `size`, `sha256`, `unreadable`,
    `footer`, `contract`, `schema` and `picture`."""

    kind: str
    file: str
    what: str


class Checked(NamedTuple):
    """A file of the manifest held against its line: the file (None if it is not there), its rows (those of
    the manifest if they cannot be counted), and what is wrong."""

    name: str
    file: LocalFile | None
    rows: int
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> bool:
        """Whether its rows can be read, and have the columns of the contract."""
        return not any(each.kind in {"missing", "unreadable", "schema"} for each in self.problems)


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

    @property
    def layout(self) -> str:
        """The layout that is read where one is enough: `packed`, if it was written."""
        return self.layouts[0]

    @cached_property
    def splits(self) -> list[str]:
        """The splits that the output has, `train` first."""
        return self.manifest.splits

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer and its chat template."""
        return self.root / "tokenizer"

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
        """Where a file of the manifest lies. Raises `OutputError` if it would lie outside the output.

        A file may be a link: in the Hub's cache all are.
        """
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise OutputError(
                f"{self.root / 'manifest.json'} names {name!r:.80}, which is outside the output"
            )
        return self.root / name

    def card(self) -> Mapping[str, Any] | None:
        """The YAML at the head of README.md; None if there is none that can be read."""
        import yaml  # noqa: PLC0415  only the card is YAML

        try:
            text = (self.root / "README.md").read_text(encoding="utf-8")
            head, end, _ = text.removeprefix("---\n").partition("\n---\n")
            data = yaml.safe_load(head) if text.startswith("---\n") and end else None
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return None
        return data if isinstance(data, dict) else None

    # ==== Rows ====

    def batches(
        self, shard: Shard, columns: Sequence[str] | None = None, *, tokens: int = BATCH_TOKENS
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a shard in batches of about so many tokens, by the file's average. Lines of
        lineage and rejects count as one token each.

        Raises `UnreadableError` if the shard cannot be read, or has no such columns.
        """
        path, wanted = self.path(shard.path), self.schema(shard.kind)
        names = wanted.names if columns is None else list(columns)
        try:
            with pq.ParquetFile(path) as file:
                _check_columns(file.schema_arrow, [wanted.field(name) for name in names])
                each = _values(file.metadata) // max(file.metadata.num_rows, 1)
                for batch in file.iter_batches(max(1, tokens // max(each, 1)), columns=names):
                    if shard.kind in {"rejects", "lineage"}:
                        batch.validate(full=True)  # text is UTF-8
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise UnreadableError(path, error) from None

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
        path = self.path(shard.path)
        return path.is_file() and path.stat().st_size == shard.bytes

    def check(self, elsewhere: Collection[str] = ()) -> Iterator[Checked]:
        """Hold every shard and picture against the manifest, but for those that lie `elsewhere`."""
        yield from (self._check_shard(shard) for shard in self.manifest.shards if shard.path not in elsewhere)
        yield from (self._check_picture(picture) for picture in self.manifest.pictures)

    def unlisted(self) -> list[str]:
        """Files that are no part of the output; hidden ones do not count."""
        known = {"manifest.json", "README.md", *(shard.path for shard in self.manifest.shards)}
        known |= {picture.path for picture in self.manifest.pictures}
        return sorted(path for path in _files_below(self.root) - known if not _is_of_tokenizer(path))

    def small_files(self) -> Iterator[LocalFile]:
        """The tokenizer's files, the manifest, and README.md last."""
        own = sorted(path for path in _files_below(self.root) if _is_of_tokenizer(path))
        yield from (_hashed(self.root, name, small=True) for name in (*own, "manifest.json", "README.md"))

    def _check_shard(self, shard: Shard) -> Checked:
        name, path, problems = shard.path, self.path(shard.path), list[Problem]()
        if not path.is_file():
            return Checked(name, None, shard.rows, (Problem("missing", name, "the file is not there"),))

        def note(kind: str, what: str) -> None:
            problems.append(Problem(kind, name, what))

        file, rows = _hashed(self.root, name), shard.rows
        if file.bytes != shard.bytes:
            note("size", f"it has {file.bytes:,} bytes, manifest.json says {shard.bytes:,}")
        elif file.sha256 != shard.sha256:
            note("sha256", "its sha256 is not the one in manifest.json")
        try:
            footer, schema = pq.read_metadata(path), pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            note("unreadable", f"it cannot be read: {UnreadableError(path, error).why}")
            return Checked(name, file, rows, tuple(problems))
        rows = int(footer.num_rows)
        for key, found in (("rows", rows), ("raw_bytes", raw_bytes(footer))):
            if found != getattr(shard, key):
                note("footer", f"it has {found:,} {key}, manifest.json says {getattr(shard, key):,}")
        version = (schema.metadata or {}).get(b"premask.contract", b"none").decode(errors="replace")
        if version != str(CONTRACT_VERSION):
            note("contract", f"premask.contract is {version[:20]}, not {CONTRACT_VERSION}")
        if what := _other_columns(schema, self.schema(shard.kind)):
            note("schema", what)
        return Checked(name, file, rows, tuple(problems))

    def _check_picture(self, picture: ChartFile) -> Checked:
        name = picture.path
        if not self.path(name).is_file():
            return Checked(name, None, 0, (Problem("missing", name, "the file is not there"),))
        file = _hashed(self.root, name, small=True)
        wrong = Problem("picture", name, "its sha256 is not the one in manifest.json")
        return Checked(name, file, 0, () if file.sha256 == picture.sha256 else (wrong,))


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
        return Dataset(out, parse_manifest(path.read_bytes()))
    except FileNotFoundError:
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


def raw_bytes(footer: pq.FileMetaData) -> int:
    """Size of a Parquet file once decompressed, by its footer."""
    return sum(int(footer.row_group(i).total_byte_size) for i in range(footer.num_row_groups))


def _values(footer: pq.FileMetaData) -> int:
    """Values of the first column, by the footer."""
    groups = (footer.row_group(i) for i in range(footer.num_row_groups))
    return sum(int(group.column(0).num_values) for group in groups)


def _check_columns(schema: pa.Schema, wanted: Sequence[pa.Field]) -> None:
    """Raise `ArrowTypeError` if a file lacks a column, or has another type for it."""
    for field in wanted:
        found = schema.field(field.name) if field.name in schema.names else None
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


def _files_below(root: Path) -> set[str]:
    """Files of a folder, relative to it, except hidden ones."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)}


def _is_of_tokenizer(path: str) -> bool:
    return path.startswith("tokenizer/") and not path.endswith(".parquet")


def _hashed(root: Path, name: str, *, small: bool = False) -> LocalFile:
    path = root / name
    stat = path.stat()
    git = _git_hash(path.read_bytes()) if small else None
    return LocalFile(name, path, stat.st_size, sha256_file(path), git, stat.st_mtime_ns)


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
