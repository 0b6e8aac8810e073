"""Samples that were just labelled -> what is shown of them, with who wrote what.

labelled_html([labelled])
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.contract import IGNORE_INDEX
from ...labeller import LabelledSample
from ...tokens.token_bytes import character_spans
from ...tokens.token_text import TokenTexts, groups_of
from ..explain import origins_of
from .markup import html_of
from .tokens import Tokens
from .view import Card, notes_of, view_of

MOST_CHARACTERS = 8_000
"""Characters of a sample that are shown."""


def labelled_html(samples: Sequence[LabelledSample]) -> str:
    """Return the samples of a conversation as one HTML element."""
    return html_of([labelled_card(f"sample {i}", each) for i, each in enumerate(samples)])


def labelled_card(
    title: str, labelled: LabelledSample, *, limit: int = MOST_CHARACTERS, texts: TokenTexts | None = None
) -> Card:
    """Return what is shown of a sample. Without `texts`, control tokens are told by their looks."""
    starts, ends = character_spans(labelled.text, labelled.starts, labelled.ends)
    groups = groups_of(labelled.text, starts.tolist(), ends.tolist())
    origins = origins_of(labelled.sample, starts)
    control = _looks_like_control(groups, origins) if texts is None else texts.count_special(labelled.ids)
    ids, labels = labelled.ids.astype(np.int64), labelled.labels.astype(np.int64)
    weights = np.where(labels == IGNORE_INDEX, 1.0, labelled.weights.astype(np.float64))
    tokens = Tokens(ids, labels, groups, control, np.zeros(len(ids), dtype=bool), weights, origins)
    view = view_of("", tokens, limit=limit)
    return Card(title, (f"mask: {labelled.sample.proof}",), tuple(notes_of(tokens)), (view,))


def _looks_like_control(groups: Sequence[tuple[str, int]], origins: Sequence[str]) -> np.ndarray:
    """Return which of t tokens look like control tokens, where no tokenizer says so: `<...>` or `[...]` as
    one token that the template prints."""
    found = np.zeros(len(origins), dtype=bool)
    at = 0
    for text, count in groups:
        bracketed = (text[:1], text[-1:]) in {("<", ">"), ("[", "]")} and len(text) > 2
        found[at] = bracketed and count == 1 and origins[at] == "template"
        at += count
    return found
