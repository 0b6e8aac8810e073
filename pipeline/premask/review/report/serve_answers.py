"""What the page of a served output asks for, as JSON values, read from the shards when it is asked for.

    with Answers(open_dataset(out)) as answers:
        answers.page()                              # HTML; None until the output is counted
        answers.of("list", {"sort": "tokens"})      # {"total": 998996, "rows": [...]}

Opening an output starts a thread that reads its lineage (the list can then be asked for) and counts its
tokens (the page needs the figures). Answers are bounded, whatever the rows hold.

Cost: memory is 50 bytes a sample, and some row groups. Times are in `benchmarks/RESULTS.md`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from ...core.errors import OutputError, PremaskError
from ...output.dataset import Dataset
from ...output.read_samples import SampleBatch, rows_of
from ...output.sample_index import NOT_COUNTED, SampleIndex, read_index
from ...tokens.token_text import TokenTexts
from ..stats import measure
from .choice import IN_PACK, chosen_of, key_of, rejected_of, shortened
from .page import render_page, summary_of
from .samples import TOKEN_CHARACTERS, first_words, item_of
from .serve_list import Asked, BadQuestionError, Lists, whole_number
from .serve_rejects import RejectIndex
from .serve_roles import Roles
from .serve_search import Search

MOST_ROWS = 200
"""Rows of one answer."""

HEAD_TOKENS = 500
"""Tokens in which the first words of a sample are looked for."""

WORDS_KEPT = 20_000
"""Samples whose first words are remembered."""

_KEY = re.compile(r"(.{1,200})/([0-9]{1,18})", re.DOTALL)
_SHOWN = "All samples are listed, and read from the shards when you look at them.", ""
_FILTERS = ("search", "source", "split", "tokens", "share")


class ChangedError(OutputError):
    """The files of an output are no longer those that were opened."""


class Answers:
    """The answers about one output; for any number of threads, of which `READERS` read at a time."""

    READERS = 4

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self._roles = dataset, Roles(dataset)
        self._stamp = _stamp_of(dataset)
        self._texts = TokenTexts(dataset.tokenizer / "tokenizer.json")
        self._ends = self._texts.ids_of(dataset.manifest.template.turn_ends)
        self._index: SampleIndex | None = None
        self._figures: Mapping[str, Any] | None = None
        self._error: PremaskError | None = None
        self._readers = threading.Semaphore(self.READERS)
        self._words = dict[int, str]()
        self._is_read, self._is_counted = threading.Event(), threading.Event()
        threading.Thread(target=self._count, daemon=True).start()

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *error: object) -> None:
        self._roles.__exit__(*error)

    # ==== Counting ====

    def _count(self) -> None:
        """Read and count the output, in a thread of its own."""
        try:
            index = self._index = read_index(self.dataset)
            self._is_read.set()
            self._figures = measure(self.dataset.root, seen=[index.count_trained])
        except PremaskError as error:
            self._error = error
        finally:
            self._is_read.set()
            self._is_counted.set()

    @property
    def counted(self) -> float:
        """How much of the samples is counted, 0 to 1."""
        return 0.0 if self._index is None else self._index.counted / max(len(self._index), 1)

    def _known(self) -> SampleIndex:
        """The index, when it is read."""
        self._is_read.wait()
        if self._index is None:
            raise self._error or OutputError("the output cannot be read")
        return self._index

    @cached_property
    def _lists(self) -> Lists:
        return Lists(self._known(), Search(self.dataset, self._known(), self._texts))

    @cached_property
    def _rejects(self) -> RejectIndex:
        return RejectIndex(self.dataset)

    # ==== Answers ====

    def page(self, wait: float) -> str | None:
        """Return the page; None if the output is not counted within so many seconds. Raises `PremaskError` if
        it cannot be read."""
        if not self._is_counted.wait(wait):
            return None
        if self._figures is None:
            raise self._error or OutputError("the output cannot be read")
        return render_page(self.dataset, self._figures, data=None, shown=_SHOWN)

    def of(self, name: str, asked: Asked) -> Any:
        """Return the answer to one of `QUESTIONS`.

        Raises `BadQuestionError` for a question that is none, `ChangedError` if the output was changed or
        removed since it was opened, and `OutputError` if it cannot be read.
        """
        if name not in QUESTIONS:
            raise BadQuestionError(f"there is no {name}")
        with self._readers:
            self._check_unchanged()
            try:
                return QUESTIONS[name](self, asked)
            except OutputError:
                self._check_unchanged()
                raise

    def _check_unchanged(self) -> None:
        if _stamp_of(self.dataset) != self._stamp:
            root = self.dataset.root
            raise ChangedError(f"{root} was changed or removed; end the command, and start it again")

    def _summary(self, _: Asked) -> dict[str, Any]:
        self._is_counted.wait()
        if self._figures is None:
            raise self._error or OutputError("the output cannot be read")
        search = "id, source, or words of the text"
        return summary_of(self.dataset, self._figures, why=[], filters=_FILTERS, search=search)

    def _list(self, asked: Asked) -> dict[str, Any]:
        index, listed = self._known(), self._lists.of(asked)
        at, count = _page_of(asked)
        numbers = listed.samples[at : at + count].astype(np.int64)
        words, rows = self._first_words(index, numbers), index.lines(numbers)
        return {
            "total": len(listed.samples),
            "rows": [
                {
                    **self._about(index, number),
                    **{name: line[name] for name in ("source", "row", "sample")},
                    "id": None if line["id"] is None else shortened(line["id"], TOKEN_CHARACTERS)[0],
                    "first_words": words[number],
                }
                for number, line in zip(numbers.tolist(), rows, strict=True)
            ],
            **_searched(index, listed.looked),
        }

    def _about(self, index: SampleIndex, number: int) -> dict[str, Any]:
        place, trained = index.place(number), int(index.trained[number])
        return {
            "key": key_of(place.split, place.number),
            "split": place.split,
            "tokens": int(index.length[number]),
            "trained": None if trained == NOT_COUNTED else trained,
        }

    def _first_words(self, index: SampleIndex, numbers: np.ndarray) -> dict[int, str]:
        known = {number: self._words[number] for number in numbers.tolist() if number in self._words}
        wanted = np.array([number for number in numbers.tolist() if number not in known], dtype=np.int64)
        for number, ids in zip(wanted.tolist(), index.heads(wanted, HEAD_TOKENS), strict=True):
            groups = self._texts.groups(ids.tolist())
            known[number] = first_words(groups, self._texts.count_special(ids))
        if len(self._words) > WORDS_KEPT:
            self._words = {}
        self._words |= known
        return known

    def _sample(self, asked: Asked) -> dict[str, Any] | None:
        index = self._known()
        number = _number_of(index.splits, asked.get("key", ""))
        if number is None:
            return None
        batch, i = index.read(number)
        control = int(self._texts.count_special(batch.tokens(i)[0]).sum())
        place = index.place(number)
        chosen = chosen_of(batch, i, place.number, control)
        traced, note = self._roles.of(chosen.origin, (chosen.ids, chosen.labels))
        found = item_of(chosen, traced, self._texts, self._ends)
        siblings = index.of_row(number)[:MOST_ROWS]
        samples = [line["sample"] for line in index.lines(np.array(siblings))]
        keys = [self._about(index, each)["key"] for each in siblings]
        found["siblings"] = sorted(zip(keys, samples, strict=True), key=lambda each: each[1])
        if self.dataset.layout == "packed":
            found["pack_key"] = key_of(place.split, place.row)
        return {**found, "note": note} if note else found

    def _packs(self, asked: Asked) -> dict[str, Any]:
        index, (at, count) = self._known(), _page_of(asked)
        if self.dataset.layout != "packed":
            return {"total": 0, "rows": []}
        rows, total = list[dict[str, Any]](), 0
        for split in index.splits:
            here = len(index.rows(split)) - 1
            own = range(max(at - total, 0), max(min(at + count - total, here), 0))
            rows += [self._pack_of(index, split, row) for row in own]
            total += here
        return {"total": total, "rows": rows}

    def _pack(self, asked: Asked) -> dict[str, Any] | None:
        index = self._known()
        found = _KEY.fullmatch(asked.get("key", ""))
        if self.dataset.layout != "packed" or found is None or found[1] not in index.splits:
            return None
        row = int(found[2])
        return self._pack_of(index, found[1], row) if row < len(index.rows(found[1])) - 1 else None

    def _pack_of(self, index: SampleIndex, split: str, row: int) -> dict[str, Any]:
        """One pack as `choice.pack_of` has it, from the index and the lineage."""
        first, stop = index.rows(split)[row : row + 2].tolist()
        shown = np.arange(first, min(stop, first + IN_PACK))
        samples = []
        for number, line in zip(shown.tolist(), index.lines(shown), strict=True):
            about = self._about(index, number)
            names = ("source", "row", "sample", "offset")
            samples.append([about["key"], about["tokens"], about["trained"], *(line[name] for name in names)])
        return {
            "key": key_of(split, row),
            "split": split,
            "row": row,
            "tokens": int(index.length[first:stop].sum()),
            "trained": int(index.trained[first:stop].sum()) if index.is_counted else None,
            "samples": samples,
            "left_out": stop - first - len(shown),
        }

    def _rejected(self, asked: Asked) -> dict[str, Any]:
        numbers = self._rejects.matching(asked)
        at, count = _page_of(asked)
        rows = self._rejects.lines(numbers[at : at + count], rejected_of)
        return {"total": len(numbers), "rows": rows}


QUESTIONS: Mapping[str, Callable[[Answers, Asked], Any]] = {
    "summary": Answers._summary,
    "list": Answers._list,
    "sample": Answers._sample,
    "packs": Answers._packs,
    "pack": Answers._pack,
    "rejects": Answers._rejected,
}
"""What can be asked for."""


def _page_of(asked: Asked) -> tuple[int, int]:
    """Where the rows that are asked for begin, and how many they are."""
    return whole_number(asked, "at", 0, 1 << 60), whole_number(asked, "count", 50, MOST_ROWS)


def _number_of(splits: Mapping[str, range], key: str) -> int | None:
    """The number of a sample over all splits, by its key; None if there is none.

    >>> _number_of({"train": range(5), "test": range(5, 7)}, "test/1")
    6
    """
    found = _KEY.fullmatch(key)
    own = splits.get(found[1], range(0)) if found else range(0)
    return own[int(found[2])] if found and int(found[2]) < len(own) else None


def _searched(index: SampleIndex, looked: int | None) -> dict[str, Any]:
    if looked is None:
        return {}
    return {
        "note": f"Ids and sources of all samples were searched, and texts of the first {looked:,} of "
        f"{len(index):,}.",
        "searched": looked / max(len(index), 1),
    }


def _stamp_of(dataset: Dataset) -> list[tuple[int, ...]]:
    """What changes if a file of an output is changed, replaced or removed."""
    names = ["manifest.json", *(shard.path for shard in dataset.manifest.shards)]
    found = []
    for name in names:
        try:
            stat = (dataset.root / name).stat()
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append(())
    return found
