"""Contamination: rows that share text with evaluation sets.

    index = read_sets(recipe)                       # once; None without `decontaminate`
    index.write(path)
    contaminated = Contamination(path, settings)    # in workers
    contaminated.rows(piece, numbers, texts)        # the rows that are left out

Each text of an evaluation set is compared by itself: a column of a row, or the strings of a list together. A
row is contaminated if so many of the words of one text (`overlap`) lie in runs of `ngram` words that the row
has, too. This is the rule of Tülu 3 (Lambert et al. 2024, arXiv 2411.15124): 8 words, half of the text. With
`overlap` near 0 a single run is enough, as in GPT-3 (Brown et al. 2020, arXiv 2005.14165): 13 words. Texts
with fewer words than a run are not compared; they are counted. What counts as a word is in `words.py`.

Cost: 0.3 us a word of a row; 16 bytes a word of the evaluation sets, in each worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import runs_of_numbers
from ..core.comparing import Decontaminate
from ..core.errors import RecipeError, SourceError
from ..core.recipe import Recipe
from ..core.records import SourceInfo
from ..sources.cutting import whole
from ..sources.listing import inspect_sources
from ..sources.reading import read_slice
from .dropped import Drop, readable
from .words import run_hashes, word_hashes, words_of

# ==== The evaluation sets ====

_ARRAYS = ("runs", "text", "at", "words", "of_set", "row")
_FILTER_BITS = 22  # of a run that are looked up first


@dataclass(frozen=True)
class EvaluationIndex:
    """All runs of words of the evaluation sets.

    sets    the file of each set, with its identity, texts and texts that are too short, as JSON values
    arrays  `runs` uint64[k] ascending, `text` int32[k] and `at` int32[k]: the text in which a run is, and its
            first word there; `words` int32[n], `of_set` int32[n], `row` int64[n]: of each text
    """

    sets: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        with path.open("wb") as file:
            names = np.array([each["source"] for each in self.sets])
            np.savez(file, allow_pickle=False, names=names, **self.arrays)


def read_sets(recipe: Recipe) -> EvaluationIndex | None:
    """Return the index of the evaluation sets of a recipe; None if it names none.

    Raises `SourceError` or `RecipeError` for a set that cannot be read, or has no text to compare.
    """
    settings = recipe.decontaminate
    if settings is None:
        return None
    try:
        infos = inspect_sources(settings.sets, seed=recipe.seed, max_row_bytes=recipe.max_row_bytes)
        return _indexed([(info, [*_texts(info)]) for info in infos], settings.ngram)
    except (SourceError, RecipeError) as error:
        raise type(error)(f"decontaminate: {error}") from None


def _texts(info: SourceInfo) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the texts of an evaluation set as hashes of their words, with the number of the row."""
    for row in read_slice(whole(info)):
        if row.error is not None:
            raise SourceError(f"{info.source}: row {row.row} cannot be read: {row.error}")
        for value in row.value.values() if isinstance(row.value, dict) else [row.value]:
            if strings := [*_strings(value)]:
                yield row.row, word_hashes(strings)


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings in a value, in order.

    >>> list(_strings({"text": ["Yes", "No"], "label": 1}))
    ['Yes', 'No']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from chain.from_iterable(map(_strings, value))
    elif isinstance(value, dict):
        yield from chain.from_iterable(map(_strings, value.values()))


