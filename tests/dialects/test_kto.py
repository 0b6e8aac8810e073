"""Labels that say that an answer is not a good one: no dialect trains such an answer."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError
from premask.dialects import Named, normalize, plain_turns, recognize_file
from premask.dialects.plain import plain_row

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
ROWS: dict[str, dict[str, Any]] = {
    "openai": {"messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "question_answer": {"question": "q", "answer": "a"},
    "alpaca": {"instruction": "q", "output": "a"},
    "prompt_completion": {"prompt": "q", "completion": "a"},
    "tokens": {"prompt_ids": [1, 2], "completion_ids": [3, 4], "completion_mask": [1, 0]},
}


@pytest.mark.parametrize("dialect", ROWS)
@pytest.mark.parametrize("label", [{"label": False}, {"kto_tag": False}, {"label": "False"}])
def test_a_bad_answer_is_rejected_whatever_the_dialect_of_the_file(
    dialect: str, label: dict[str, Any]
) -> None:
    row = ROWS[dialect]
    with pytest.raises(RowError, match=r"rejected_answer: '\w+' is false"):
        normalize({**row, **label}, dialect)
    assert normalize({**row, "label": True}, dialect).messages == normalize(row, dialect).messages


@pytest.mark.parametrize("label", [0, 1, "sport", None, 0.0])
@pytest.mark.parametrize("dialect", ["question_answer", "openai"])
def test_a_label_that_is_neither_true_nor_false_says_nothing(dialect: str, label: Any) -> None:
    assert normalize({**ROWS[dialect], "label": label}, dialect) == normalize(ROWS[dialect], dialect)


def test_a_label_of_rows_whose_dialect_is_named_says_nothing() -> None:
    assert normalize({**ROWS["openai"], "label": False}, Named("openai")).messages[1].content == "a"


def test_a_row_with_a_label_is_not_plain() -> None:
    plain = plain_turns("openai")
    assert plain is not None
    assert plain_row({**ROWS["openai"], "label": None}, plain) is not None
    assert plain_row({**ROWS["openai"], "label": False}, plain) is None


def test_texts_of_tables_are_labels() -> None:
    rows = [{"prompt": "q", "completion": "a", "label": each} for each in ("True", "False")]
    assert recognize_file(rows, source="a.csv") == "kto"
    assert normalize(rows[0], "kto").messages[1].content == "a"
    with pytest.raises(RowError, match="rejected_answer"):
        normalize(rows[1], "kto")
