"""Two outputs compared: the rows they keep and reject, and the tokens and masks of their samples.

    found = compare(Path("out/before"), Path("out/after"))
    found.equal, found.samples["mask"]      # False, 12: samples of the same tokens with other labels

Samples are matched by source, row, and number within the row; sources by name, or else by sha256. Not
compared are the places of samples in packs, the sizes of files, and loss weights; settings that differ are
listed.

Cost: 90 ns a token of both together; memory grows by 0.4 kB a sample, a GB for two outputs of a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from ..core.contract import IGNORE_INDEX
from ..core.display import figure
from ..core.hashing import hash_samples
from ..core.manifest import Manifest
from ..core.text import visible
from ..output.dataset import Dataset, open_dataset
from ..output.identity import differences
from ..output.read_samples import SampleBatch, read_samples
from ..tokens.token_text import TokenTexts
from .diff_pairs import Place, pairs_of, tokens_at
from .stats import share

EXAMPLES = 5
"""Examples of each kind of difference."""

AROUND = 12
"""Tokens that are shown before and after the first token at which two masks differ."""

KINDS = ("mask", "tokens", "split", "only_before", "only_after")
"""How a sample of a row that both outputs keep can differ: the same tokens with other labels, other tokens,
another split, or it is in one output only."""


KIND_WORDS = {
    "equal": "are equal",
    "mask": "have the same tokens but another mask",
    "tokens": "have other tokens",
    "split": "are in another split",
    "only_before": "are only in the first output",
    "only_after": "are only in the second output",
}
"""How samples differ (`KINDS`), in words."""


@dataclass(frozen=True)
class Change:
    """Rows that went from one state to another: `kept`, `rejected: REASON`, or `absent`."""

    before: str
    after: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class MaskExample:
    """A sample of the same tokens with other labels: how many changed, the first token that did, and the text
    around it in pieces, each with whether it is trained."""

    sample: str
    changed: int
    first: int
    before: tuple[tuple[str, bool], ...]
    after: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Difference:
    """What `compare` found: `figures` have both values of each count, `rows` the changes, `samples` how many
    are equal and how many differ in each of `KINDS`, `examples` names of some, `masks` some in full,
    `settings` sentences on the two runs, and `places` where the examples are in both `outputs`."""

    figures: Mapping[str, tuple[Any, Any]]
    rows: tuple[Change, ...]
    samples: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    masks: tuple[MaskExample, ...]
    settings: tuple[str, ...]
    outputs: tuple[Path, Path]
    places: Mapping[str, Sequence[Place]]

    @property
    def equal(self) -> bool:
        """Both keep the same rows and reject the others for the same reasons, and all samples are equal."""
        return not self.rows and not any(self.samples[kind] for kind in KINDS)

    @property
    def verdict(self) -> str:
        """How it ended, in one line."""
        return "the same rows, tokens and masks" if self.equal else "the outputs differ"

    def lines(self) -> Iterator[str]:
        """Yield what differs of settings, rows and samples, a line each."""
        yield from (f"setting: {setting}" for setting in self.settings)
        for change in self.rows:
            examples = _listed(change.examples, change.rows)
            yield f"{change.rows:,} rows: {change.before} -> {change.after} ({examples})"
        for kind, count in self.samples.items():
            own = self.examples.get(kind, ())
            if count:
                more = f" ({_listed(own, count)})" if own else ""
                yield f"{count:,} samples {KIND_WORDS[kind]}{more}"

    def __repr__(self) -> str:
        figures = [
            f"{name.replace('_', ' ')}: {before} -> {after}"
            for name, (before, after) in self.figures.items()
            if before != after
        ]
        return "\n".join(map(visible, [*figures, *self.lines(), self.verdict]))

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        values = asdict(self)
        for name in ("outputs", "places"):
            del values[name]
        return {"equal": self.equal, **values}

    def html_page(self) -> str:
        """Return all of it as an HTML page, with the samples of `places` side by side."""
        from .notebook.difference import difference_page  # noqa: PLC0415  most look at the terminal

        return difference_page(self._compared(), " and ".join(output.name for output in self.outputs))

    def _repr_html_(self) -> str:
        from .notebook.difference import difference_html  # noqa: PLC0415  most look at the terminal

        return difference_html(self._compared())

    def _compared(self) -> Any:
        from .notebook.difference import Compared  # noqa: PLC0415  most look at the terminal

        figures = [
            (name.replace("_", " "), figure(before), figure(after))
            for name, (before, after) in self.figures.items()
        ]
        tokenizers = [open_dataset(output).tokenizer / "tokenizer.json" for output in self.outputs]
        pairs = pairs_of(self.outputs, self.places)
        return Compared(self.verdict, figures, [*self.lines()], pairs, (tokenizers[0], tokenizers[1]))


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (", ..." if count > len(names) else "")


def compare(before: Path, after: Path) -> Difference:
    """Compare two outputs; `OutputError` if one cannot be read."""
    datasets = open_dataset(before), open_dataset(after)
    manifests = datasets[0].manifest, datasets[1].manifest
    names = _Names(*manifests)
    both_have_logs = not any(dataset.manifest.rejects_left_out for dataset in datasets)
    left, right = (_read(dataset, names, rejects=both_have_logs) for dataset in datasets)
    changes = _changes(left, right, names)
    both = left.rows.join(right.rows, on=["source", "row"], how="semi")
    kinds = _kinds(left.samples, right.samples, both)
    return Difference(
        {name: (left.figures[name], right.figures[name]) for name in left.figures},
        tuple(changes),
        {kind: frame.height for kind, frame in kinds.items()},
        {kind: names.of(frame.head(EXAMPLES)) for kind, frame in kinds.items() if kind != "equal"},
        tuple(_mask_examples(datasets, kinds["mask"].head(EXAMPLES), names)),
        tuple(differences(*(manifest.identity() for manifest in manifests))),
        (before, after),
        {kind: _places(kinds[kind].head(EXAMPLES), kind, names) for kind in KINDS if kind != "split"},
    )


class _Names:
    """Sources by number; one that has another name in the second output, but the same sha256, keeps its
    number."""

    def __init__(self, before: Manifest, after: Manifest) -> None:
        old = {each.source: each.sha256 for each in before.inputs}
        new = {each.source: each.sha256 for each in after.inputs}
        same = {sha256: name for name, sha256 in old.items() if name not in new}
        moved = {name: same[sha256] for name, sha256 in new.items() if name not in old and sha256 in same}
        self.names = list(dict.fromkeys([*old, *(moved.get(name, name) for name in new)]))
        self._numbers = {name: i for i, name in enumerate(self.names)}
        self._numbers |= {name: self._numbers[known] for name, known in moved.items()}

    def numbers(self, column: pa.Array) -> np.ndarray:
        """The number of each source of a column, int32[n]; one that no manifest names gets the next."""
        coded = column.dictionary_encode()
        for name in coded.dictionary.to_pylist():
            if name not in self._numbers:
                self._numbers[name] = len(self.names)
                self.names.append(name)
        table = np.array([self._numbers[name] for name in coded.dictionary.to_pylist()], dtype=np.int32)
        return np.asarray(table[coded.indices.to_numpy(zero_copy_only=False)])

    def of(self, frame: pl.DataFrame) -> list[str]:
        """Rows or samples of a frame in words."""
        return [
            f"{self.names[line['source']]} row {line['row']}"
            + (f" sample {line['sample']}" if line.get("sample") else "")
            for line in frame.to_dicts()
        ]


# ==== Reading ====


class _Side(NamedTuple):
    """One output: its samples (source, row, sample, place in reading order, hash of the ids, hash of ids and
    labels, split), the rows it keeps (source, row), those it rejects (source, row, reason), and counts."""

    samples: pl.DataFrame
    rows: pl.DataFrame
    rejected: pl.DataFrame
    figures: dict[str, Any]


def _read(dataset: Dataset, names: _Names, *, rejects: bool) -> _Side:
    """Read an output. Without `rejects`, which a push may leave out, rejected rows are only counted."""
    parts = [_frame(batch, names) for batch in read_samples(dataset)]
    samples = pl.concat([_NO_SAMPLES, *(frame for frame, _ in parts)]).with_row_index("place")
    lost = [
        pl.DataFrame(
            {
                "source": names.numbers(lines.column("source")),
                "row": lines.column("row").to_numpy(),
                "reason": pl.from_arrow(lines.column("reason")),
            }
        )
        for lines in (dataset.rejects(["source", "row", "reason"]) if rejects else ())
    ]
    rejected = pl.concat([_NO_REJECTS, *lost])
    rows = samples.select("source", "row").unique()
    counts = dataset.manifest.counts
    lost_rows = rejected.height if rejects else counts.listed
    figures: dict[str, Any] = {
        "rows": rows.height + lost_rows,
        "kept": rows.height,
        "rejected": lost_rows,
        "samples": samples.height,
    }
    figures |= {
        name: sum(counts[name] for _, counts in parts) for name in ("tokens", "trained_tokens", "packs")
    }
    figures["trained_share"] = share(figures["trained_tokens"], figures["tokens"])
    return _Side(samples, rows, rejected, figures)


_KEY = {"source": pl.Int32, "row": pl.Int64}
_NO_SAMPLES = pl.DataFrame(
    schema={**_KEY, "sample": pl.Int32, "ids": pl.UInt64, "labels": pl.UInt64, "split": pl.String}
)
_NO_REJECTS = pl.DataFrame(schema={**_KEY, "reason": pl.String})


def _frame(batch: SampleBatch, names: _Names) -> tuple[pl.DataFrame, dict[str, int]]:
    ids, labels = batch.side_by_side()
    columns = {
        "source": names.numbers(batch.origin.column("source")),
        "row": batch.origin.column("row").to_numpy(),
        "sample": batch.origin.column("sample").to_numpy(),
        "ids": hash_samples(ids, ids, {}, batch.length),
        "labels": hash_samples(ids, labels, {}, batch.length),
    }
    frame = pl.DataFrame(columns).with_columns(split=pl.lit(batch.split))
    counts = {
        "tokens": len(ids),
        "trained_tokens": int(batch.trained.sum()),
        "packs": len(batch.row_sizes),
    }
    return frame.cast(_NO_SAMPLES.schema), counts


# ==== Comparing ====


def _changes(left: _Side, right: _Side, names: _Names) -> list[Change]:
    """Rows whose state changed, by the two states; most rows first."""
    joined = _states(left).join(_states(right), on=["source", "row"], how="full", coalesce=True)
    joined = joined.with_columns(pl.col("state", "state_right").fill_null("absent"))
    differ = joined.filter(pl.col("state") != pl.col("state_right"))
    found = [
        Change(before, after, group.height, tuple(names.of(group.sort("source", "row").head(EXAMPLES))))
        for (before, after), group in differ.group_by("state", "state_right")
    ]
    return sorted(found, key=lambda change: (-change.rows, change.before, change.after))


def _states(side: _Side) -> pl.DataFrame:
    kept = side.rows.with_columns(state=pl.lit("kept"))
    lost = side.rejected.select("source", "row", state=pl.lit("rejected: ") + pl.col("reason"))
    return pl.concat([kept, lost]).unique(["source", "row"], keep="first", maintain_order=True)


def _kinds(left: pl.DataFrame, right: pl.DataFrame, both: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The samples of rows that both keep, by how they differ, in the order of the input."""
    key = ["source", "row", "sample", "copy"]
    left, right = (
        side.join(both, on=key[:2], how="semi")
        .with_columns(copy=pl.int_range(pl.len()).over(key[:3]))  # of a source that is upsampled
        .sort(key)
        for side in (left, right)
    )
    joined = left.join(right, on=key, how="inner", maintain_order="left")
    tokens = pl.col("ids") != pl.col("ids_right")
    mask = ~tokens & (pl.col("labels") != pl.col("labels_right"))
    split = pl.col("split") != pl.col("split_right")
    return {
        "equal": joined.filter(~tokens & ~mask & ~split),
        "mask": joined.filter(mask),
        "tokens": joined.filter(tokens),
        "split": joined.filter(split),
        "only_before": left.join(right, on=key, how="anti", maintain_order="left"),
        "only_after": right.join(left, on=key, how="anti", maintain_order="left"),
    }


