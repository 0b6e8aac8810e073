"""Answers that were cut within their reasoning are counted, on the fast and the slow path alike."""

from __future__ import annotations

from typing import Any

import pytest
from inputs import batch_of
from places import MakeBatches
from premask.core.records import Row
from premask.masking.unclosed_reasoning import UNCLOSED
from premask.review.explain import explain_row
from premask.running.batches import BatchLabeller

OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
EMPTY = OPENS.replace(
    "{{ m.content }}", "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
)
EMPTY = EMPTY.replace("assistant\n<think>\n{% endif %}", "assistant\n{% endif %}")
"""Prints an empty block before each answer, as Qwen3 does."""

ANSWERS = [
    ("<think>\nr\n</think>\n\nYes", 0),
    ("<think>\ncut short", 1),
    ("  <think>cut é short", 1),
    ("[THINK]cut", 1),
    ("Yes, <think> is a tag", 0),
    ("Yes", 0),
]


def rows_with(*answers: str) -> list[Row]:
    found = []
    for number, answer in enumerate(answers):
        turns = [{"role": "user", "content": "What is <think>?"}, {"role": "assistant", "content": answer}]
        found.append(Row("chats.jsonl", number, {"messages": [*turns, *turns]}))
    return found


@pytest.mark.parametrize("template", ["chatml", EMPTY])
def test_unclosed_blocks_are_counted_on_both_paths(
    make_batches: MakeBatches, tmp_path: Any, template: str
) -> None:
    if template is EMPTY:
        (tmp_path / "t.jinja").write_text(template)
        template = str(tmp_path / "t.jinja")
    batches = make_batches("sample", chat_template=template)
    rows = rows_with(*(answer for answer, _ in ANSWERS))
    fast = batches.run(batch_of(rows, "openai"), "openai")
    slow = BatchLabeller(batches.labeller, fast=False).run(batch_of(rows, "openai"), "openai")

    assert (
        fast.tally[UNCLOSED].tolist() == slow.tally[UNCLOSED].tolist() == [2 * count for _, count in ANSWERS]
    )


def test_a_row_is_refused_if_the_prompt_opens_the_block(make_batches: MakeBatches, tmp_path: Any) -> None:
    (tmp_path / "t.jinja").write_text(OPENS)
    batches = make_batches("sample", chat_template=str(tmp_path / "t.jinja"))
    rows = rows_with("<think>\ncut short", "<think>\nr\n</think>\n\nYes")
    found = batches.run(batch_of(rows, "openai"), "openai")

    assert [each.reason for each in found.rejects] == ["open_reasoning"]
    assert UNCLOSED not in found.tally


def test_explain_counts_them(make_batches: MakeBatches) -> None:
    batches = make_batches("sample", chat_template="chatml")
    cut, closed = (explain_row(batches.labeller, row, "openai") for row in rows_with("<think>cut", "Yes"))

    assert cut["samples"][0][UNCLOSED] == 2
    assert UNCLOSED not in closed["samples"][0]
