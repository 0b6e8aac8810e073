"""A finished output as something that can be handed on: its files, checked against its manifest.

    finished = read_finished(Path("out/chats"))
    [file.path for file in finished.files]        # packed/train-00000-of-00001.parquet, ..., README.md

What is pushed is exactly this: the shards of the manifest, the folder `tokenizer/`, the card's pictures,
`manifest.json` and `README.md`. Other files that lie in the directory are named in `others` and stay where
they are.

Cost: every shard is read once to hash it (0.8 ns a byte), and its Parquet footer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.atomic_files import sha256_file
from ..core.errors import OutputError, PushError, one_line

KINDS = ("packed", "unpacked", "rejects", "lineage")
"""The folders that hold shards."""


PICTURES = tuple(f"pictures/{name}.svg" for name in ("lengths", "rejects", "roles"))
"""The pictures that a card can have."""


Report = Callable[[int, int, int, int], None]
"""Called as files are sent: files and bytes done, files and bytes in all."""


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


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished output whose shards are those of its manifest; `others` are files that are no part of it."""

    root: Path
    manifest: Mapping[str, Any]
    files: tuple[LocalFile, ...]
    others: tuple[str, ...]

    @property
    def run_key(self) -> str:
        """Hash of all that decides the bytes of the shards."""
        return str(self.manifest["run_key"])

    @property
    def content_name(self) -> str:
        """Name of the revision that holds this content and no other: `run-` and 16 digits of the run key."""
        return f"run-{self.run_key[:16]}"


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did: files and bytes that were sent, that were there already, and that were removed.

    `where` is the target in words, `commit` the URL of the commit (None where there are none, or none was
    needed), `changed` whether anything was written, `load` the Python lines that load the data, `notes`
    what the user should know.
    """

    where: str
    changed: bool
    sent: int
    sent_bytes: int
    kept: int
    kept_bytes: int
    removed: tuple[str, ...]
    commit: str | None
    load: str
    notes: tuple[str, ...] = ()


def is_ours(path: str) -> bool:
    """Whether a path of a repo or store belongs to premask, so that a push may remove it.

    >>> is_ours("packed/train-00000-of-00001.parquet"), is_ours("packed/notes.txt"), is_ours("LICENSE")
    (True, False, False)
    """
    folder, _, name = path.partition("/")
    if folder == "tokenizer" or path in PICTURES:
        return True
    return folder in KINDS and "/" not in name and name.endswith(".parquet")


def parse_manifest(content: str | bytes) -> dict[str, Any] | None:
    """Return the manifest of a premask output, None if the text is anything else.

    >>> parse_manifest('{"files": []}') is None
    True
    """
    try:
        manifest = json.loads(content)
    except ValueError:
        return None
    ours = isinstance(manifest, dict) and {"premask", "run_key", "recipe", "shards"} <= manifest.keys()
    return manifest if ours else None


def read_finished(out: Path, elsewhere: Collection[str] = ()) -> Finished:
    """Check an output against its manifest and return its files, README.md last; shards that lie `elsewhere`
    are not looked for.

    Raises `OutputError` if `out` is no finished output of premask, or if a shard is missing, is not in the
    manifest, or differs from it in size, sha256 or number of rows.
    """
    manifest = _manifest(out)
    try:
        files = [*_shards(out, manifest, elsewhere), *_pictures(out, manifest), *_others_of_ours(out)]
        stray = sorted(_on_disk(out, KINDS) - {file.path for file in files})
        if stray:
            raise OutputError(f"{out / stray[0]} is not in the manifest; move it away, then push again")
        _check_counts(out, manifest)
        known = {file.path for file in files}
        others = sorted(path for path in _on_disk(out) if path not in known)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot read {error.filename or out}: {error.strerror or error}") from error
    except (KeyError, TypeError) as error:
        raise OutputError(
            f"{out / 'manifest.json'} is not complete ({error}); run the recipe again"
        ) from None
    return Finished(out, manifest, tuple(files), tuple(others))


def refuse_url(name: Path | str) -> None:
    """Raise `OutputError` where the name of an output is a URL.

    >>> refuse_url(Path("s3://bucket/chats"))
    Traceback (most recent call last):
    pipeline.errors.OutputError: s3:/bucket/chats is in a store; fetch the folder, and name the copy
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(name)) and not Path(name).exists():
        raise OutputError(f"{name} is in a store; fetch the folder, and name the copy")