# ==== Examples ====


def _places(frame: pl.DataFrame, kind: str, names: _Names) -> list[Place]:
    """Return where samples of a frame are in both outputs."""
    own = frame["place"].to_list()
    none = [None] * len(own)
    if kind == "only_after":
        return [*map(Place, names.of(frame), none, own)]
    return [
        *map(Place, names.of(frame), own, none if kind == "only_before" else frame["place_right"].to_list())
    ]


def _mask_examples(
    datasets: tuple[Dataset, Dataset], chosen: pl.DataFrame, names: _Names
) -> Iterator[MaskExample]:
    """The samples of a frame of pairs, with the text where their labels begin to differ."""
    if not chosen.height:
        return
    texts = TokenTexts(datasets[0].tokenizer / "tokenizer.json")
    places = chosen["place"].to_list(), chosen["place_right"].to_list()
    left, right = (dict(tokens_at(dataset, own)) for dataset, own in zip(datasets, places, strict=True))
    for name, i, k in zip(names.of(chosen), *places, strict=True):
        ids, old = left[i]
        new = right[k][1]
        changed = np.flatnonzero(old != new)
        first = int(changed[0])
        window = slice(max(first - AROUND, 0), first + AROUND)
        pieces = (_pieces(ids[window], labels[window], texts) for labels in (old, new))
        yield MaskExample(name, len(changed), first, *pieces)


def _pieces(ids: np.ndarray, labels: np.ndarray, texts: TokenTexts) -> tuple[tuple[str, bool], ...]:
    """Stretches of tokens that are all trained, or all not: their text, and whether they are."""
    trained = (labels != IGNORE_INDEX).tolist()
    runs = [
        [index for index, _ in run]
        for _, run in groupby(zip(ids.tolist(), trained, strict=True), key=itemgetter(1))
    ]
    flags = [flag for flag, _ in groupby(trained)]
    return tuple(
        ("".join(text for text, _ in texts.groups(run)), flag) for run, flag in zip(runs, flags, strict=True)
    )
