"""`show`: what is trained is marked, hostile text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import datasets
import polars as pl
import pytest
from commands import TOKENIZER, chat
from premask.api.mask import mask
from premask.api.masker import Masker
from premask.api.show import show

HOSTILE = "<script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e&amp;"


def test_trained_text_is_marked() -> None:
    masker = Masker(TOKENIZER)
    samples = masker(chat("Hi", "Hello"))
    found = re.findall(r"\[\[(.*?)\]\]", repr(show(samples)).rpartition("\n")[0], re.DOTALL)

    assert len(found) == 1
    assert "Hello" in found[0]
    assert "Hi" not in found[0]
    assert f"{len(samples[0].input_ids)} tokens" in repr(show(samples))


@pytest.mark.parametrize("make", [list, datasets.Dataset.from_list, pl.DataFrame, lambda rows: rows[0]])
def test_rows_of_other_tools(make: Any) -> None:
    rows = [dict(row) for row in mask([chat("Hi", "Hello")], TOKENIZER)]

    assert "Hello" in repr(show(make(rows), TOKENIZER))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_text_is_text() -> None:
    page = show(Masker(TOKENIZER)(chat(HOSTILE, HOSTILE)))._repr_html_()
    tags = Tags()
    tags.feed(page)

    assert set(tags.found) <= {"div", "style", "section", "h4", "span", "p"}
    assert tags.attributes <= {"class", "dir"}
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "\x1b[31m" not in repr(show(Masker(TOKENIZER)(chat(HOSTILE, "x"))))


def test_only_the_first_are_shown_and_long_ones_are_cut() -> None:
    rows = mask([chat("Hi", f"Answer {i}") for i in range(9)], TOKENIZER)
    long = mask([chat("Hi", "word " * 9000)], TOKENIZER)

    assert len(show(rows, TOKENIZER).cards) == 5
    assert len(show(rows, TOKENIZER, n=2).cards) == 2
    assert "more characters" in repr(show(long, TOKENIZER))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([{"text": "x"}], "no input_ids and labels"),
        ([{"input_ids": [1], "labels": []}], "1 input_ids and 0 labels"),
    ],
)
def test_rows_without_ids(data: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        show(data, TOKENIZER)


def test_rows_with_ids_need_a_tokenizer() -> None:
    with pytest.raises(TypeError, match="needs a tokenizer"):
        show([{"input_ids": [1], "labels": [1]}])
