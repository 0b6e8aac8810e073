"""README.md of an output, with a row of its data: the card's text from the manifest, the row from its files.

    place.update_card(recipe.card.shown(), card_of)
    output.finish(records, make_card=card_of, ...)

The row is read from the shards and the tokenizer of the output, never from the sources. So the same output
has the same card, whoever writes it. Cost: that of loading tokenizer.json, a tenth of a second,
unless it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import groupby
from pathlib import Path

from ..core.errors import OutputError
from ..core.manifest import Manifest
from ..output.dataset import Dataset
from ..output.example import TOKENIZER_FILE, ExampleRow, example_rows
from ..publish.card import make_card
from ..publish.card_example import Part, ShownExample
from ..tokens.token_text import TokenTexts


def card_of(manifest: Manifest, folder: Path, texts: Callable[[], TokenTexts] | None = None) -> str:
    """Return README.md of an output, given a folder with its tokenizer and the shard of the example. Without
    them, the card shows no example. `texts` gives the texts of a tokenizer that is loaded."""
    return make_card(manifest, _examples(manifest, folder, texts) if manifest.card.example else [])


def _examples(manifest: Manifest, folder: Path, load: Callable[[], TokenTexts] | None) -> list[ShownExample]:
    try:
        rows = example_rows(Dataset(folder, manifest))
        load = load or partial(TokenTexts, folder / TOKENIZER_FILE)
        texts = load() if rows else None
    except (OutputError, OSError, ValueError):
        return []
    return [] if texts is None else [_shown(texts, row) for row in rows]


def _shown(texts: TokenTexts, row: ExampleRow) -> ShownExample:
    if not row.left_out:
        return ShownExample(row.name, _parts(texts, row.ids, row.trained))
    head, tail = slice(0, row.head), slice(row.head, None)
    gap = Part(f"... {row.left_out:,} tokens are not shown ...", None)
    before, after = (_parts(texts, row.ids[each], row.trained[each]) for each in (head, tail))
    return ShownExample(row.name, [*before, gap, *after])


def _parts(texts: TokenTexts, ids: list[int], trained: list[bool]) -> list[Part]:
    """Return the text of ids, cut where it begins or ends to be trained."""
    pieces, at = list[tuple[str, bool]](), 0
    for text, count in texts.groups(ids):
        pieces.append((text, any(trained[at : at + count])))
        at += count
    runs = groupby(pieces, key=lambda piece: piece[1])
    return [Part("".join(text for text, _ in run), is_trained) for is_trained, run in runs]