def _indexed(
    sets: Sequence[tuple[SourceInfo, Sequence[tuple[int, np.ndarray]]]], ngram: int
) -> EvaluationIndex:
    about, texts, rows, of_set = [], list[np.ndarray](), list[int](), list[int]()
    for number, (info, found) in enumerate(sets):
        long = [(row, words) for row, words in found if len(words) >= ngram]
        if not long:
            raise SourceError(f"{info.source} has no text of {ngram} words; name others, or lower ngram")
        texts += [words for _, words in long]
        rows += [row for row, _ in long]
        of_set += [number] * len(long)
        known = {key: value for key, value in info.about().items() if key in _IDENTITY}
        about.append({**known, "texts": len(long), "too_short": len(found) - len(long)})
    runs, starts = run_hashes(texts, ngram)
    order = np.argsort(runs, kind="stable")
    counts = np.diff(starts)
    text = np.repeat(np.arange(len(texts), dtype=np.int32), counts)
    at = (np.arange(len(runs)) - np.repeat(starts[:-1], counts)).astype(np.int32)
    arrays = {
        "runs": runs[order],
        "text": text[order],
        "at": at[order],
        "words": np.array([len(words) for words in texts], dtype=np.int32),
        "of_set": np.array(of_set, dtype=np.int32),
        "row": np.array(rows, dtype=np.int64),
    }
    return EvaluationIndex(about, arrays)


_IDENTITY = ("source", "bytes", "sha256", "version")


# ==== Rows, in workers ====


class Contamination:
    """Finds the rows that share text with the evaluation sets of an index.

    Raises `OutputError` if the file of the index was changed.
    """

    def __init__(self, path: Path, settings: Decontaminate) -> None:
        self._settings = settings
        with readable(path), path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            self._names = [str(name) for name in file["names"]]
            runs, self._text, self._at, self._words, self._of_set, self._row = (
                file[name] for name in _ARRAYS
            )
        self._runs, first = np.unique(runs, return_index=True)
        self._starts = np.append(first, len(runs))
        self._seen = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._seen[self._short(runs)] = True

    def rows(self, piece: int, numbers: Sequence[int], texts: Sequence[Sequence[str]]) -> list[Drop]:
        """Return the contaminated rows of n rows of a slice; `numbers` are those in the file, `texts` the
        texts of each that are compared."""
        runs, starts = run_hashes([word_hashes(each) for each in texts], self._settings.ngram)
        maybe = np.flatnonzero(self._seen[self._short(runs)])
        index = np.minimum(np.searchsorted(self._runs, runs[maybe]), len(self._runs) - 1)
        hit = self._runs[index] == runs[maybe]
        places, index = maybe[hit], index[hit]
        cuts = np.searchsorted(places, starts)
        found = []
        for row in np.flatnonzero(np.diff(cuts)).tolist():
            own = slice(cuts[row], cuts[row + 1])
            match = self._most(index[own])
            if match is not None:
                text, share, run = match
                at = int(places[own][index[own] == run][0] - starts[row])
                found.append(self._drop(piece, numbers[row], text, share, self._words_at(texts[row], at)))
        return found

    @staticmethod
    def _short(runs: np.ndarray) -> np.ndarray:
        return runs >> np.uint64(64 - _FILTER_BITS)

    def _most(self, index: np.ndarray) -> tuple[int, float, int] | None:
        """Return the text of which most words lie in some runs, by their index: its number, the share of its
        words, and the first of the runs in it. None if the share is too small for all texts."""
        index = np.unique(index)
        counts = self._starts[index + 1] - self._starts[index]
        places = runs_of_numbers(self._starts[index], counts)
        order = np.lexsort((self._at[places], self._text[places]))
        text, at, run = self._text[places][order], self._at[places][order], np.repeat(index, counts)[order]
        first = np.flatnonzero(np.diff(text, prepend=-1))
        new = np.minimum(np.diff(at, prepend=0), self._settings.ngram)  # words that each run adds
        new[first] = self._settings.ngram
        share = np.add.reduceat(new, first) / self._words[text[first]]
        best = int(np.argmax(share))
        if share[best] < self._settings.overlap:
            return None
        return int(text[first[best]]), float(share[best]), int(run[first[best]])

    def _words_at(self, texts: Sequence[str], at: int) -> str:
        words = chain.from_iterable(map(words_of, texts))
        return " ".join(islice(words, at, at + self._settings.ngram))

    def _drop(self, piece: int, number: int, text: int, share: float, words: str) -> Drop:
        name = self._names[self._of_set[text]]
        detail = (
            f"{share:.0%} of the words of a text in row {self._row[text]} of {name}, such as '{words:.300}'"
        )
        return Drop(piece, number, "contaminated", detail, name)
