"""What the page of a served output asks for, as JSON values, read from the shards when it is asked for.

    with Answers(open_dataset(out)) as answers:
        answers.page(wait=1)                        # HTML; None if the output is not counted by then
        answers.of("list", {"sort": "tokens"})      # {"total": 998996, "rows": [...]}

Answers are bounded, whatever the rows hold. Cost: memory is 50 bytes a sample, and some row groups.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ....core.errors import OutputError
from ....output.dataset import Dataset
from ....output.sample_index import SampleIndex
from ....tokens.token_text import TokenTexts
from ..choice import chosen_of, key_of, rejected_of, shortened
from ..page import render_page, summary_of
from ..samples import TOKEN_CHARACTERS, first_words, item_of
from .counting import Counted
from .listed import Asked, BadQuestionError, Lists, whole_number
from .packs import about, packs_of
from .rejects import RejectIndex
from .roles import LATE, Roles
from .search import Search

MOST_ROWS = 200
"""Rows of one answer."""

HEAD_TOKENS = 500
"""Tokens in which the first words of a sample are looked for."""

WORDS_KEPT = 20_000
"""Samples whose first words are remembered."""

READERS = 4
"""Threads that read at a time."""

_KEY = re.compile(r"(.{1,200})/([0-9]{1,18})", re.DOTALL)
_SHOWN = (
    "They are read from the shards when you look at them. If their source is here, each is processed again."
)
_FILTERS = ("search", "source", "split", "tokens", "share")
_SEARCH = "id, source, or words of the text"


class Answers:
    """The answers about one output; for any number of threads."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self._stamp = dataset, _stamp_of(dataset)
        self._texts = TokenTexts(dataset.tokenizer / "tokenizer.json")
        self._ends = self._texts.ids_of(dataset.manifest.template.turn_ends)
        self._roles = Roles(dataset)
        self.counted = Counted(dataset)
        self._readers, self._lock = threading.Semaphore(READERS), threading.Lock()
        self._words = dict[int, str]()
        self._answers = {
            "summary": self._summary,
            "list": self._list,
            "sample": self._sample,
            "packs": self._packs,
            "pack": self._pack,
            "rejects": self._rejected,
        }

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._roles.close()

    def page(self, wait: float) -> str | None:
        """Return the page; None if the output is not counted within so many seconds. Raises `OutputError` if
        it cannot be read, or was changed."""
        figures = self.counted.figures(wait)
        self._check_unchanged()
        if figures is None:
            return None
        shown = f"All {figures['samples']:,} samples are listed.", _SHOWN
        return render_page(self.dataset, figures, data=None, shown=shown)

    def of(self, name: str, asked: Asked) -> Any:
        """Return the answer to a question.

        Raises `BadQuestionError` for a question that is none, and `OutputError` if the output cannot be read,
        or was changed or removed since it was opened.
        """
        if name not in self._answers:
            raise BadQuestionError(f"there is no {name}")
        with self._readers:
            self._check_unchanged()
            try:
                return self._answers[name](asked)
            except OutputError:
                self._check_unchanged()
                raise

    def _check_unchanged(self) -> None:
        if _stamp_of(self.dataset) != self._stamp:
            what = f"{self.dataset.root} was changed or removed since it was opened"
            raise OutputError(f"{what}; end premask report --serve, and start it again")

    @cached_property
    def _search_and_lists(self) -> Lists:
        index = self.counted.index()
        return Lists(index, Search(self.dataset, index, self._texts))

    @cached_property
    def _reject_log(self) -> RejectIndex:
        return RejectIndex(self.dataset)

    def _lists(self) -> Lists:
        with self._lock:
            return self._search_and_lists

    def _rejects(self) -> RejectIndex:
        with self._lock:
            return self._reject_log

    # ==== Answers ====

    def _summary(self, _: Asked) -> dict[str, Any]:
        figures = self.counted.figures()
        return summary_of(self.dataset, figures or {}, why=[], filters=_FILTERS, search=_SEARCH)

    def _list(self, asked: Asked) -> dict[str, Any]:
        index, listed = self.counted.index(), self._lists().of(asked)
        at, count = _page_of(asked)
        numbers = listed.samples[at : at + count].astype(np.int64)
        words, rows = self._first_words(index, numbers), list[dict[str, Any]]()
        for number, line in zip(numbers.tolist(), index.lines(numbers), strict=True):
            origin = {name: line[name] for name in ("source", "row", "sample")}
            short = None if line["id"] is None else shortened(line["id"], TOKEN_CHARACTERS)[0]
            rows.append({**about(index, number), **origin, "id": short, "first_words": words[number]})
        return {"total": len(listed.samples), "rows": rows, **_searched(index, listed.looked)}

    def _first_words(self, index: SampleIndex, numbers: np.ndarray) -> dict[int, str]:
        known = {number: self._words[number] for number in numbers.tolist() if number in self._words}
        wanted = np.array([number for number in numbers.tolist() if number not in known], dtype=np.int64)
        for number, ids in zip(wanted.tolist(), index.heads(wanted, HEAD_TOKENS), strict=True):
            known[number] = first_words(self._texts.groups(ids.tolist()), self._texts.count_special(ids))
        self._words = known if len(self._words) > WORDS_KEPT else self._words | known
        return known

    def _sample(self, asked: Asked) -> dict[str, Any] | None:
        index = self.counted.index()
        number = _number_of(index.splits, asked.get("key", ""))
        if number is None:
            return None
        (batch, i), place = index.read(number), index.place(number)
        control = int(self._texts.count_special(batch.tokens(i)[0]).sum())
        chosen = chosen_of(batch, i, place.number, control)
        traced, note = self._roles.of(chosen.origin, (chosen.ids, chosen.labels))
        found = item_of(chosen, traced, self._texts, self._ends)
        found |= {"siblings": _siblings(index, number), "note": note, "later": note == LATE}
        return found | ({"pack_key": key_of(place.split, place.row)} if self._is_packed else {})

    @property
    def _is_packed(self) -> bool:
        return self.dataset.layout == "packed"

    def _packs(self, asked: Asked) -> dict[str, Any]:
        index, (at, count) = self.counted.index(), _page_of(asked)
        rows, total = list[dict[str, Any]](), 0
        for split in index.splits if self._is_packed else ():
            here = len(index.rows(split)) - 1
            own = range(min(max(at - total, 0), here), min(max(at + count - total, 0), here))
            rows += packs_of(index, split, own) if own else []
            total += here
        return {"total": total, "rows": rows}

    def _pack(self, asked: Asked) -> dict[str, Any] | None:
        index = self.counted.index()
        splits = {name: range(len(index.rows(name)) - 1) for name in index.splits if self._is_packed}
        row = _number_of(splits, key := asked.get("key", ""))
        return None if row is None else packs_of(index, key.rpartition("/")[0], range(row, row + 1))[0]

    def _rejected(self, asked: Asked) -> dict[str, Any]:
        if self.dataset.manifest.rejects_left_out:
            return {"total": 0, "rows": []}
        log, (at, count) = self._rejects(), _page_of(asked)
        numbers = log.matching(asked)
        return {"total": len(numbers), "rows": log.lines(numbers[at : at + count], rejected_of)}


