"""Two outputs compared -> HTML: figures, what differs, and samples side by side with their masks.

    difference_html(compared)           # an element for a notebook
    difference_page(compared)           # a page of its own

The page has a Content-Security-Policy that allows its style and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from ...output.own_page import DIFFERENCE
from ...tokens.token_text import TokenTexts
from ..diff_pairs import Pair
from ..diff_pairs import Tokens as OfSample
from .markup import Budget, keys_of, parts, style
from .tokens import tokens_of
from .view import Card, View, view_of

SIDE_CHARACTERS = 6_000
"""Characters that are shown of each side of a sample."""
_PAGE_STYLE = "html { color-scheme: light dark } body { margin: 1rem } h1 { font: 600 1.4rem system-ui }"


class Compared(NamedTuple):
    """What is shown of two outputs.

    verdict     how it ended, in one line
    figures     name, value in the first, value in the second
    lines       what differs, a line each
    pairs       samples that differ
    tokenizers  tokenizer.json of both outputs
    """

    verdict: str
    figures: Sequence[tuple[str, str, str]]
    lines: Sequence[str]
    pairs: Sequence[Pair]
    tokenizers: tuple[Path, Path]


class _Shown(NamedTuple):
    """A sample that differs, as it is shown."""

    title: str
    note: str
    sides: list[tuple[str, View]]


_NOTES = {"tokens": "other tokens", "only_before": "only in the first", "only_after": "only in the second"}


def difference_html(compared: Compared) -> str:
    """Return two outputs compared as one HTML element. Raises `OutputError` if a tokenizer cannot be read."""
    texts = [TokenTexts(path) for path in compared.tokenizers] if compared.pairs else []
    shown = [_shown(pair, texts) for pair in compared.pairs]
    cards = [Card("", (), (), tuple(view for _, view in each.sides)) for each in shown]
    return str(parts().difference(style(), compared, shown, keys_of(cards), Budget()))


def difference_page(compared: Compared, title: str) -> str:
    """Return two outputs compared as a whole page. Raises `OutputError` as `difference_html` does."""
    hashes = " ".join(f"'sha256-{_hash(each)}'" for each in (_PAGE_STYLE, str(style())))
    body = Markup(difference_html(compared))  # noqa: S704  Jinja has escaped what it was given
    page_style = Markup(_PAGE_STYLE)  # noqa: S704  ours
    mark = Markup(DIFFERENCE.mark)  # noqa: S704  ours
    return f"{parts().page(title, mark, page_style, hashes, body)}\n"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(pair: Pair, texts: Sequence[TokenTexts]) -> _Shown:
    """Return what is shown of a pair: what differs, and tokens around it."""
    changed = _changed(pair.before, pair.after)
    sides = [
        (name, _side(own, texts[i], changed[i]))
        for i, (name, own) in enumerate((("first", pair.before), ("second", pair.after)))
        if own is not None
    ]
    differ = int(changed[0].sum()) if changed[0] is not None else 0
    note = _NOTES.get(pair.kind) or f"{differ:,} {'label differs' if differ == 1 else 'labels differ'}"
    return _Shown(pair.sample, note, sides)


def _side(own: OfSample, texts: TokenTexts, changed: np.ndarray | None) -> View:
    ids, labels = (each.astype(np.int64) for each in own)
    tokens = tokens_of(texts, ids, labels)
    if changed is not None:  # a token that differs is shown, and no padding
        tokens = replace(tokens, changed=changed, padding=tokens.padding & ~changed)
    return view_of("", tokens, limit=SIDE_CHARACTERS)


def _changed(before: OfSample | None, after: OfSample | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return which tokens differ, bool[t] of each side: those with other labels, or all between the first and
    the last that are others."""
    if before is None or after is None:
        return None, None
    if np.array_equal(before[0], after[0]):
        differ = before[1] != after[1]
        return differ, differ
    shorter = min(len(before[0]), len(after[0]))
    head = _equal(before[0][:shorter], after[0][:shorter])
    tail = min(_equal(before[0][::-1][:shorter], after[0][::-1][:shorter]), shorter - head)
    return tuple(_between(len(each[0]), head, tail) for each in (before, after))  # type: ignore[return-value]


def _equal(left: np.ndarray, right: np.ndarray) -> int:
    """Return how many items are the same, from the first one on.

    >>> _equal(np.array([1, 2, 3]), np.array([1, 2, 4]))
    2
    """
    differ = np.flatnonzero(left != right)
    return int(differ[0]) if len(differ) else len(left)


def _between(length: int, head: int, tail: int) -> np.ndarray:
    found = np.zeros(length, dtype=bool)
    found[head : length - tail] = True
    if head + tail >= length and length:  # nothing is left on this side: what the others were put before
        found[min(head, length - 1)] = True
    return found