def _manifest(out: Path) -> dict[str, Any]:
    refuse_url(out)
    if not out.is_dir():
        work = out.with_name(f".{out.name}.partial")
        what = "is not finished: run its recipe again" if work.is_dir() else "is no directory"
        raise OutputError(f"{out} {what}; premask push takes the output of premask run")
    try:
        manifest = parse_manifest((out / "manifest.json").read_bytes())
    except OSError:
        manifest = None
    if manifest is None or not (out / "README.md").is_file():
        raise OutputError(
            f"{out} holds no finished output of premask (manifest.json and README.md); nothing was sent: "
            "name the directory that premask run has written"
        )
    return manifest


def _shards(out: Path, manifest: Mapping[str, Any], elsewhere: Collection[str]) -> Iterator[LocalFile]:
    for shard in manifest["shards"]:
        if shard["path"] in elsewhere:
            continue
        folder, _, name = shard["path"].partition("/")
        if folder not in KINDS or not name or Path(name).name != name:
            raise OutputError(f"{out / 'manifest.json'} names a shard {shard['path']!r}, which cannot be")
        path = out / shard["path"]
        if not path.is_file():
            raise OutputError(f"{path} is missing; nothing was sent: run the recipe again with --overwrite")
        file = _local(out, path)
        if (file.bytes, file.sha256) != (shard["bytes"], shard["sha256"]):
            raise OutputError(
                f"{path} is not what the manifest says (size or sha256); nothing was sent: "
                "run the recipe again with --overwrite"
            )
        try:
            rows = pq.read_metadata(path).num_rows
        except pa.ArrowException as error:
            raise OutputError(f"{path} cannot be read as Parquet: {error}") from error
        if rows != shard["rows"]:
            raise OutputError(f"{path} has {rows} rows, but the manifest says {shard['rows']}")
        yield file


def _pictures(out: Path, manifest: Mapping[str, Any]) -> Iterator[LocalFile]:
    for picture in manifest.get("pictures", []):
        path = out / picture["path"]
        if picture["path"] not in PICTURES or not path.is_file() or sha256_file(path) != picture["sha256"]:
            raise OutputError(
                f"{path} is missing or not what the manifest says; nothing was sent: "
                "run the recipe again with --overwrite"
            )
        yield _local(out, path, small=True)


def _others_of_ours(out: Path) -> Iterator[LocalFile]:
    paths = [out / path for path in sorted(_on_disk(out, ("tokenizer",)))]
    for path in (*paths, out / "manifest.json", out / "README.md"):
        yield _local(out, path, small=True)


def _local(out: Path, path: Path, *, small: bool = False) -> LocalFile:
    stat = path.stat()
    git = _git_hash(path.read_bytes()) if small else None
    return LocalFile(
        path.relative_to(out).as_posix(), path, stat.st_size, sha256_file(path), git, stat.st_mtime_ns
    )


def _git_hash(content: bytes) -> str:
    """Return the name git gives to a file's content (a blob).

    >>> _git_hash(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _on_disk(out: Path, folders: tuple[str, ...] = ("",)) -> set[str]:
    """Return the files below some folders, except hidden ones."""
    found = (path for folder in folders for path in (out / folder).rglob("*") if path.is_file())
    paths = (path.relative_to(out) for path in found)
    return {path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)}


def _check_counts(out: Path, manifest: Mapping[str, Any]) -> None:
    """The manifest agrees with itself: rows in = kept + rejected + dropped + left out; packs and rejects are
    those of shards."""
    counts, rows = manifest["counts"], dict.fromkeys(KINDS, 0)
    for shard in manifest["shards"]:
        rows[shard["path"].split("/")[0]] += shard["rows"]
    dropped, left_out = counts.get("dropped", 0), sum(counts.get("left_out", {}).values())
    wrong = {
        "rows": counts["rows"] != counts["kept"] + counts["rejected"] + dropped + left_out,
        "rejected": rows["rejects"] != counts["rejected"] + dropped,
        "packs": "packed" in manifest["recipe"]["layout"] and rows["packed"] != counts["packs"],
        "samples": "unpacked" in manifest["recipe"]["layout"] and rows["unpacked"] != counts["samples"],
    }
    if any(wrong.values()):
        name = next(name for name, is_wrong in wrong.items() if is_wrong)
        raise OutputError(
            f"{out / 'manifest.json'}: the count of {name} is not that of the shards; nothing was sent: "
            "run the recipe again with --overwrite"
        )


# ==== shardreader ====

# A finished output as others read it: its manifest, and its shards a batch at a time.
#
#     manifest = load_manifest(Path("out/chats"))
#     for shard in shards_of(manifest, "packed"):
#         for batch in read_batches(Path("out/chats") / shard["path"]):
#             values, offsets = flat(batch.column("input_ids"))
#
# Cost: reading and decoding takes 2 to 5 ns a token and column. A batch has about `BATCH_TOKENS` tokens,
# whatever the size of the row groups, so memory is some tens of MB.


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
        reason = one_line(error)
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
