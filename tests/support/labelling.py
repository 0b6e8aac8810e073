"""Rows through a labeller one by one, and what many tests look at of their samples.

(sample,) = kept(labeller, row, "openai")
masked(sample)                              # ["Hello<|im_end|>"], by the mask
trained(labeller, sample)                   # the same, decoded from the labels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from premask.core.contract import IGNORE_INDEX
from premask.core.errors import RowError
from premask.core.records import Reject, Row
from premask.dialects import Form
from premask.labeller import LabelledSample, LabelledTexts, Labeller, reject
from premask.masking.segments import masked_texts
from premask.tokens.token_bytes import character_spans

Result = tuple[LabelledSample, ...] | Reject


def messages_row(messages: Sequence[dict[str, Any]], **more: Any) -> Row:
    """A row in OpenAI's dialect."""
    return Row("test", 0, {"messages": [*messages], **more})


def label_rows(labeller: Labeller, rows: Sequence[Row], dialect: Form) -> list[Result]:
    """For each row its samples, of whatever length, or its line of the reject log."""
    return [_label(labeller, row, dialect) for row in rows]


def _label(labeller: Labeller, row: Row, dialect: Form) -> Result:
    try:
        found, _ = labeller.read(row, dialect)
        return labeller.together(found)
    except RowError as error:
        return reject(row, error)


def kept(labeller: Labeller, row: Row, dialect: Form) -> tuple[LabelledSample, ...]:
    """The samples of a row that must be kept."""
    (result,) = label_rows(labeller, [row], dialect)
    assert not isinstance(result, Reject), result
    return result


def rejected(labeller: Labeller, row: Row, dialect: Form) -> Reject:
    """The line of a row that must be rejected."""
    (result,) = label_rows(labeller, [row], dialect)
    assert isinstance(result, Reject), result
    return result


def labelled_texts(labeller: Labeller, row: Row, dialect: Form) -> LabelledTexts:
    """The texts of a row with what is counted of them."""
    found, _ = labeller.read(row, dialect)
    samples = [sample for each in found for sample in labeller.decide(each)]
    return labeller.label(masked_texts(samples, [0] * len(samples)))


def masked(labelled: LabelledSample) -> list[str]:
    """The trained stretches of a sample's text, by its turns."""
    return [labelled.text[turn.start : turn.end] for turn in labelled.sample.turns]


def trained(labeller: Labeller, labelled: LabelledSample) -> list[str]:
    """The trained stretches of a sample, decoded from its labels; these are ids wherever they are no -100."""
    on = labelled.labels != IGNORE_INDEX
    assert (labelled.labels[on] == labelled.ids[on]).all()
    edges = np.flatnonzero(np.diff(on, prepend=False, append=False)).reshape(-1, 2)
    return [decoded(labeller, labelled.ids[first:last]) for first, last in edges]


def decoded(labeller: Labeller, ids: np.ndarray) -> str:
    """The text of token ids, control tokens included."""
    text: str = labeller.tokenizer.backend.decode(ids.tolist(), skip_special_tokens=False)
    return text


def spans(labelled: LabelledSample) -> list[tuple[int, int]]:
    """The characters of each token, first and one past the last."""
    starts, ends = character_spans(labelled.text, labelled.starts, labelled.ends)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
