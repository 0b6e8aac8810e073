"""The files of one unit of work: Parquet, and a record of what lies in it.

A unit writes into a scratch directory, which becomes `units/00000` by one rename once the record is in it.
So a worker that was killed leaves no unit, and one thought dead that finishes late disturbs nothing.

    with UnitWriter(Path("units/00000"), recipe.layout, recipe.max_length) as unit:
        unit.add(samples)
    record = unit.commit(key=identity.key, extra={"rows": 1, "kept": 1})
    load_record(Path("units/00000"), identity.key) == record

The bytes of a file depend on the rows of its unit and on the versions named in the manifest, not on the
machine or the time. Cost of a packed shard in CPU: 1 ns a token to plan, 2 to 5 to copy, 35 to encode and
compress, 1.6 to hash; 0.2 us a sample for its lineage. Memory is one window of samples and 4096 rejects.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ..core.arrays import filled_up
from ..core.atomic_files import named, sha256_file, sync, write_json
from ..core.contract import CONTRACT_VERSION, IGNORE_INDEX, REJECT_SCHEMA, SIDES
from ..core.manifest import LAYOUTS, Count, Sha256, SplitName
from ..core.received_files import read_bounded, regular_file
from ..core.recipe import Layout
from ..core.records import Reject, Samples
from ..core.text import storable
from .dataset import raw_bytes
from .packing import PackOrder, PackPlan, in_seeded_order, one_each, plan_packs
from .sides import rows_of_sides, sides_table
from .spreading import row_numbers, together
from .tables import RowFormat, lineage_table, pack_tables, unpacked_table

GROUP_TOKENS = 1 << 20
"""Tokens in a row group of packs, at most. Readers decode a group at a time: one pack takes them 16 ms and
the first of a stream 50 ms, where groups of 16 M tokens take 440 and 340 ms and more memory. With groups of
131 k a pack takes 3 ms, but a whole shard takes longer to read, and Xet stores twice as much anew when
nothing but the labels has changed."""


REJECTS_A_GROUP = 4096
"""Rejects written at a time: a row group of the reject log, and what is held in memory of it. Fewer if their
rows are long."""

RECORD_BYTES = 1 << 26
"""Bytes of the record of a unit, at most."""

_REJECT_CHARACTERS = 1 << 26  # of the rows that are held of the reject log, about

HASHES = "hashes.npy"
"""The file of a unit with the hashes of its rows, where none are dropped for being duplicates."""


# ==== What is known of a finished unit ====


_Name = Annotated[str, Field(pattern=r"^(rejects|(packed|unpacked|preference|kto|lineage)/[A-Za-z0-9_.]+)$")]


class _Account(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    rows: Count
    kept: Count
    dropped: Count
    rejected: dict[str, Count]
    left_out: dict[str, Count]
    used: Count = 0
    tokens: Count = 0
    trained_tokens: Count = 0


class _SetAside(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    rows: Count
    error: str


class _Extra(BaseModel):
    """What `extra` of a record may have besides the caller's other keys: the counts of a run, and what
    became of the rows of its sources."""

    model_config = ConfigDict(strict=True, extra="allow")

    counts: dict[str, Count] = {}
    sources: dict[str, _Account] = {}
    set_aside: _SetAside | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One Parquet file: sizes in bytes (`raw_bytes`: decompressed), and the sha256 of the whole file.

    `tokens` is 0 for the files that hold none.
    """

    rows: Count
    tokens: Count
    bytes: Count
    raw_bytes: Count
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """What a unit wrote of one split; no packs where none are written."""

    samples: Count
    tokens: Count
    trained_tokens: Count
    packs: Count


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """What one finished unit wrote. `key` says what it was made from; `extra` belongs to the caller.

    `files` are named KIND/SPLIT, such as `packed/train`, and `rejects`; `splits` are those with samples.
    """

    key: str
    files: Mapping[_Name, FileRecord]
    splits: Mapping[SplitName, SplitRecord]
    rejects: Mapping[str, Count]
    extra: Mapping[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens of all splits."""
        return sum(split.tokens for split in self.splits.values())

    @property
    def packs(self) -> int:
        """Packs of all splits."""
        return sum(split.packs for split in self.splits.values())


def unit_file(directory: Path, name: str) -> Path:
    """The file of a unit that its record names so.

    >>> unit_file(Path("units/00000"), "packed/train").as_posix()
    'units/00000/packed-train.parquet'
    """
    return directory / f"{name.replace('/', '-')}.parquet"


def scattered(split: str) -> str:
    """Name of the file of a unit that holds its samples of a split, by their bucket of a shuffle."""
    return f"scattered-{split}.arrow"


def is_scattered(name: str) -> bool:
    """Whether a file of a unit holds samples for a shuffle.

    >>> is_scattered(scattered("train")), is_scattered("lineage-train.parquet")
    (True, False)
    """
    return name.startswith("scattered-")


def load_record(directory: Path, key: str) -> UnitRecord | None:
    """Return the record of a finished unit, or None if the unit has to be done (again).

    It has to be done if there is no record, the record is of another key, or a file it names is
    missing or has another size.
    """
    try:
        record = record_of(read_bounded(regular_file(directory, "done.json"), RECORD_BYTES))
        files = record.files.items()
        whole = all(_size(directory, name) == file.bytes for name, file in files)
    except (OSError, ValueError):
        return None
    return record if whole and record.key == key else None


def record_of(text: str | bytes) -> UnitRecord:
    """A record as it was before it was JSON. Raises `ValueError` where it is none."""
    record = _RECORD.validate_json(text, strict=True)
    _Extra.model_validate(record.extra)
    return record


_RECORD = TypeAdapter(UnitRecord)


def _size(directory: Path, name: str) -> int:
    return regular_file(directory, unit_file(Path(), name).name).stat().st_size


# ==== Writing a unit ====


@final
class UnitWriter:
    """Writes the files of one unit of work; nothing is at `directory` before `commit`.

    The parent of `directory` must exist. `layouts` and `max_length` (tokens) are those of the recipe, and so
    is what `format_` adds to the rows, and the `order` of packs. `beside_own_row` counts the samples that
    share a pack with an earlier one of their input row, if `order.spread`.
    Leaving the `with` block by an exception removes all that was written. Raises `OutputError` if the
    disk does not take it.
    """

    def __init__(
        self,
        directory: Path,
        layouts: Sequence[Layout],
        max_length: int,
        format_: RowFormat | None = None,
        order: PackOrder | None = None,
    ) -> None:
        self.order, self.beside_own_row = order or PackOrder(), 0
        self._directory = directory
        self._format = format_ or RowFormat()
        self._layouts = frozenset(layouts)
        self._preferences = next((each.value for each in layouts if each.value in SIDES), None)
        self._max_length = max_length
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rejects, self._characters = list[Reject](), 0
        self._reasons: Counter[str] = Counter()
        self._splits: dict[str, Counter[str]] = {}

    def __enter__(self) -> UnitWriter:
        with named(self._directory):
            scratch = tempfile.mkdtemp(prefix=f".{self._directory.name}.", dir=self._directory.parent)
        self._scratch = Path(scratch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close()
            return
        for writer in self._writers.values():
            with suppress(Exception):  # the error that ended the block is the one to report
                writer.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where another file of the unit is to be written; it becomes part of the unit with it."""
        return self._scratch / name

    def add(self, samples: Samples, split: str = "train") -> None:
        """Pack the samples of one window and write them. Each window begins a row group; those of packs hold
        at most `GROUP_TOKENS`.

        Raises `ValueError` for a sample longer than `max_length` if the packed layout is written.
        """
        n = len(samples.offsets) - 1
        if not n:
            return
        plan = self._plan(samples)
        packs_a_group = max(1, GROUP_TOKENS // self._max_length)
        counts = self._splits.setdefault(split, Counter())
        if Layout.packed in self._layouts:
            for packs in pack_tables(samples, plan, packs_a_group, self._format):
                self._write(f"packed/{split}", packs)
        if Layout.unpacked in self._layouts:
            self._write(f"unpacked/{split}", unpacked_table(samples, self._format))
        if self._preferences is not None:
            self._write(f"{self._preferences}/{split}", sides_table(self._preferences, samples))
        lineage = lineage_table(samples, plan, counts["packs"], split, self._format.multiple)
        self._write(f"lineage/{split}", lineage)
        counts["packs"] += len(plan.offsets) - 1
        counts["samples"] += n
        counts["tokens"] += len(samples.ids)
        counts["trained_tokens"] += int(np.count_nonzero(samples.labels != IGNORE_INDEX))

    def _plan(self, samples: Samples) -> PackPlan:
        """Return which samples share a row of the main layout."""
        lengths = np.diff(samples.offsets)
        if self._preferences is not None:
            return rows_of_sides(self._preferences, len(lengths))
        if Layout.packed not in self._layouts:
            return one_each(len(lengths))
        return self._packs(samples, filled_up(lengths, self._format.multiple))

    def _packs(self, samples: Samples, lengths: np.ndarray) -> PackPlan:
        """Return which samples share a pack; `lengths` are theirs, with the padding behind each."""
        rows = row_numbers(samples.origin) if self.order.spread else None
        plan = plan_packs(lengths, self._max_length, rows)
        if rows is not None:
            pack_of = np.repeat(np.arange(len(plan.offsets) - 1), np.diff(plan.offsets))
            self.beside_own_row += len(together(pack_of, rows[plan.order]))
        return plan if self.order.seed is None else in_seeded_order(plan, self.order.seed)

    def reject(self, rejects: Sequence[Reject]) -> None:
        """Add lines to the reject log. How they are spread over calls does not change what is written."""
        self._reasons.update(reject.reason for reject in rejects)
        for reject in rejects:
            self._rejects.append(reject)
            self._characters += len(reject.original or "")
            if len(self._rejects) >= REJECTS_A_GROUP or self._characters >= _REJECT_CHARACTERS:
                self._write_rejects()

    def _write_rejects(self) -> None:
        self._write("rejects", reject_table(self._rejects))
        self._rejects, self._characters = [], 0

    def commit(self, *, key: str, extra: Mapping[str, Any]) -> UnitRecord:
        """Make the unit a finished one, and return its record.

        `key` is what `load_record` will ask for; `extra` (JSON values) is kept for the caller. What
        is at `directory` is replaced, unless a worker thought dead has finished the same unit.
        """
        self._close()
        with named(self._directory):
            record = self._record(key, extra)
            write_json(self._scratch / "done.json", dataclasses.asdict(record))
            sync(self._scratch)
            if load_record(self._directory, key) is None:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._scratch.rename(self._directory)
                sync(self._directory.parent)
            shutil.rmtree(self._scratch, ignore_errors=True)
        return record

    def _write(self, name: str, batch: pa.RecordBatch) -> None:
        with named(self._directory):
            if name not in self._writers:
                kind = name.partition("/")[0]
                self._writers[name] = parquet_writer(unit_file(self._scratch, name), kind, batch.schema)
            self._writers[name].write_batch(batch, row_group_size=max(1, batch.num_rows))

    def _close(self) -> None:
        """Complete the files; safe to call twice."""
        if self._rejects:
            self._write_rejects()
        with named(self._directory):
            for name, writer in self._writers.items():
                if writer.is_open:
                    writer.close()
                    sync(unit_file(self._scratch, name))

    def _record(self, key: str, extra: Mapping[str, Any]) -> UnitRecord:
        files = {}
        for name in self._writers:
            kind, _, split = name.partition("/")
            tokens = self._splits[split]["tokens"] if kind in LAYOUTS else 0
            files[name] = file_record(unit_file(self._scratch, name), tokens)
        packed = Layout.packed in self._layouts
        splits = {
            split: SplitRecord(**{**counts, "packs": counts["packs"] if packed else 0})
            for split, counts in self._splits.items()
        }
        return UnitRecord(key, files, splits, dict(self._reasons), extra)


def reject_table(rejects: Sequence[Reject]) -> pa.RecordBatch:
    """Return lines of the reject log as Arrow, with the columns of `contract.REJECT_SCHEMA`."""
    columns = [[_cell(getattr(r, field.name)) for r in rejects] for field in REJECT_SCHEMA]
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, REJECT_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=REJECT_SCHEMA)


def _cell(value: str | int | None) -> str | int | None:
    return storable(value) if isinstance(value, str) else value


# ==== Parquet files ====


def parquet_writer(path: Path, kind: str, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file with the options that files of a kind (`manifest.KINDS`) have in every output.

    Real ids of qwen3, 60 % of them trained, take 2.5 bytes and 35 ns a token of a pack to write; of that
    18 ns are what Parquet's lists cost without compression. zstd of level 3 takes 8 % fewer bytes and 10 ns
    more, a dictionary 5 ns more a column; BYTE_STREAM_SPLIT saves 3 ns, but DuckDB 1 cannot read it for
    integers.

    Where rows are in input order, pages are cut by content and values have no dictionary, so that
    stores which keep equal pieces once (Xet on the Hub) find them again in the next version of the data: with
    3 of 3,000 samples new, they store an eighth of the file and not half. Packs change all over with every
    such change, so that nearly all is stored either way, and 14 ns a token for such pages would be lost.

    The `huggingface` key is left out on purpose: older `datasets` cannot read files that have a new one.
    """
    encoding = _LINEAGE_ENCODING if kind == "lineage" else {"use_dictionary": False}
    return pq.ParquetWriter(
        path,
        schema.with_metadata({"premask.contract": str(CONTRACT_VERSION)}),
        compression="zstd",
        compression_level=1,
        use_content_defined_chunking=kind in _IN_INPUT_ORDER,
        write_batch_size=1 << 16,
        write_statistics=False,
        **encoding,
    )


_IN_INPUT_ORDER = frozenset({"unpacked", *SIDES, "rejects"})


_LINEAGE_ENCODING = {
    "use_dictionary": ["source", "sample", "trained_turns.list.element", "split"],
    "column_encoding": dict.fromkeys(["pack", "offset", "length", "row"], "DELTA_BINARY_PACKED"),
}


def file_record(path: Path, tokens: int) -> FileRecord:
    """Read off a finished file what is to be known of it; `tokens` is what it holds of them."""
    footer = pq.read_metadata(path)
    return FileRecord(footer.num_rows, tokens, path.stat().st_size, raw_bytes(footer), sha256_file(path))
