"""`show`: what is trained is marked, whatever tool made the rows; hostile text stays text."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from typing import Any

import datasets
import numpy as np
import polars as pl
import pytest
from commands import TOKENIZER, chat
from premask.api.mask import mask
from premask.api.masker import Masker
from premask.api.show import show
from tokenizers import Tokenizer

HOSTILE = "<script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e&amp;\x00"
ROWS = [chat("Hi", "Hello", "And?", f"Bye {i}", id=f"r{i}") for i in range(9)]


@pytest.fixture(scope="module")
def masker() -> Masker:
    return Masker(TOKENIZER)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [dict(row) for row in mask(ROWS, TOKENIZER)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(f"{TOKENIZER}/tokenizer.json")


def trained(text: str) -> list[str]:
    return re.findall(r"\[\[(.*?)\]\]", text.rpartition("\n")[0], re.DOTALL)


def test_samples_of_masker_are_shown_with_roles_in_order(masker: Masker) -> None:
    samples = masker(chat("Hi", "Hello", system="Be brief."))
    text = repr(show(samples))

    assert trained(text) == ["Hello<|im_end|>"]
    assert [line for line in text.splitlines() if line in {"system", "user", "assistant"}] == [
        *("system", "user", "assistant")
    ]
    assert f"{len(samples[0].input_ids)} tokens" in text
    assert "mask: inference" in text
    assert samples._repr_html_() == show(samples)._repr_html_()
    assert samples[0]._repr_html_() == show(samples[0])._repr_html_()
    assert repr(samples[0]).startswith(
        f"MaskedSample({len(samples[0].input_ids)} tokens, 2 trained, inference"
    )


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        iter,
        datasets.Dataset.from_list,
        lambda rows: datasets.Dataset.from_list(rows).with_format("numpy"),
        lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
        lambda rows: datasets.Dataset.from_list(rows)[:],
        lambda rows: datasets.DatasetDict(train=datasets.Dataset.from_list(rows)),
        lambda rows: datasets.Dataset.from_list(rows).data.table,
        pl.DataFrame,
        lambda rows: datasets.Dataset.from_list(rows).to_pandas(),
        lambda rows: rows[0],
        lambda rows: (
            {name: np.array([rows[0][name]] * 2) for name in ("input_ids", "labels")}
            | {"cu_seq_lens_q": np.array([0, 9, 18]), "max_length_q": 9, "loss": np.array(0.5)}
        ),
        lambda rows: iter([{name: [row[name] for row in rows] for name in ("input_ids", "labels")}]),
    ],
)
def test_kinds_of_data(make: Any, rows: list[Any], tokenizer: Tokenizer) -> None:
    text = repr(show(make(rows), tokenizer, n=1))

    assert trained(text) == ["Hello<|im_end|>", "Bye 0<|im_end|>"]
    assert "sample 1" not in text


def test_tensors(rows: list[Any], tokenizer: Tokenizer) -> None:
    pytest.importorskip("torch", reason="tensors")
    data = datasets.Dataset.from_list(rows).with_format("torch")

    assert repr(show(data, tokenizer, n=1)) == repr(show(rows, tokenizer, n=1))


def test_tokenizers(rows: list[Any], tokenizer: Tokenizer) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415  it is slow to import

    own = AutoTokenizer.from_pretrained(TOKENIZER)
    shown = {repr(show(rows, each)) for each in (TOKENIZER, tokenizer, own)}

    assert len(shown) == 1
    with pytest.raises(TypeError, match="needs a tokenizer"):
        show(rows)


def test_a_pack_is_shown_sample_by_sample(rows: list[Any], tokenizer: Tokenizer) -> None:
    lengths = [len(row["input_ids"]) for row in rows]
    flat = {name: [each for row in rows for each in row[name]] for name in ("input_ids", "labels")}
    text = repr(show({**flat, "seq_lengths": lengths}, tokenizer))

    assert text.startswith("pack 0  9 samples")
    assert f"sample 3  {lengths[3]} tokens" in text
    assert "... 1 more samples ..." in text
    assert "Bye 7" in text
    assert "Bye 8" not in text


def test_only_the_first_are_shown_and_long_ones_without_their_middle(rows: list[Any]) -> None:
    long = mask([chat("Hi", "first " + "word " * 9000 + "last")], TOKENIZER)
    text = repr(show(long, TOKENIZER))

    assert len(show(rows, TOKENIZER).cards) == 5
    assert len(show(rows, TOKENIZER, n=2).cards) == 2
    assert len(text) < 10_000
    assert re.search(r"\.\.\. [78],\d{3} tokens not shown, [78],\d{3} of them trained \.\.\.", text)
    assert "first word" in text
    assert "word last" in text


def test_many_samples_stay_small(rows: list[Any], tokenizer: Tokenizer) -> None:
    """Fifty samples of 500 tokens in a hundred turns take less than a notebook bears, and hostile ones, too."""
    normal = [{name: (row[name] * 20)[:500] for name in ("input_ids", "labels")} for row in rows * 6]
    ids = tokenizer.encode("&\x00" * 1200).ids
    hostile = [{"input_ids": ids, "labels": ids}] * 50

    assert 10_000 < len(show(normal, tokenizer, n=50)._repr_html_()) < 1_000_000
    assert len(show(hostile, tokenizer, n=50)._repr_html_()) < 2_500_000


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_text_is_text(masker: Masker) -> None:
    samples = masker(chat(HOSTILE, HOSTILE))
    page = show(samples)._repr_html_()
    tags = Tags()
    tags.feed(page)
    ours = {"div", "style", "details", "summary", "span", "p", "b", "small", "pre", "mark", "kbd", "i", "u"}

    assert set(tags.found) <= ours | {"svg", "rect", "sup"}
    assert "id" not in tags.attributes
    assert not any(name.startswith("on") for name in tags.attributes)
    assert all(char.isprintable() or char == "\n" for char in page)
    assert all(char.isprintable() or char == "\n" for char in repr(show(samples)))


def test_colours_of_a_terminal(masker: Masker, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = show(masker(chat("Hi", HOSTILE)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;4;32m<script>" in str(shown)
    assert "\x1b[31m" not in str(shown)
    assert "[[" not in str(shown)

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in str(shown)
    assert "[[<script>" in str(shown)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([{"text": "x"}], "sample 0 has no input_ids and labels; it has text"),
        (
            [{"input_ids": [1, 2]}],
            "sample 0 has input_ids, but no labels. Expected: labels .*assistant_masks",
        ),
        ([{"input_ids": [1], "labels": []}], "1 input_ids and 0 labels"),
        ([{"input_ids": ["a"], "labels": [1]}], "input_ids is no list of numbers, but list"),
        ([3], "it is int"),
        ("chats.jsonl", "show takes samples, rows or a dataset, not str"),
        (3, "not int"),
    ],
)
def test_what_cannot_be_shown(data: Any, says: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(TypeError, match=says):
        show(data, tokenizer)


def test_rejects_and_rows_print_themselves_short() -> None:
    found = mask([*ROWS, chat("x"), {"messages": []}], TOKENIZER)
    line = repr(found)

    assert line.startswith("<9 rows, ")
    assert "; 2 rejected; " in line
    assert len(line) < 200
    assert repr(found.rejects).startswith(
        "2 rejected rows\n  1 no_assistant: the conversation has no assistant"
    )
    assert "data row 9: no_assistant" in str(found.rejects)
    assert "no_assistant" in found.rejects._repr_html_()
    assert found.rejects == list(found.rejects)


def test_what_is_asked_for_wrongly(rows: list[Any], tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="n must be at least 0, not -1"):
        show(rows, tokenizer, n=-1)
    with pytest.raises(TypeError, match="n must be a number, not str"):
        show(rows, tokenizer, n="a")  # type: ignore[arg-type]


def test_lengths_that_are_not_those_of_the_tokens(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("one two three four").ids
    row = {"input_ids": ids, "labels": ids, "seq_lengths": [1, len(ids)]}

    note = f"seq_lengths has {len(ids) + 1} tokens together, but the row has {len(ids)}."
    assert note in repr(show(row, tokenizer))
    assert "together" not in repr(show({**row, "seq_lengths": [1, len(ids) - 1]}, tokenizer))
