"""What is trained, to look at: in colour in a notebook, as text anywhere else.

show(dataset, tokenizer)            # anything with input_ids and labels, also what other tools made
show(masker(messages))              # samples of premask know who wrote what
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..review.explain import origins_of
from ..review.notebook.markup import Card, html_of, sample_card, text_of
from ..tokens.token_bytes import character_spans
from ..tokens.token_text import TokenTexts, groups_of
from ..tokens.tokenizer import load_tokenizer
from .keys import Keys
from .masker import MaskedSample


@dataclass(frozen=True)
class Shown:
    """Samples as they are shown: `print` them, or let a notebook do it."""

    cards: tuple[Card, ...]

    def _repr_html_(self) -> str:
        return html_of(self.cards)

    def __repr__(self) -> str:
        return text_of(self.cards)

    def __str__(self) -> str:
        return text_of(self.cards, colour=sys.stdout.isatty())


def show(data: Any, tokenizer: Any = None, n: int = 5) -> Shown:
    """Show the first `n` samples of some data, with the trained text marked.

    `data` is a sample of `Masker`, a row with `input_ids` and `labels`, or several of either: a list, a
    `Dataset`, an `IterableDataset`, a polars `DataFrame`. `tokenizer` is a directory, a Hub id or a tokenizer
    of transformers; samples of `Masker` need none. Raises `TypeError` for rows without ids and labels, and
    `TokenizerError`.
    """
    texts = None if tokenizer is None else _texts(tokenizer)
    cards = [_card(number, each, texts) for number, each in enumerate(islice(_samples(data), n))]
    return Shown(tuple(cards))


def _samples(data: Any) -> Iterator[Any]:
    if isinstance(data, (MaskedSample, Mapping)) and not _is_of_columns(data):
        yield data
    elif isinstance(data, Mapping):
        yield from _rows_of_columns(data)
    elif hasattr(data, "iter_rows"):
        yield from data.iter_rows(named=True)
    else:
        yield from data


def _is_of_columns(data: Any) -> bool:
    """Whether a mapping has columns, such as a batch of `datasets`, and not one row."""
    ids = data.get("input_ids") if isinstance(data, Mapping) else None
    return isinstance(ids, Sequence) and bool(ids) and not isinstance(ids[0], int)


def _rows_of_columns(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for ids, labels in zip(data["input_ids"], data["labels"], strict=True):
        yield {"input_ids": ids, "labels": labels}


def _card(number: int, sample: Any, texts: TokenTexts | None) -> Card:
    if isinstance(sample, MaskedSample):
        labelled = sample.labelled
        starts, ends = character_spans(sample.text, labelled.starts, labelled.ends)
        groups = groups_of(sample.text, starts.tolist(), ends.tolist())
        return sample_card(f"sample {number}", groups, sample.labels, origins_of(labelled.sample, starts))
    if not isinstance(sample, Mapping) or not {"input_ids", "labels"} <= set(sample):
        raise TypeError(f"sample {number} has no input_ids and labels; it is {type(sample).__name__}")
    if texts is None:
        raise TypeError("show needs a tokenizer for rows with input_ids: premask.show(data, tokenizer)")
    ids, labels = ([int(each) for each in sample[name]] for name in ("input_ids", "labels"))
    if len(ids) != len(labels):
        raise TypeError(f"sample {number} has {len(ids)} input_ids and {len(labels)} labels")
    return sample_card(f"sample {number}", texts.groups(ids), labels)


def _texts(tokenizer: Any) -> TokenTexts:
    keys = Keys(tokenizer, None, {})
    with tempfile.TemporaryDirectory(prefix="premask-") as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(load_tokenizer(keys.tokenizer).json, encoding="utf-8")
        return TokenTexts(path)
