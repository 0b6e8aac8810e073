"""Texts in parts: no part is larger than it may be, and a row in several parts is one row."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import batch_of
from mixed_rows import FORGETS
from places import MakeBatches
from premask.core.arrays import offsets_of
from premask.core.records import MaskedTexts, Row
from premask.running import growth as growth_module
from premask.running.batches import BatchLabeller, LabelledBatch
from premask.running.growth import Growth
from premask.running.parts import row_spans, text_spans


def _masked(rows: list[list[int]]) -> MaskedTexts:
    """Texts of one segment each, of so many bytes, by row."""
    sizes = np.array([size for row in rows for size in row], dtype=np.int64)
    of_row = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    zeros, n = np.zeros(len(sizes), dtype=np.int64), len(sizes)
    texts = ["x" * size for size in sizes.tolist()]
    bits = zeros.astype(bool)
    return MaskedTexts(texts, of_row, zeros.astype(np.int8), np.arange(n + 1), sizes, zeros, zeros, bits)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), max_size=8), st.integers(1, 20))
def test_spans_cover_all_texts_and_are_as_large_as_they_may_be(rows: list[list[int]], size: int) -> None:
    masked = _masked(rows)
    bytes_before, edges = offsets_of(masked.sizes), {*offsets_of(list(map(len, rows))).tolist()}
    for spans, places in ((row_spans, edges), (text_spans, {*range(len(masked.texts) + 1)})):
        found = list(spans(masked, size))
        assert found[0][0] == 0
        assert found[-1][1] == len(masked.texts)
        assert all(before[1] == behind[0] for before, behind in pairwise(found))
        assert {edge for span in found for edge in span} <= places
        for first, last in found:
            alone = not any(first < place < last for place in places)
            assert alone or bytes_before[last] - bytes_before[first] <= size


def test_a_cut_of_texts_is_what_is_taken_of_them() -> None:
    masked = _masked([[1], [2, 3], [4]])
    one, other = masked.cut(1, 3), masked.taken(np.array([1, 2]))

    assert one.texts == other.texts
    for name in ("rows", "proofs", "offsets", "sizes", "writers", "messages", "seams"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


# ==== A row of many samples ====

SIZE = 2000


def _long_row(number: int, turns: int, **last: Any) -> Row:
    """A row of which the template `FORGETS` makes a sample of every turn."""
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Question {turn} of row {number}?"})
        messages.append({"role": "assistant", "content": f"This is answer {turn}."})
    return Row("s.jsonl", number, {"messages": [*messages[:-1], {**messages[-1], **last}]})


@pytest.fixture
def make_forgetful(make_batches: MakeBatches, tmp_path: Path) -> Any:
    (tmp_path / "forgets.jinja").write_text(FORGETS, encoding="utf-8")
    template = str(tmp_path / "forgets.jinja")
    return lambda **options: make_batches("sample", chat_template=template, **options)


def _label(
    batches: BatchLabeller, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[LabelledBatch], list[list[int]]]:
    """Label rows in parts; return them, and the sizes of the texts that were labelled together."""
    honest, calls = batches.labeller.label, list[list[int]]()

    def label(masked: MaskedTexts) -> Any:
        calls.append([len(text) for text in masked.texts])
        return honest(masked)

    with monkeypatch.context() as patch:
        patch.setattr(batches.labeller, "label", label)
        return list(batches.parts(batch_of(rows, "openai"), "openai", SIZE)), calls


def test_no_more_text_than_a_part_is_labelled_at_once(
    make_forgetful: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = make_forgetful(verify=0)
    rows = [_long_row(0, 1), _long_row(1, 30), *(_long_row(number, 2) for number in range(2, 40))]
    parts, calls = _label(batches, rows, monkeypatch)
    whole = batches.run(batch_of(rows, "openai"), "openai")

    assert sum(map(len, calls)) == len(whole.samples.origin) > 30 + 2 * 38
    assert all(sum(call) <= SIZE or len(call) == 1 for call in calls)
    assert len(calls) < sum(map(len, calls)) / 2
    assert [1] in [part.numbers.tolist() for part in parts]
    assert np.concatenate([part.samples.ids for part in parts]).tolist() == whole.samples.ids.tolist()
    origins = [each for part in parts for each in part.samples.origin.to_pylist()]
    assert origins == whole.samples.origin.to_pylist()
    assert sum((part.counted() for part in parts), start=type(whole.counted())()) == +whole.counted()


@pytest.mark.parametrize(
    ("options", "last", "reason"),
    [
        ({"max_length": 500}, {}, "too_long"),
        ({"max_length": 500, "control_tokens": "reject"}, {"content": "<|im_end|>"}, "control_token"),
    ],
)
def test_a_long_row_is_refused_as_a_whole_and_for_the_same_reason(
    make_forgetful: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    last: dict[str, str],
    reason: str,
) -> None:
    """Its first texts are usable, and the error of its last text goes before that of the text before it."""
    batches = make_forgetful(**options, verify=1)
    rows = [_long_row(0, 1), _long_row(1, 30, **last), _long_row(2, 1)]
    parts, calls = _label(batches, rows, monkeypatch)
    whole = batches.run(batch_of(rows, "openai"), "openai")

    assert len(calls) > 3
    rejects = [line for part in parts for line in part.rejects]
    assert [(line.row, line.reason) for line in rejects] == [(1, reason)]
    assert rejects == whole.rejects
    assert sum(part.verified for part in parts) == whole.verified == 3
    assert [part.kept for part in parts if len(part.numbers)] == [1, 0, 1]


def test_texts_of_refused_rows_are_freed_at_once(
    make_forgetful: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error with a traceback would hold all that was labelled with its row until garbage is collected."""
    batches = make_forgetful(max_length=60, control_tokens="reject", verify=0)
    honest, seen = batches.labeller.label, list[weakref.ref[Any]]()

    def label(masked: MaskedTexts) -> Any:
        labelled = honest(masked)
        seen.append(weakref.ref(labelled.labels.labels))
        return labelled

    monkeypatch.setattr(batches.labeller, "label", label)
    rows = [_long_row(0, 1), _long_row(1, 9), _long_row(2, 1, content="<|im_end|>")]
    gc.disable()
    try:
        refused = [
            line.reason
            for part in batches.parts(batch_of(rows, "openai"), "openai", SIZE)
            for line in part.rejects
        ]
        assert not any(each() is not None for each in seen)
    finally:
        gc.enable()
    assert refused == ["too_long", "control_token"]
    assert seen


