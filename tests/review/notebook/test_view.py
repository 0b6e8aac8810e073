"""What is shown of a sample: turns, gaps, weights, notes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import TOKENIZER
from premask.core.contract import IGNORE_INDEX
from premask.review.notebook.markup import html_of
from premask.review.notebook.plain import text_of
from premask.review.notebook.tokens import Tokens, tokens_of
from premask.review.notebook.view import Card, Gap, Turn, notes_of, view_of
from premask.tokens.token_text import TokenTexts

IDS = [1, 7155, 201, 937, 2, 201]  # <|im_start|>user\nHow<|im_end|>\n


@pytest.fixture(scope="module")
def texts() -> TokenTexts:
    return TokenTexts(Path(TOKENIZER) / "tokenizer.json")


def tokens(texts: TokenTexts, ids: list[int], trained: slice, **more: np.ndarray) -> Tokens:
    labels = np.full(len(ids), IGNORE_INDEX)
    labels[trained] = np.array(ids)[trained]
    return tokens_of(texts, np.array(ids), labels, **more)


def test_a_turn(texts: TokenTexts) -> None:
    view = view_of("", tokens(texts, IDS, slice(3, 5)), limit=100)
    (turn,) = view.blocks

    assert isinstance(turn, Turn)
    assert (turn.role, turn.tokens, turn.trained) == ("user", 6, 2)
    assert "".join(piece.text for piece in turn.pieces) == "<|im_start|>user\nHow<|im_end|>\n"
    assert [piece.trained for piece in turn.pieces] == [False, False, False, True, True, False]
    assert view.strip == ((500, 333),)


def test_padding_is_counted_and_not_shown(texts: TokenTexts) -> None:
    padded = tokens(texts, [*IDS, *[0] * 40], slice(3, 5))
    view = view_of("", padded, limit=100)

    assert view.blocks[-1] == Gap(padding=True, tokens=40, trained=0)
    assert (view.tokens, view.trained) == (6, 2)
    assert notes_of(padded) == []
    assert notes_of(replace(padded, labels=padded.ids)) == [
        "40 padding tokens are trained: their labels should be -100."
    ]


def test_the_end_of_an_answer_is_no_padding(texts: TokenTexts) -> None:
    """Where the pad token is the one that ends a turn, the first one of the run may be trained."""
    found = tokens(texts, [*IDS[:4], *[2] * 5], slice(3, 5))

    assert found.padding.tolist() == [False] * 5 + [True] * 4


def test_a_long_sample_has_a_gap(texts: TokenTexts) -> None:
    view = view_of("", tokens(texts, [*IDS[:3], *[937] * 1000, *IDS[4:]], slice(3, 1004)), limit=300)
    kinds = [type(block) for block in view.blocks]
    shown = sum(len(piece.text) for piece in view.pieces)

    assert kinds == [Turn, Gap, Turn]
    assert 250 < shown <= 300
    assert view.tokens == 1005
    assert "tokens not shown" in html_of([Card("x", (), (), (view,))])


def test_weights_and_labels_of_another_token(texts: TokenTexts) -> None:
    found = tokens(texts, IDS, slice(3, 5), weights=np.array([0, 0, 0, 0.25, 1, 0]))
    found.labels[4] = 77
    card = Card("x", (), tuple(notes_of(found)), (view_of("", found, limit=100),))
    page, text = html_of([card]), text_of([card])

    assert "<sup>×0.25</sup>" in page
    assert 'class="off" title="id 2, label 77"' in page
    assert "1 labels differ from their token." in page
    assert "[[(weight 0.25)How]][[(label 77)<|im_end|>]]" in text


def test_only_what_is_there_is_explained(texts: TokenTexts) -> None:
    page = html_of([Card("x", (), (), (view_of("", tokens(texts, [937], slice(0, 0)), limit=9),))])

    assert "line break" in page
    for word in ("trained text", "control token<", "loss weight", "label differs", "markers"):
        assert word not in page
    assert "There are no samples." in html_of([])
    assert text_of([]) == "There are no samples."
