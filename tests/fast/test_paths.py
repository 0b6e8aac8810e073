"""Paths and plans fill rows as the decision about each row says: over the corpus, and with templates that look at
more than their messages. The whole product is a command: `tests/support/path_judge.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from path_judge import OPTIONS, Judge, judged_template, labeller_of, rows_of
from path_templates import TURNS
from premask.core.records import Conversation, Message
from premask.core.shapes import shape_of
from premask.fast.paths import Paths
from premask.masking.chat_template import built_in_templates, template_source
from template_corpus import CORPUS, TEMPLATES, compiles

FEW = 24
"""Rows for each template here."""

SETTINGS = [each for each in OPTIONS if "template_kwargs" not in each]
"""Those that any template takes."""


def judged(source: str, count: int, seed: int, *, plans: bool = False, **keys: Any) -> Counter[str]:
    """Judge random rows; no row may be filled otherwise than it is decided."""
    judge = Judge(labeller_of(source, **keys), plans=plans)
    for batch in rows_of(judge.labeller, source, count, seed):
        judge.judge(batch)
    assert not judge.judged.wrong
    return judge.judged.counts


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")
def test_rows_are_filled_as_they_are_decided_over_the_corpus() -> None:
    counts: Counter[str] = Counter()
    for file in CORPUS[::19]:
        if compiles(file):
            _, _, found = judged_template((file, 12, 0, True))
            assert not found.wrong, file
            counts += found.counts
    assert counts["path"] > counts["trainable"] // 5
    assert counts["plan"] > counts["trainable"] // 2


@pytest.mark.parametrize("number", range(len(TURNS)), ids=list(TURNS))
def test_templates_that_look_at_more_than_the_message(number: int) -> None:
    source = list(TURNS.values())[number]
    judged(source, FEW, number)
    judged(source, FEW, number + 1, **SETTINGS[number % len(SETTINGS)])


def test_many_of_these_templates_have_paths() -> None:
    names = (
        "parity",
        "previous role",
        "next content",
        "last user",
        "two kept",
        "scan for a text",
        "tools at once",
    )
    assert all(judged(TURNS[name], FEW, 3)["path"] for name in names)


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_every_setting_of_a_recipe(options: dict[str, Any]) -> None:
    counts = [judged(template_source(name), 30, 5, plans=True, **options) for name in built_in_templates()]
    assert any(each["plan"] for each in counts) or options == {"history": "as-rendered"}


# ==== Long rows ====


def chat(*texts: str, opening: str = "user") -> Conversation:
    roles = (opening, "assistant") if opening == "user" else (opening, "user", "assistant")
    return Conversation(tuple(Message(roles[i % len(roles)], text) for i, text in enumerate(texts)))


def filled(paths: Paths, conversation: Conversation) -> bool:
    shaped = shape_of(conversation)
    assert shaped is not None
    return paths.fill(*shaped) is not None


@pytest.fixture
def chatml() -> Judge:
    return Judge(labeller_of(template_source("chatml")), plans=False)


def test_a_long_row_is_put_together_from_records_of_a_short_one(chatml: Judge) -> None:
    short = chat("a", "b", "c", "d")
    long = chat(*(f"{number} é" for number in range(400)))
    counts = chatml.judge([short, long]).counts
    assert not chatml.judged.wrong
    assert counts["path"] == 2


@pytest.mark.parametrize(
    "name", ["last user", "backwards", "scan for any tool", "scan of a number and a flag"]
)
def test_loops_that_find_something_late_in_a_long_row(name: str) -> None:
    judge = Judge(labeller_of(TURNS[name]), plans=False)
    talk = [Message(("user", "assistant")[i % 2], f"{i}") for i in range(1300)]
    late = [*talk, Message("tool", "x"), Message("assistant", "y")]
    judge.judge([Conversation(tuple(late[-8:])), Conversation(tuple(late))])
    assert not judge.judged.wrong


# ==== What a decision depends on beside the texts around a turn ====


def wrong(judge: Judge, *rows: Conversation) -> list[str]:
    """What is wrong with rows that are filled one after another."""
    for row in rows:
        judge.judge([row])
    return judge.judged.wrong


def test_history_as_rendered_has_no_paths() -> None:
    judge = Judge(labeller_of(template_source("chatml"), history="as-rendered"), plans=False)
    assert not wrong(judge, chat("a", "b"), chat("c", "d"))
    assert not judge.judged.counts["path"]


def test_rows_with_weights_that_the_recipe_does_not_keep_are_not_filled(chatml: Judge) -> None:
    weighted = Conversation((Message("user", "a"), Message("assistant", "b", weight=0.5)))
    assert not wrong(chatml, chat("a", "b"), weighted, weighted)
    assert chatml.judged.counts["path"] == 1


def test_a_turn_that_opens_the_conversation_is_decided_apart() -> None:
    judge = Judge(labeller_of(TURNS["no prompt"]), plans=False)
    systems = [Message("system", "s")] * 3
    talk = [Message("user", "q"), Message("assistant", "x")]
    rest = [Message("assistant", "x"), Message("user", "q"), Message("assistant", "y")]
    answered = Conversation((*talk, systems[0], *rest))
    opened = Conversation((*systems, *rest))
    assert not wrong(judge, answered, opened, answered)


@pytest.mark.parametrize("keys", [{"history": "last"}, {"train": {"turns": "last"}}], ids=str)
def test_blank_answers_before_the_last_one_are_counted(keys: dict[str, Any]) -> None:
    judge = Judge(labeller_of(template_source("chatml"), **keys), plans=False)
    assert not wrong(judge, chat("a", "b", "c", "d"), chat("a", "\n", "c", "d"))
    assert judge.judged.counts["path"] == 1


@pytest.mark.parametrize("name", ["tools at once", "tools in the last user turn"])
def test_the_json_of_all_tools_is_by_the_tools(name: str) -> None:
    judge = Judge(labeller_of(TURNS[name]))
    tools = tuple({"type": "function", "function": {"name": each}} for each in ("f", "g"))
    rows = [Conversation(chat("a", "b").messages, tools[:count]) for count in (1, 2, 1, 2)]
    assert not wrong(judge, *rows)
    assert judge.judged.counts["plan"] == 4
    assert judge.judged.counts["path"] == (4 if name == "tools at once" else 0)


def test_empty_messages_between_a_turn_and_the_opener_of_the_next() -> None:
    judge = Judge(
        labeller_of(TURNS["roles as openers"], special=("<_user>", "<_assistant>", "<_system>")), plans=False
    )
    full = Conversation(
        tuple(Message(role, role) for role in ("user", "assistant", "system", "user", "assistant"))
    )
    messages = [*full.messages]
    messages[2] = Message("system", "")
    assert not wrong(judge, full, Conversation(tuple(messages)), full)
