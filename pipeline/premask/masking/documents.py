"""A document as a sample: no chat template, and all that a model has to write is trained.

    <|begin_of_text|>Once upon a time.<|end_of_text|>
                     ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

The text is what a tokenizer makes of a document for pretraining: what it puts before each text (mostly a bos
token, or nothing), the document, and the eos token. Nothing predicts the first token of a text, so it is not
trained (`labels.py`). Strings of control tokens in a document are content.
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.records import TEMPLATE, Origin, Sample, Turn

DOCUMENT = Origin(0, "document", "content")
"""The origin of the characters of a document; it counts as message 0 of its row."""


class Edges(NamedTuple):
    """The strings of control tokens around each document. With `space`, a document that begins without one
    gets it after the opening: the tokenizer puts it before each text, but not behind a control token."""

    opening: str
    eos: str
    space: bool = False


def document_sample(text: str, weight: float | None, edges: Edges) -> Sample:
    """Return the sample of a document that is not empty; `weight` is the loss weight of its row."""
    if edges.space and not text.startswith((" ", "\u2581")):
        text = f" {text}"
    start, length = len(edges.opening), len(text) + len(edges.eos)
    runs = (start, TEMPLATE), (len(text), DOCUMENT), (len(edges.eos), TEMPLATE)
    weights = () if weight in (None, 1) else ((start, 1.0), (length, float(weight or 0)))
    return Sample(
        edges.opening + text + edges.eos,
        (Turn(0, start, start + length),),
        tuple(run for run in runs if run[0]),
        "document",
        tuple(each for each in weights if each[0]),
    )
