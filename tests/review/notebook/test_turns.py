"""Roles of turns are read from the markers of chat templates, where rows do not say who wrote what."""

from __future__ import annotations

import numpy as np
import pytest
from premask.review.notebook.tokens import Tokens
from premask.review.notebook.turns import template_texts, turns_of


def tokens(*texts: str) -> Tokens:
    """Tokens with these texts; those in `{}` are control tokens."""
    control = np.array([text.startswith("{") for text in texts])
    groups = [(text.strip("{}"), 1) for text in texts]
    ids = np.arange(len(texts))
    return Tokens(ids, ids, groups, control, np.zeros(len(texts), dtype=bool))


@pytest.mark.parametrize(
    ("texts", "turns"),
    [
        (
            [
                "{<|im_start|>}",
                "user",
                "\n",
                "Hi",
                "{<|im_end|>}",
                "\n",
                "{<|im_start|>}",
                "assistant\n",
                "Yo",
            ],
            [(0, "user"), (6, "assistant")],
        ),
        (["{<bos>}", "{<start_of_turn>}", "model", "\n", "Yo"], [(0, "assistant")]),
        (
            ["{<|start_header_id|>}", "ip", "ython", "{<|end_header_id|>}", "\n\n", "3"],
            [(0, "tool")],
        ),
        (["{<｜User｜>}", "Hi", "{<｜Assistant｜>}", "Yo"], [(0, "user"), (2, "assistant")]),
        (["{<s>}", "{[INST]}", " Hi", "{[/INST]}", " Yo", "{</s>}"], [(0, "user"), (3, "assistant")]),
        (["Once", "{<|user|>}", "Hi"], [(0, ""), (1, "user")]),
        (["{<|im_start|>}", "user", " ", "story", "\n", "Hi"], [(0, "")]),
        (["<|im_start|>", "user", "\n", "plain"], [(0, "")]),
        (["{<|im_end|>}", "\n", "user", "\n"], [(0, "")]),
        ([], [(0, "")]),
    ],
)
def test_markers(texts: list[str], turns: list[tuple[int, str]]) -> None:
    assert turns_of(tokens(*texts)) == turns


def test_what_the_template_prints() -> None:
    found = tokens("{<|im_start|>}", "user", "\n", "user", "\n", "{<|im_end|>}", "\n")

    assert template_texts(found) == [True, True, True, False, False, True, False]