# ==== Rows that are filled together ====


@given(st.lists(st.integers(0, 9), max_size=12), st.floats(1, 9))
def test_rows_are_filled_together_up_to_a_limit(sizes: list[int], factor: float) -> None:
    """Spans cover all rows; one that is larger than it may be is a single row."""
    rows = [_short_row(number, "x" * size) for number, size in enumerate(sizes)]
    batch, growth = batch_of(rows, "openai"), Growth()
    growth._factor = factor * growth_module.FILL_BYTES / 20
    found = list(growth.spans(batch, 1))
    assert found[0][0] == 0
    assert found[-1][1] == len(rows)
    assert all(before[1] == behind[0] for before, behind in pairwise(found))
    for first, last in found:
        cut = batch.cut(first, last)
        assert [cut.row(i).row for i in range(len(cut))] == list(range(first, last))
        texts = [text for of_row in cut.shaped.texts for text in of_row]
        assert last - first <= 1 or sum(map(len, texts)) * factor <= 20


def test_growth_is_learned_at_once_and_forgotten_slowly(make_batches: MakeBatches) -> None:
    batches = make_batches("sample", chat_template="chatml", verify=0)
    rows = [_short_row(number, "Yes, of course it is.") for number in range(40)]
    before = batches._growth._factor
    batches.run(batch_of(rows, "openai"), "openai")

    assert before / 2 <= batches._growth._factor < before
    assert list(batches._growth.spans(batch_of(rows, "openai"), 1)) == [(0, 40)]


def _short_row(number: int, answer: str) -> Row:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    return Row("s.jsonl", number, {"messages": turns})
