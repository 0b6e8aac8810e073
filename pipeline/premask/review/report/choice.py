"""Which samples, packs and rejected rows a report shows of an output that may have millions.

    choice = Choice(manifest.run_key, texts.count_special, packed=True)
    measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    choice.samples()                 # each once, with why it was chosen

Chosen are a random sample of rows with all their samples (its seed is the run key: the same output gives the
same report), some samples of every source and split, one whole pack, and the extremes: the longest, the least
trained, and those with the most control tokens. It takes one pass, and keeps only what it has chosen so far.
Cost: 20 ns a token, for the control tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ...core import hashing
from ...core.arrays import offsets_of
from ...core.contract import NOT_REJECTED
from ...output.read_samples import SampleBatch
from .best import Best

RANDOM = "random sample"
"""Why most samples are chosen."""

SAMPLES = 300
"""Samples of the random sample."""

EXTREMES = 8
"""Samples of each kind of extreme."""

PACKS = 72
"""Packs of the random sample; the emptiest and those with the most samples are shown too."""

OF_EACH_SOURCE = 2
"""Samples of each source and split, for the first `SOURCES` of them."""

SOURCES = 64

REJECTS_OF_REASON = 6
"""Rejected rows of each reason."""

REASONS = 64
"""Reasons, of which there are fewer; a damaged reject log may have any number."""

ORIGINAL = 5000
"""Characters of a rejected row that are kept."""

IN_PACK = 200
"""Samples of a pack that are listed."""


@dataclass
class Chosen:
    """One sample that is shown: its place, its source, its tokens, and `why` it was chosen.

    `number` counts the samples of its split; `control` counts its control tokens; `ids` and `labels` are
    int32[length].
    """

    split: str
    number: int
    row: int
    offset: int
    trained: int
    control: int
    source: str
    source_row: int
    id: str | None
    sample: int
    ids: np.ndarray
    labels: np.ndarray
    why: list[str] = field(default_factory=list)

    @property
    def origin(self) -> tuple[str, int, int]:
        """Which sample of which input row it is."""
        return self.source, self.source_row, self.sample


def key_of(split: str, number: int) -> str:
    """Return the name of a sample or a pack on the page: its split, and its number there.

    >>> key_of("train", 12)
    'train/12'
    """
    return f"{split}/{number}"


class Choice:
    """Chooses while an output is read.

    `is_control` says which ids are control tokens, int32[t] -> bool[t].
    """

    def __init__(self, run_key: str, is_control: Callable[[np.ndarray], np.ndarray], *, packed: bool) -> None:
        self._is_control, self._packed = is_control, packed
        self._seed = int(run_key[:16], 16)
        self._lines = self._rows = 0
        self._numbers = Counter[str]()
        self._sample = Best(SAMPLES)
        self._extremes = {
            name: Best(EXTREMES) for name in ("longest", "least trained", "most control tokens")
        }
        self._sources: dict[tuple[str, str], Best] = {}
        self._packs = {"sample": Best(PACKS), "emptiest": Best(2), "most samples": Best(2)}
        self._rejects: dict[str, Best] = {}

    def see(self, batch: SampleBatch) -> None:
        """Look at a batch of samples."""
        control = offsets_of(self._is_control(batch.ids))
        control = control[batch.begin + batch.length] - control[batch.begin]
        first = self._numbers[batch.split]
        self._numbers[batch.split] += len(batch.length)

        def make(i: int) -> Chosen:
            return chosen_of(batch, i, first + i, int(control[i]))

        source = batch.origin.column("source").dictionary_encode()
        names, indices = source.dictionary.to_pylist(), source.indices.to_numpy()
        rows = self._hash_rows(batch, names, indices)
        same, chance = rows + batch.origin.column("sample").to_numpy().astype(np.uint64), _fraction(rows)
        self._sample.offer(chance, same, make)
        keys = (batch.length, -batch.trained / np.maximum(batch.length, 1), control)
        for best, key in zip(self._extremes.values(), keys, strict=True):
            best.offer(key, same, make)
        for number, name in enumerate(names):
            if len(self._sources) < SOURCES or (batch.split, name) in self._sources:
                own = np.flatnonzero(indices == number)
                best = self._sources.setdefault((batch.split, name), Best(OF_EACH_SOURCE))
                best.offer(chance[own], same[own], _at(own, make))
        if self._packed:
            self._see_packs(batch, first, control)

    def _hash_rows(self, batch: SampleBatch, names: list[str], indices: np.ndarray) -> np.ndarray:
        """A number for the input row of each sample, uint64[n], the same for all samples of a row."""
        starts = [(hashing.name_hash(name) + self._seed) % 2**64 for name in names]
        rows = batch.origin.column("row").to_numpy().astype(np.uint64)
        return hashing.mixed_bits(rows + np.array(starts, dtype=np.uint64)[indices])

    def _see_packs(self, batch: SampleBatch, first: int, control: np.ndarray) -> None:
        rows = np.arange(len(batch.row_sizes))
        edges = np.searchsorted(batch.row - batch.first_row, [*rows, len(rows)])
        used = np.bincount(batch.row - batch.first_row, batch.length, minlength=len(rows))

        def make(i: int) -> tuple[dict[str, Any], list[Chosen]]:
            members = range(int(edges[i]), int(edges[i + 1]))
            whole = [chosen_of(batch, at, first + at, int(control[at])) for at in members[:IN_PACK]]
            return pack_of(batch, i, members, first), whole

        chance = _chance(self._rows + rows, self._seed + 1)
        keys = (chance, -used, np.diff(edges))
        for best, key in zip(self._packs.values(), keys, strict=True):
            best.offer(key, self._rows + rows, make)
        self._rows += len(rows)

    def samples(self) -> list[Chosen]:
        """The samples that were chosen, each once: extremes, some of each source, those of one pack (the
        first ones, if it has very many), then the random sample."""
        groups = [(name, best.items()) for name, best in self._extremes.items()]
        groups += [("of its source", best.items()) for best in self._sources.values()]
        whole = self._packs["sample"].items()[:1]
        groups += [("whole pack", members) for _, members in whole]
        groups.append((RANDOM, self._sample.items()))
        found: dict[tuple[str, int, int], Chosen] = {}
        for why, members in groups:
            for each in members:
                own = found.setdefault(each.origin, each)  # a row that is upsampled is shown once
                own.why += [] if why in own.why else [why]
        return list(found.values())

    def packs(self) -> list[dict[str, Any]]:
        """The packs that were chosen (`pack_of`), in the order of the output."""
        found = {pack["key"]: pack for best in self._packs.values() for pack, _ in best.items()}
        return sorted(found.values(), key=lambda pack: (pack["split"], pack["row"]))

    def see_rejected(self, lines: pa.RecordBatch) -> None:
        """Look at a batch of the reject log."""
        reasons = lines.column("reason").dictionary_encode()
        chance = _chance(self._lines + np.arange(lines.num_rows), self._seed + 2)
        indices = reasons.indices.to_numpy()
        for number, reason in enumerate(reasons.dictionary.to_pylist()):
            if reason in self._rejects or len(self._rejects) < REASONS:
                own = np.flatnonzero(indices == number)
                best = self._rejects.setdefault(reason, Best(REJECTS_OF_REASON))
                best.offer(chance[own], own + self._lines, _at(own, partial(rejected_of, lines)))
        self._lines += lines.num_rows

    def rejects(self) -> list[dict[str, Any]]:
        """The rows of the reject log that were chosen, as JSON values: by reason, rejected ones first."""
        found = [line for best in self._rejects.values() for line in best.items()]
        return sorted(
            found,
            key=lambda line: (line["reason"] in NOT_REJECTED, line["reason"], line["source"], line["row"]),
        )


def _at(places: np.ndarray, make: Callable[[int], Any]) -> Callable[[int], Any]:
    """What makes an item of a selection, int64[n], by what makes an item of all."""
    return lambda i: make(int(places[i]))


def _chance(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A number from 0 to 1 for each, always the same, float64[n]."""
    return hashing.chance(numbers.astype(np.uint64) + np.uint64(seed % 2**63))


