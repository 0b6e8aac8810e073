"""Rows as the sides of preferences: which conversations they are, and where the prompt ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.dialects import conversations, kto, preference, shaped_row
from premask.dialects.sides import Sides

PAIRS, ANSWERS = Sides("auto", pairs=True), Sides("auto", pairs=False)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def shown(value: Any, dialect: Sides = PAIRS) -> list[list[str]]:
    """Each side: its role letters and contents, with a star before what belongs to the prompt."""
    return [
        [f"{'*' if m.train is False else ''}{m.role[0]}:{m.content}" for m in side.messages]
        for side in conversations(value, dialect)
    ]


TWO = [["*u:q", "a:c"], ["*u:q", "a:r"]]
Q = user("q")
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
RESULT = {"role": "tool", "content": "4"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "c", "rejected": "r"},
        {"prompt": [Q], "chosen": [bot("c")], "rejected": [bot("r")]},
        {"prompt": [Q], "chosen": bot("c"), "rejected": bot("r")},
        {"chosen": [Q, bot("c")], "rejected": [Q, bot("r")]},
        {"prompt": "q", "chosen": [Q, bot("c")], "rejected": [Q, bot("r")], "score_chosen": 8.5},
        {"messages": [Q], "chosen": bot("c"), "rejected": bot("r")},
        {"question": "q", "response_j": "c", "response_k": "r"},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "c"},
            "rejected": {"from": "gpt", "value": "r"},
        },
        {"chosen_messages": [Q, bot("c")], "rejected_messages": [Q, bot("r")]},
        {"chosen": "\n\nHuman: q\n\nAssistant: c", "rejected": "\n\nHuman: q\n\nAssistant: r"},
    ],
)
def test_pairs_in_every_spelling(row: dict[str, Any]) -> None:
    assert shown(row) == TWO
    assert [side.side for side in conversations(row, PAIRS)] == [0, 1]
    assert shown(row, ANSWERS) == TWO, "layout kto takes both sides of a pair"
    assert shaped_row(row, PAIRS) is None, "the fast path knows no sides"


def test_the_system_text_and_tools_belong_to_both() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    row = {"system": "s", "tools": tools, "prompt": "q", "chosen": "c", "rejected": "r", "id": 7}
    assert shown(row) == [["*s:s", *side] for side in TWO]
    assert [(side.tools, side.id) for side in conversations(row, PAIRS)] == [(tuple(tools), "7")] * 2


def test_an_explicit_prompt_ends_where_the_row_says() -> None:
    later = [bot("1"), user("2")]
    row = {"prompt": [Q], "chosen": [*later, bot("c")], "rejected": [*later, bot("r")]}
    assert shown(row) == [["*u:q", "a:1", "u:2", "a:c"], ["*u:q", "a:1", "u:2", "a:r"]]
    row = {"prompt": [Q], "chosen": [CALL, RESULT, bot("c")], "rejected": [bot("r")]}
    assert shown(row) == [["*u:q", "a:", "t:4", "a:c"], TWO[1]]


def test_an_implicit_prompt_is_the_common_beginning() -> None:
    begun = [Q, bot("1"), user("2")]
    row = {"chosen": [*begun, bot("c")], "rejected": [*begun, bot("r")]}
    assert shown(row) == [["*u:q", "*a:1", "*u:2", "a:c"], ["*u:q", "*a:1", "*u:2", "a:r"]]
    row = {"chosen": [Q, bot("1")], "rejected": [*begun, bot("r")]}
    assert shown(row) == [["*u:q", "a:1"], ["*u:q", "a:1", "u:2", "a:r"]]
    marked = {"chosen": [Q, {**bot("c"), "train": True}], "rejected": [{**Q, "train": False}, bot("r")]}
    assert [[m.train for m in side.messages] for side in conversations(marked, PAIRS)] == [
        [False, True],
        [False, None],
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [user("a"), bot("c")], "rejected": [user("b"), bot("c")]}, "prompts_differ"),
        (
            {"chosen": [Q, bot("1"), user("2"), bot("c")], "rejected": [Q, bot("1"), user("3"), bot("c")]},
            "prompts_differ",
        ),
        ({"prompt": "q", "chosen": "c", "rejected": None}, "one_side"),
        ({"prompt": "q", "chosen": "c"}, "one_side"),
        ({"messages": [Q, bot("c")]}, "one_side"),
        ({"prompt": "q", "completion": "c", "label": True}, "one_side"),
        ({"prompt": "q", "chosen": 7.5, "rejected": "r"}, "wrong_type"),
        ({"prompt": "q", "reasoning": "so", "chosen": "c", "rejected": "r"}, "wrong_type"),
        ([Q, bot("c")], "not_an_object"),
    ],
)
def test_rows_that_are_no_pair(row: Any, reason: str) -> None:
    with pytest.raises(RowError) as raised:
        conversations(row, PAIRS)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "c", "label": False},
        {"prompt": [Q], "completion": [bot("c")], "label": False},
        {"messages": [Q, bot("c")], "label": False},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "c"}], "kto_tag": False},
    ],
)
def test_answers_with_a_label(row: dict[str, Any]) -> None:
    name = "kto_tag" if "kto_tag" in row else "label"
    assert shown(row, ANSWERS) == [["*u:q", "a:c"]]
    assert [conversations({**row, name: good}, ANSWERS)[0].side for good in (True, False)] == [0, 1]
    with pytest.raises(RowError, match=name):
        kto.normalize(row)


def test_only_the_last_answer_of_a_conversation_has_the_label() -> None:
    row = {"messages": [Q, bot("1"), user("2"), bot("c")], "label": True}
    assert shown(row, ANSWERS) == [["*u:q", "*a:1", "*u:2", "a:c"]]
    row = {"prompt": [Q], "completion": [CALL, RESULT, bot("c")], "label": True}
    assert shown(row, ANSWERS) == [["*u:q", "a:", "t:4", "a:c"]]


@pytest.mark.parametrize(
    ("dialect", "row"),
    [
        ("kto", {"prompt": "q", "chosen": "c", "rejected": "r"}),
        ("preference", {"prompt": "q", "completion": "c", "label": True}),
    ],
)
def test_a_dialect_that_the_recipe_names_binds(dialect: str, row: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="neither"):
        conversations(row, Sides(dialect, pairs=False))


def test_reasoning_beside_the_answers_belongs_to_the_side_it_names() -> None:
    row = {"prompt": "q", "chosen": "c", "chosen_reasoning": "so", "rejected": "r", "Rejected_CoT": "not so"}

    assert [side.messages[-1].reasoning for side in preference.sides(row)] == ["so", "not so"]
    assert preference.sides({**row, "Rejected_CoT": None})[1].messages[-1].reasoning is None


@pytest.mark.parametrize(("good", "side"), [(1, 0), (0, 1), (1.0, 0), ("False", 1), ("true", 0), ("0", 1)])
def test_a_label_may_be_a_number_or_a_text(good: Any, side: int) -> None:
    row = {"prompt": "q", "completion": "c", "label": good}
    assert [found.side for found in conversations(row, ANSWERS)] == [side]


@pytest.mark.parametrize(
    "row", [{"prompt": "q", "completion": "c", "label": 2}, {"prompt": "q", "completion": "c"}]
)
def test_an_answer_without_a_label_says_which_is_missing(row: dict[str, Any]) -> None:
    with pytest.raises(RowError, match="label or kto_tag beside its answer that is true or false"):
        conversations(row, ANSWERS)


S = {"role": "system", "content": "s"}


@pytest.mark.parametrize("prompt", ["q", " q\n", [Q], json.dumps([Q]), "", None])
def test_a_prompt_beside_whole_conversations_is_their_beginning(prompt: Any) -> None:
    row = {"prompt": prompt, "chosen": [Q, bot("c")], "rejected": [Q, bot("r")]}
    assert shown(row) == [["*u:q", "a:c"], ["*u:q", "a:r"]]


def test_a_system_text_of_the_prompt_is_used() -> None:
    row = {"prompt": [S, Q], "chosen": [Q, bot("c")], "rejected": [Q, bot("r")]}
    assert shown(row) == [["*s:s", "*u:q", "a:c"], ["*s:s", "*u:q", "a:r"]]
    held = {"prompt": [Q], "chosen": [S, Q, bot("c")], "rejected": [S, Q, bot("r")]}
    assert shown(held) == shown(row)


@pytest.mark.parametrize(
    "prompt", ["other", [user("other")], [{**S, "content": "t"}, Q], [Q, bot("x"), user("y")]]
)
def test_a_prompt_that_whole_conversations_do_not_hold(prompt: Any) -> None:
    row = {"prompt": prompt, "chosen": [S, Q, bot("c")], "rejected": [S, Q, bot("r")]}
    with pytest.raises(RowError, match="prompts_differ: 'prompt' differs from the beginning"):
        conversations(row, PAIRS)


def test_a_prompt_that_is_turns_within_a_text() -> None:
    row = {"prompt": str([S, Q]), "chosen": "c", "rejected": "r"}
    assert shown(row) == [["*s:s", "*u:q", "a:c"], ["*s:s", "*u:q", "a:r"]]
