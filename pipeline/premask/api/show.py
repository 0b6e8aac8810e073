"""What is trained, to look at: in colour in a notebook, as text anywhere else.

show(dataset, tokenizer)            # anything with input_ids and labels, also what other tools made
show(masker(messages))              # samples of premask know who wrote what
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..review.notebook.labelled import MOST_CHARACTERS, labelled_card
from ..review.notebook.markup import html_of
from ..review.notebook.plain import is_coloured, text_of
from ..review.notebook.rows import is_row, read_row
from ..review.notebook.tokens import tokens_of
from ..review.notebook.view import Card, notes_of, view_of
from ..tokens.token_text import TokenTexts
from ..tokens.tokenizer import load_tokenizer
from .keys import Keys
from .masker import MaskedSample
from .result import Result

ALL_CHARACTERS, LEAST_CHARACTERS = 240_000, 1_200
"""Characters that are shown: of all samples at most, and of one at least."""
IN_A_PACK = 8
"""Samples of a packed row that are shown."""


@dataclass(frozen=True)
class Shown:
    """Samples as they are shown: `print` them, or let a notebook do it."""

    cards: tuple[Card, ...]

    def _repr_html_(self) -> str:
        return html_of(self.cards)

    def __repr__(self) -> str:
        return text_of(self.cards, colour=is_coloured())

    __str__ = __repr__


def show(data: Any, tokenizer: Any = None, n: int = 5) -> Shown:
    """Show the first `n` samples of some data, with the trained text marked.

    `data` is a sample of `Masker`, a row with `input_ids` and `labels` (or a mask, as TRL has it), or several
    of either: a list, a `Dataset` in any format, an `IterableDataset`, a `DataFrame`, a batch of
    columns. Packed rows are shown sample by sample, and what is strange in the labels is said. `tokenizer` is
    a directory, a Hub id or a tokenizer of transformers; samples of `Masker` need none.

    Raises `TypeError` for rows without ids and labels, `ValueError` for an `n` below 0, and `TokenizerError`.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"show: n must be a number, not {type(n).__name__}")
    if n < 0:
        raise ValueError(f"show: n must be at least 0, not {n}")
    texts = None if tokenizer is None else _texts(tokenizer)
    samples = list(islice(_samples(data), n))
    limit = max(LEAST_CHARACTERS, min(MOST_CHARACTERS, ALL_CHARACTERS // max(len(samples), 1)))
    return Shown(tuple(_card(number, each, texts, limit) for number, each in enumerate(samples)))


# ==== Kinds of data ====


def _samples(data: Any) -> Iterator[Any]:
    """Yield the samples and rows of some data, one by one."""
    if isinstance(data, (str, bytes, Path)):
        raise TypeError(
            f"show takes samples, rows or a dataset, not {type(data).__name__}: "
            "for files, use premask.open or datasets.load_dataset"
        )
    if isinstance(data, Result):
        layouts = " or ".join(f'result["{name}"]' for name in data.layouts)
        raise TypeError(f"show takes samples, rows or a dataset, not a Result: show {layouts}")
    if isinstance(data, MaskedSample):
        yield data
    elif isinstance(data, Mapping):
        yield from _of_mapping(data)
    elif hasattr(data, "iter_rows"):  # polars
        yield from data.iter_rows(named=True)
    elif hasattr(data, "to_batches"):  # Arrow
        yield from (row for batch in data.to_batches() for row in batch.to_pylist())
    elif hasattr(data, "iterrows"):  # pandas
        yield from (dict(row) for _, row in data.iterrows())
    elif hasattr(data, "__iter__"):
        for each in data:
            is_several = isinstance(each, (list, tuple)) or (isinstance(each, Mapping) and is_row(each))
            yield from _samples(each) if is_several else [each]
    else:
        raise TypeError(f"show takes samples, rows or a dataset, not {type(data).__name__}")


def _of_mapping(data: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a row, the rows of a batch of columns, or those of the datasets of a `DatasetDict`."""
    if not is_row(data) and data and all(hasattr(each, "column_names") for each in data.values()):
        for name, each in data.items():
            yield from ({"split": name, **row} for row in each)
    elif not _is_of_columns(data):
        yield data
    else:
        count = _length(data["input_ids"])
        names = [name for name, column in data.items() if _length(column) == count]
        for values in zip(*(data[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))


def _length(column: Any) -> int:
    """Return how many values a column has; -1 of what is none, such as a number beside the columns."""
    try:
        return len(column)
    except TypeError:
        return -1


def _is_of_columns(data: Mapping[str, Any]) -> bool:
    """Whether a mapping has columns, such as a batch of `datasets`, and not one row."""
    ids = data.get("input_ids")
    if ids is None or isinstance(ids, (str, bytes)) or not hasattr(ids, "__len__") or not len(ids):
        return False
    return getattr(ids[0], "ndim", int(isinstance(ids[0], Sequence) and not isinstance(ids[0], str))) > 0


# ==== One of them ====


def _card(number: int, sample: Any, texts: TokenTexts | None, limit: int) -> Card:
    title = f"sample {number}"
    if isinstance(sample, MaskedSample):
        return labelled_card(title, sample.labelled, limit=limit, texts=texts)
    if not isinstance(sample, Mapping):
        raise TypeError(f"{title} has no input_ids and labels; it is {type(sample).__name__}")
    row = read_row(sample, title)
    if texts is None:
        raise TypeError("show needs a tokenizer for rows with input_ids: premask.show(data, tokenizer)")
    shown, notes = row.samples[:IN_A_PACK], list(row.notes)
    views = []
    for part in shown:
        tokens = tokens_of(texts, part.ids, part.labels, part.weights, part.padding)
        own = notes_of(tokens)
        notes += [f"{part.name}: {note}" for note in own] if part.name else own
        views.append(view_of(part.name, tokens, limit=max(limit // len(shown), LEAST_CHARACTERS)))
    kind = "pack" if row.packed else "sample"
    return Card(f"{kind} {number}", row.facts, tuple(notes), tuple(views), len(row.samples) - len(shown))


# ==== Tokenizers ====


def _texts(tokenizer: Any) -> TokenTexts:
    """Return the texts of a tokenizer: a name, a tokenizer of transformers or tokenizers, or a processor."""
    own = getattr(tokenizer, "tokenizer", tokenizer)
    backend = getattr(own, "backend_tokenizer", own)
    if hasattr(backend, "to_str") and hasattr(backend, "id_to_token"):
        return TokenTexts((backend, backend.to_str()))
    loaded = load_tokenizer(Keys(own, None, {}).tokenizer)
    return TokenTexts((loaded.backend, loaded.json))
