"""The golden example: ids and labels written out, the first thing to look at when the mask is in doubt."""

from __future__ import annotations

from collections.abc import Callable

from golden import GEMMA, ROW, SAMPLE
from premask.core.records import Row
from premask.labeller import LabelledRow, LabelledSample, Stages

MakeStages = Callable[..., Stages]


# fmt: off
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
