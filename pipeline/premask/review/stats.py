"""The figures of a finished output, counted from its rows: what the report shows and `premask stats` prints.

    figures = measure(Path("out/chats"))
    figures["by_source"][0]      # {"source": "chats.jsonl", "rows": 300, "kept": 292, ...}

What a trainer will see is counted from shards, lineage and reject log. Who wrote how many of the tokens, how
masks were proved and what was cut off is known to the run alone, and taken from its manifest.

Cost: 20 ns a token and 1 us a sample; memory is some tens of MB, whatever the size.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.contract import NOT_REJECTED, REASONS
from ..core.manifest import QUANTILES, Input, describe_lengths
from ..output.dataset import Dataset, open_dataset
from ..output.read_samples import SampleBatch, read_samples
from ..publish.charts import roles_of
from ..publish.mask_counts import mask_notes
from .rejects import DUPLICATE

SHARE_BINS = 20
"""Bars of a histogram of shares, of 5 percentage points each."""

BINS_AN_OCTAVE = 3
"""Bars of the histogram of lengths for each doubling."""

_OF_SAMPLES = ("samples", "tokens", "trained_tokens")

Seen = Callable[[SampleBatch], object]
Rejected = Callable[[pa.RecordBatch], object]


def measure(out: Path, *, seen: Sequence[Seen] = (), rejected: Sequence[Rejected] = ()) -> dict[str, Any]:
    """Return the figures of an output as JSON values.

    `seen` is called with every batch of samples and `rejected` with every batch of the reject log, so that
    who looks for single ones needs no second reading. Raises `OutputError` if the output cannot be read.
    """
    dataset = open_dataset(out)
    samples = _Samples(dataset.manifest.settings.max_length)
    for batch in read_samples(dataset):
        samples.add(batch)
        for see in seen:
            see(batch)
    rejects = _Rejects()
    for lines in dataset.rejects():
        rejects.add(lines)
        for see_rejected in rejected:
            see_rejected(lines)
    if dataset.manifest.rejects_left_out:
        rejects.take(dataset.manifest.inputs)
    return _figures(dataset, samples, rejects)


# ==== Counting ====


class _Samples:
    """Sums over samples and rows; a pack has room for `room` tokens."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.lengths: Counter[int] = Counter()
        self.shares = np.zeros(SHARE_BINS, dtype=np.int64)
        self.fills = np.zeros(SHARE_BINS, dtype=np.int64)
        self.by_source: dict[str, Counter[str]] = defaultdict(Counter)
        self.by_split: dict[str, Counter[str]] = defaultdict(Counter)

    def add(self, batch: SampleBatch) -> None:
        lengths, times = np.unique(batch.length, return_counts=True)
        self.lengths.update(dict(zip(lengths.tolist(), times.tolist(), strict=True)))
        self.shares += _in_bins(batch.trained / np.maximum(batch.length, 1))
        used = np.bincount(batch.row - batch.first_row, batch.length, minlength=len(batch.row_sizes))
        self.fills += _in_bins(used / self.room)
        values = _values(batch)
        split = self.by_split[batch.split]
        split.update({name: int(each.sum()) for name, each in values.items()})
        split["rows"] += len(batch.row_sizes)
        source = batch.origin.column("source").dictionary_encode()
        names, indices = source.dictionary.to_pylist(), source.indices.to_numpy()
        for key, each in values.items():
            sums = np.bincount(indices, each, minlength=len(names)).astype(np.int64)
            for name, count in zip(names, sums.tolist(), strict=True):
                self.by_source[name][key] += count


def _values(batch: SampleBatch) -> dict[str, np.ndarray]:
    """What is added up of each sample, int64[n]."""
    return {
        "kept": (batch.origin.column("sample").to_numpy() == 0).astype(np.int64),
        "samples": np.ones(len(batch.length), dtype=np.int64),
        "tokens": batch.length,
        "trained_tokens": batch.trained,
    }