def _fraction(words: np.ndarray) -> np.ndarray:
    """Random bits as fractions of 1, uint64[n] -> float64[n]."""
    fractions: np.ndarray = (words >> np.uint64(11)) / np.float64(2**53)
    return fractions


def chosen_of(batch: SampleBatch, i: int, number: int, control: int) -> Chosen:
    """Return sample i of a batch, which has this number in its split and so many control tokens."""
    (origin,) = batch.origin.slice(i, 1).to_pylist()
    ids, labels = batch.tokens(i)
    return Chosen(
        split=batch.split,
        number=number,
        row=int(batch.row[i]),
        offset=int(batch.offset[i]),
        trained=int(batch.trained[i]),
        control=control,
        source=origin["source"],
        source_row=origin["row"],
        id=origin["id"],
        sample=origin["sample"],
        ids=ids,
        labels=labels,
    )


def pack_of(batch: SampleBatch, row: int, members: range, first: int) -> dict[str, Any]:
    """Return one row of a batch as JSON values.

    `members` are its samples in the batch, whose first sample has the number `first` in its split. `samples`
    are [key, tokens, trained, source, row, number in the row, first token]; the first ones, if there are very
    many.
    """
    shown = members[:IN_PACK]
    origins = batch.origin.slice(members.start, len(shown)).to_pylist()
    samples = [
        [
            key_of(batch.split, first + i),
            *(int(column[i]) for column in (batch.length, batch.trained)),
            *(origin[name] for name in ("source", "row", "sample")),
            int(batch.offset[i]),
        ]
        for i, origin in zip(shown, origins, strict=True)
    ]
    own = slice(members.start, members.stop)
    return {
        "key": key_of(batch.split, batch.first_row + row),
        "split": batch.split,
        "row": batch.first_row + row,
        "tokens": int(batch.length[own].sum()),
        "trained": int(batch.trained[own].sum()),
        "samples": samples,
        "left_out": len(members) - len(shown),
    }


def rejected_of(lines: pa.RecordBatch, i: int) -> dict[str, Any]:
    """Return line i of a batch of the reject log as JSON values; what is long is shortened."""
    (line,) = lines.slice(i, 1).to_pylist()
    original, left_out = shortened(line["original"] or "", ORIGINAL)
    return {
        **{name: line[name] for name in ("source", "row", "id", "reason")},
        "detail": shortened(line["detail"] or "", ORIGINAL)[0],
        "original": original,
        "left_out": left_out,
    }


def shortened(text: str, limit: int) -> tuple[str, int]:
    """Return the first characters of a text, and how many are left out.

    >>> shortened("abcdef", 4), shortened("abc", 4)
    (('abcd', 2), ('abc', 0))
    """
    return text[:limit], max(len(text) - limit, 0)