def _page_of(asked: Asked) -> tuple[int, int]:
    """Where the rows that are asked for begin, and how many they are."""
    return whole_number(asked, "at", 0, 1 << 60), whole_number(asked, "count", 50, MOST_ROWS)


def _number_of(parts: Mapping[str, range], key: str) -> int | None:
    """The number that a key means, given the numbers of each split; None if there is none.

    >>> _number_of({"train": range(5), "test": range(5, 7)}, "test/1")
    6
    """
    found = _KEY.fullmatch(key)
    own = parts.get(found[1], range(0)) if found else range(0)
    return own[int(found[2])] if found and int(found[2]) < len(own) else None


def _siblings(index: SampleIndex, number: int) -> list[tuple[str, int]]:
    """The keys of the samples of the same row, each with its number in the row, in order."""
    numbers = np.array(index.of_row(number)[:MOST_ROWS], dtype=np.int64)
    samples = [line["sample"] for line in index.lines(numbers)]
    keys = [about(index, each)["key"] for each in numbers.tolist()]
    return sorted(zip(keys, samples, strict=True), key=lambda each: each[1])


def _searched(index: SampleIndex, looked: int | None) -> dict[str, Any]:
    """How far texts were searched, where not all of them were."""
    if looked is None:
        return {}
    texts = f"the text of the first {looked:,} of {len(index):,}"
    return {"note": f"Ids and sources of all samples were searched, and {texts}.", "searched": looked}


def _stamp_of(dataset: Dataset) -> list[tuple[int, ...]]:
    """What changes if a file of an output is changed, replaced or removed."""
    found = list[tuple[int, ...]]()
    for name in ("manifest.json", *(shard.path for shard in dataset.manifest.shards)):
        try:
            stat = (dataset.root / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append(())
    return found