def _in_bins(shares: np.ndarray) -> np.ndarray:
    """How many shares, of 0 to 1, are in each bin, int64[SHARE_BINS].

    >>> _in_bins(np.array([0.0, 0.051, 1.0])).nonzero()[0].tolist()
    [0, 1, 19]
    """
    at = np.clip((shares * SHARE_BINS).astype(np.int64), 0, SHARE_BINS - 1)
    return np.bincount(at, minlength=SHARE_BINS)


class _Rejects:
    """Lines of the reject log by source and reason."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str]] = Counter()

    def add(self, batch: pa.RecordBatch) -> None:
        table = pa.Table.from_batches([batch.select(["source", "reason"])])
        for line in table.group_by(["source", "reason"]).aggregate([([], "count_all")]).to_pylist():
            self.rows[line["source"] or "", line["reason"] or ""] += line["count_all"]

    def take(self, inputs: Sequence[Input]) -> None:
        """Take the counts of a manifest, where the log was left out of a push."""
        for each in inputs:
            self.rows.update({(each.source, reason): count for reason, count in each.listed.items()})

    def by_source(self, *, skipped: bool) -> Counter[str]:
        """Rows that were rejected, or those that were skipped as duplicates."""
        found: Counter[str] = Counter()
        for (source, reason), count in self.rows.items():
            is_it = reason == DUPLICATE if skipped else reason not in NOT_REJECTED
            found[source] += count if is_it else 0
        return found

    def by_reason(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, reason), count in self.rows.items():
            found[reason] += count
        return found


# ==== Figures ====


def _figures(dataset: Dataset, samples: _Samples, rejects: _Rejects) -> dict[str, Any]:
    manifest, by_source = dataset.manifest, _by_source(dataset.manifest.inputs, samples, rejects)
    counts, whole = manifest.as_dict()["counts"], sum(samples.by_split.values(), Counter[str]())
    figures = {
        "output": dataset.root.resolve().name,
        "premask": manifest.premask,
        "run_key": manifest.run_key,
        "layout": dataset.layout,
        "max_length": samples.room,
        "rows": sum(each.rows for each in manifest.inputs),
        **{key: sum(each[key] for each in by_source) for key in ("kept", "rejected", "dropped", "left_out")},
        **_with_share({key: whole[key] for key in _OF_SAMPLES}),
        "lengths": _lengths(samples.lengths),
        "trained_shares": _bars(samples.shares, "samples"),
        "by_split": [
            {"split": name, **_with_share({key: each[key] for key in ("rows", *_OF_SAMPLES)})}
            for name, each in samples.by_split.items()
        ],
        "by_source": by_source,
        "by_role": [_with_share(each) for each in roles_of(counts)],
        "rejects": [
            {"reason": name, "means": REASONS.get(name, ""), "rows": count}
            for name, count in sorted(rejects.by_reason().items(), key=lambda item: (-item[1], item[0]))
        ],
        "too_long": _too_long(manifest.recipe, counts),
        "other_counts": {
            name: value
            for name, value in sorted(counts.items())
            if type(value) is int and name not in _SHOWN_ELSEWHERE
        },
        "proofs": dict(counts.get("samples_by_proof", {})),
        **{name: counts.get(name, nothing) for name, nothing in _OF_MASK.items()},
        "mask_notes": mask_notes(manifest.recipe, counts),
        "engine": manifest.as_dict()["engine"],
    }
    return figures | (_packs(samples, whole) if dataset.layout == "packed" else {})


_OF_MASK: Mapping[str, Any] = {
    "dropped_fields": {},
    "turns_left_out": {},
    "turns_behind_another_prompt": 0,
    "unclosed_reasoning": 0,
    "template_modes": {},
}
"""Counts of the manifest that are shown in words (`publish/mask_counts.py`), and what they are if missing."""

_SHOWN_ELSEWHERE = frozenset(
    [*_OF_MASK]
    + [
        "rows",
        "kept",
        "rejected",
        "dropped",
        "samples",
        "tokens",
        "trained_tokens",
        "packs",
        "tokens_cut_off",
    ]
    + [f"too_long_{policy}" for policy in ("truncate", "split")]
)


def share(part: int, whole: int) -> float | None:
    """Return a share of 0 to 1 to six places, None of nothing."""
    return round(part / whole, 6) if whole else None


def _with_share(counts: Mapping[str, Any]) -> dict[str, Any]:
    return {**counts, "trained_share": share(counts["trained_tokens"], counts["tokens"])}


def _packs(samples: _Samples, whole: Mapping[str, int]) -> dict[str, Any]:
    fill = share(whole["tokens"], whole["rows"] * samples.room)
    return {"packs": {"packs": whole["rows"], "fill": fill, "fills": _bars(samples.fills, "packs")}}


def _bars(bins: np.ndarray, name: str) -> list[dict[str, Any]]:
    return [
        {"from": round(i / SHARE_BINS, 2), "to": round((i + 1) / SHARE_BINS, 2), name: count}
        for i, count in enumerate(bins.tolist())
    ]


def _lengths(lengths: Mapping[int, int]) -> dict[str, Any] | None:
    """As `describe_lengths` has them, with a finer histogram."""
    found = describe_lengths(lengths)
    if found is None:
        return None
    counts = np.array(sorted(lengths.items()), dtype=np.int64)
    edges = _edges(found["max"])
    at = np.searchsorted(edges, counts[:, 0], side="right") - 1
    totals = np.bincount(at, counts[:, 1], minlength=len(edges) - 1).astype(np.int64)
    bars = [
        {"from": int(edges[i]), "to": int(edges[i + 1] - 1), "samples": int(totals[i])}
        for i in range(len(edges) - 1)
        if edges[i + 1] > found["min"]
    ]
    return {name: found[name] for name in (*QUANTILES, "mean")} | {"histogram": bars}


def _edges(longest: int) -> np.ndarray:
    """Where bars of lengths begin, from 1 to above the longest, so many a doubling.

    >>> _edges(8).tolist()
    [1, 2, 3, 4, 5, 6, 8, 10]
    """
    steps = range(int(np.ceil(np.log2(longest + 1)) * BINS_AN_OCTAVE) + 2)
    edges = np.unique(np.round(2.0 ** (np.array(steps) / BINS_AN_OCTAVE)).astype(np.int64))
    return edges[: int(np.searchsorted(edges, longest, side="right")) + 1]


def _by_source(inputs: Sequence[Input], samples: _Samples, rejects: _Rejects) -> list[dict[str, Any]]:
    """Each source in the order of the manifest, then those that it does not name; rows = kept + rejected +
    dropped as duplicates + left out."""
    known = {each.source: each for each in inputs}
    rejected, dropped = (rejects.by_source(skipped=skipped) for skipped in (False, True))
    found = []
    for name in dict.fromkeys([*known, *samples.by_source, *rejected]):
        about, own = known.get(name), samples.by_source.get(name, Counter())
        counts = {
            "rows": about.rows if about else None,
            "kept": about.kept if about else own["kept"],  # rows of a source that is upsampled count once
            "rejected": rejected[name],
            "dropped": dropped[name],
            "left_out": sum(about.left_out.values()) if about else 0,
        }
        found.append({"source": name, **counts, **_with_share({key: own[key] for key in _OF_SAMPLES})})
    return found


def _too_long(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> dict[str, Any]:
    """What became of samples longer than `max_length`."""
    policy = recipe.get("too_long", "reject")
    return {
        "policy": policy,
        "rows_rejected": counts.get("rejected_by_reason", {}).get("too_long", 0),
        "samples_cut": counts.get(f"too_long_{policy}", 0),
        "tokens_cut_off": counts.get("tokens_cut_off", 0),
    }
