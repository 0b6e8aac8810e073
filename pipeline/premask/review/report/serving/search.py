"""Search over all samples of an output: ids and sources at once, texts for a bounded time at a stretch.

    search = Search(dataset, index, texts)
    found = search.find("refund")           # hits: bool[n]; looked: samples whose texts were searched so far
    found = search.find("refund")           # goes on where it stopped

Texts are searched as the tokens are shown: control tokens, too. Upper and lower case are the same.

Cost: 0.1 us a sample for ids; 50 ns a token for texts, of which one call searches `SECONDS`. Memory is a byte
a sample for each of the last `KEPT` searches.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....core.errors import OutputError
from ....core.text import storable
from ....output.dataset import Dataset
from ....output.read_samples import SampleBatch, read_samples
from ....output.sample_index import SampleIndex
from ....tokens.token_text import TokenTexts

SECONDS = 0.5
"""Wall-clock seconds for which one call searches texts."""

KEPT = 4
"""Searches that are remembered."""


class Found(NamedTuple):
    """Which samples match, bool[n], and how many of them had their texts searched: the first so many."""

    hits: np.ndarray
    looked: int


@dataclass
class _Search:
    """One search: its hits so far, and the samples whose texts come next."""

    wanted: bytes
    hits: np.ndarray
    batches: Iterator[SampleBatch]
    looked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Search:
    """Searches the samples of one output; for any number of threads."""

    def __init__(self, dataset: Dataset, index: SampleIndex, texts: TokenTexts) -> None:
        self._dataset, self._index, self._texts = dataset, index, texts
        self._kept: OrderedDict[str, _Search] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, text: str) -> Found:
        """Return the samples whose id, source or text has a text in it. Texts are searched for `SECONDS` more
        than before. Raises `OutputError` if a shard cannot be read."""
        search = self._search(text)
        with search.lock:
            end = time.monotonic() + SECONDS
            while search.looked < len(self._index) and time.monotonic() < end:
                batch = next(search.batches, None)
                if batch is None:
                    raise OutputError("the output was changed while its texts were searched; start again")
                hits = _hits(batch, self._lower, search.wanted)
                search.hits[search.looked : search.looked + len(hits)] |= hits
                search.looked += len(hits)
            return Found(search.hits.copy(), search.looked)

    def _search(self, text: str) -> _Search:
        with self._lock:
            if text not in self._kept:
                hits = self._ids_and_sources(text)
                wanted = text.lower().encode("utf-8", "replace")
                self._kept[text] = _Search(wanted, hits, read_samples(self._dataset))
            self._kept.move_to_end(text)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[text]

    def _ids_and_sources(self, text: str) -> np.ndarray:
        named = [i for i, name in enumerate(self._index.names) if text.lower() in name.lower()]
        hits, at = np.isin(self._index.source, named), 0
        for split in self._dataset.splits:
            for batch in self._dataset.lineage(split, ["id"]):
                same = pc.match_substring(batch.column("id"), storable(text), ignore_case=True).fill_null(
                    False
                )
                hits[at : at + len(same)] |= same.to_numpy(zero_copy_only=False)
                at += len(same)
        return hits

    @cached_property
    def _lower(self) -> pa.Array:
        """The bytes of all tokens in lower case; the last one is of ids that are no tokens."""
        return pa.array([*map(_lowered, self._texts.all_bytes()), b"\0"], pa.large_binary())


def _lowered(data: bytes) -> bytes:
    try:
        return data.decode().lower().encode()
    except UnicodeDecodeError:
        return data


def _hits(batch: SampleBatch, tokens: pa.Array, wanted: bytes) -> np.ndarray:
    """Which samples of a batch have these bytes in their text, bool[n]."""
    ids = np.where((batch.ids >= 0) & (batch.ids < len(tokens) - 1), batch.ids, len(tokens) - 1)
    text = tokens.take(pa.array(ids))
    offsets = np.frombuffer(text.buffers()[1], dtype=np.int64)[: len(ids) + 1]
    data = text.buffers()[2].to_pybytes() if len(ids) else b""
    starts, ends = offsets[batch.begin], offsets[batch.begin + batch.length]
    hits, at = np.zeros(len(starts), dtype=bool), data.find(wanted)
    while at >= 0:
        i = int(np.searchsorted(starts, at, side="right")) - 1
        if i >= 0 and at + len(wanted) <= ends[i]:
            hits[i] = True
            at = int(ends[i]) - 1
        at = data.find(wanted, at + 1)
    return hits
