"""The golden example: ids and labels written out, the first thing to look at when the mask is in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from premask.core.records import Row
from premask.labeller import LabelledRow, LabelledSample, Stages

MakeStages = Callable[..., Stages]

ROW: dict[str, Any] = {
    "id": "golden",
    "conversations": [
        {"from": "human", "value": "Text: Q:\n\nHow can I restore my Unity?"},
        {"from": "gpt", "value": "I've read this text."},
        {"from": "human", "value": "What describes software in the text?"},
        {"from": "gpt", "value": '["Unity"]'},
    ],
}

GEMMA = [
    *(
        2,
        256000,
        1645,
        108,
        1637,
        235292,
        1274,
        235292,
        109,
        2299,
        798,
        590,
        9825,
        970,
        11823,
        235336,
        256001,
        108,
    ),
    *(256000, 105776, 108, 235285, 235303, 524, 1682, 736, 2793, 235265, 256001, 108),
    *(256000, 1645, 108, 1841, 19306, 6815, 575, 573, 2793, 235336, 256001, 108),
    *(256000, 105776, 108, 3681, 45737, 4437, 256001, 108, 1),
]

# fmt: off
SAMPLE = [
    # (token, id, trained): read it as the text, then look at what is trained
    ("<|im_start|>", 1, False), ("user", 7155, False), ("\n", 201, False),
    ("Text", 656, False), (":", 28, False), (" ", 223, False), ("Q", 51, False), (":\n\n", 1148, False),
    ("How", 937, False), (" can", 516, False), (" I", 331, False), (" rest", 1341, False), ("ore", 414, False),
    (" my", 1123, False), (" Un", 1721, False), ("ity", 1685, False), ("?", 33, False),
    ("<|im_end|>", 2, False), ("\n", 201, False),
    ("<|im_start|>", 1, False), ("assistant", 7954, False), ("\n", 201, False),
    ("I", 43, True), ("'ve", 655, True), (" read", 500, True), (" this", 539, True), (" text", 366, True),
    (".", 16, True), ("<|im_end|>", 2, True), ("\n", 201, False),
    ("<|im_start|>", 1, False), ("user", 7155, False), ("\n", 201, False),
    ("What", 365, False), (" describes", 406, False), (" soft", 1707, False), ("w", 89, False), ("are", 901, False),
    (" in", 286, False), (" the", 263, False), (" text", 366, False), ("?", 33, False),
    ("<|im_end|>", 2, False), ("\n", 201, False),
    ("<|im_start|>", 1, False), ("assistant", 7954, False), ("\n", 201, False),
    ('["', 416, True), ("U", 55, True), ("n", 80, True), ("ity", 1685, True), ('"]', 415, True),
    ("<|im_end|>", 2, True), ("\n", 201, False),
]
# fmt: on


def label(stages: Stages) -> LabelledSample:
    (row,) = stages.label([Row("golden.json", 0, ROW)], "sharegpt")
    assert isinstance(row, LabelledRow), row
    assert row.id == "golden"
    (sample,) = row.samples
    return sample


def test_golden_gemma(make_stages: MakeStages) -> None:
    """The answers and the `<|im_end|>` after each; not the newline after it, not the final eos."""
    sample = label(make_stages("gemma_chatml"))
    trained = {*range(21, 29), *range(45, 49)}

    assert len(GEMMA) == 51
    assert sample.ids.tolist() == GEMMA
    assert sample.labels.tolist() == [token if at in trained else -100 for at, token in enumerate(GEMMA)]
    assert sample.straddling == sample.forged == 0


def test_golden_sample(make_stages: MakeStages) -> None:
    """Its twin on the tokenizer that comes with the package."""
    sample = label(make_stages("sample"))
    texts = [sample.sample.text[start:end] for start, end in zip(sample.starts, sample.ends, strict=True)]

    assert list(zip(texts, sample.ids.tolist(), strict=True)) == [(text, token) for text, token, _ in SAMPLE]
    assert sample.labels.tolist() == [token if trained else -100 for _, token, trained in SAMPLE]
    assert sample.straddling == sample.forged == 0
