"""The golden example: ids and labels written out, the first thing to look at when the mask is in doubt."""

from __future__ import annotations

from golden import GEMMA, ROW, SAMPLE
from labelling import kept, labelled_texts, spans
from places import MakeLabeller
from premask.core.records import Row
from premask.labeller import LabelledSample, Labeller


def label(labeller: Labeller) -> LabelledSample:
    row = Row("golden.json", 0, ROW)
    texts = labelled_texts(labeller, row, "sharegpt")
    assert texts.labels.straddling.tolist() == texts.encoded.in_content.tolist() == [0]
    (conversation,), _ = labeller.read(row, "sharegpt")
    assert conversation.id == "golden"
    (sample,) = kept(labeller, row, "sharegpt")
    return sample


def test_golden_gemma(make_labeller: MakeLabeller) -> None:
    """The answers and the `<|im_end|>` after each; not the newline after it, not the final eos."""
    sample = label(make_labeller("gemma_chatml"))
    trained = {*range(21, 29), *range(45, 49)}

    assert len(GEMMA) == 51
    assert sample.ids.tolist() == GEMMA
    assert sample.labels.tolist() == [token if at in trained else -100 for at, token in enumerate(GEMMA)]


def test_golden_sample(make_labeller: MakeLabeller) -> None:
    """Its twin on the tokenizer that comes with the package."""
    sample = label(make_labeller("sample"))
    texts = [sample.text[start:end] for start, end in spans(sample)]

    assert list(zip(texts, sample.ids.tolist(), strict=True)) == [(text, token) for text, token, _ in SAMPLE]
    assert sample.labels.tolist() == [token if trained else -100 for _, token, trained in SAMPLE]
