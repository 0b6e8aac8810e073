"""A finished output as something that is sent: its files, held against the manifest, and what a push did.

    finished = read_finished(Path("out/chats"))
    [file.path for file in finished.files]        # packed/train-00000-of-00001.parquet, ..., README.md

What is sent is exactly this: the shards of the manifest, the folder `tokenizer/`, the card's pictures,
`manifest.json` and `README.md`. Other files that lie in the directory are named in `others` and stay where
they are.

Cost: that of `Dataset.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import OutputError
from ..core.manifest import KINDS, PICTURES, Manifest
from ..core.received_files import UnusableFileError, read_bounded
from .dataset import CARD_BYTES, Dataset, LocalFile, open_dataset

Report = Callable[[int, int, int, int], None]
"""Called as files are sent: files and bytes done, files and bytes in all."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished output whose shards are those of its manifest; `others` are files that are no part of it."""

    root: Path
    manifest: Manifest
    files: tuple[LocalFile, ...]
    others: tuple[str, ...]

    @property
    def run_key(self) -> str:
        """Hash of all that decides the bytes of the shards."""
        return self.manifest.run_key

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


def read_finished(out: Path, elsewhere: Collection[str] = ()) -> Finished:
    """Check an output against its manifest and return its files, README.md last; shards that lie `elsewhere`
    are not looked for.

    Raises `OutputError` if `out` is no finished output of premask, or if a shard is missing, is not in the
    manifest, or is not what the manifest says.
    """
    dataset = open_dataset(out)
    try:
        read_bounded(dataset.path("README.md"), CARD_BYTES).decode()
    except UnicodeDecodeError:
        raise OutputError(f"{out / 'README.md'} is no text in UTF-8; {_AGAIN}") from None
    except UnusableFileError as error:
        if not error.missing:
            raise
        raise OutputError(f"{out} holds no README.md, so it is not whole; {_AGAIN}") from None
    try:
        files = _checked(dataset, elsewhere)
        unlisted = dataset.unlisted()
        small = tuple(dataset.small_files())
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot read {error.filename or out}: {error.strerror or error}") from error
    strays = [path for path in unlisted if path.partition("/")[0] in KINDS]
    if strays:
        raise OutputError(f"{out / strays[0]} is not in the manifest; move it away, then push again")
    if wrong := _wrong_count(dataset.manifest):
        what = f"the count of {wrong} is not that of the shards"
        raise OutputError(f"{out / 'manifest.json'}: {what}; {_AGAIN}")
    return Finished(out, dataset.manifest, (*files, *small), tuple(unlisted))


_AGAIN = "nothing was sent: run the recipe again with --overwrite"


def _checked(dataset: Dataset, elsewhere: Collection[str]) -> list[LocalFile]:
    """The files that the manifest lists; raises at the first problem."""
    files = []
    for checked in dataset.check(elsewhere):
        for problem in checked.problems:
            raise OutputError(f"{dataset.root / problem.file}: {problem.what}; {_AGAIN}")
        if checked.file is not None and not checked.name.startswith("tokenizer/"):
            files.append(checked.file)
    return files


def _wrong_count(manifest: Manifest) -> str:
    """Which count of a manifest does not go with the others, empty if all do: rows in = kept + rejected +
    dropped + left out; packs and rejects are those of shards."""
    counts, rows = manifest.counts, dict.fromkeys(KINDS, 0)
    for shard in manifest.shards:
        rows[shard.kind] += shard.rows
    read = counts.kept + counts.rejected + counts.dropped + sum(counts.left_out.values())
    wrong = {
        "rows": counts.rows != read,
        "rejected": rows["rejects"] != (0 if manifest.rejects_left_out else counts.listed),
        "packs": "packed" in manifest.layouts and rows["packed"] != counts.packs,
        "samples": "unpacked" in manifest.layouts and rows["unpacked"] != counts.samples,
    }
    return next((name for name, is_wrong in wrong.items() if is_wrong), "")
