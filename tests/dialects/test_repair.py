"""Repairs: what each changes and what it leaves alone, in conversations and through a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, chat, premask, write_rows
from hypothesis import given
from hypothesis import strategies as st
from outputs import bytes_of, rows_of
from premask.core.errors import RowError
from premask.core.recipe import Repair
from premask.core.records import ROLES, Conversation, Message
from premask.core.shapes import plain_shape
from premask.dialects.repair import check_repair, needs_none, repair, with_repair

pytest.importorskip("ftfy", reason="the extra 'repair' is not installed")


def mended(*turns: tuple[str, str | None] | Message, policies: Any = tuple(Repair)) -> list[tuple[str, Any]]:
    messages = [turn if isinstance(turn, Message) else Message(*turn) for turn in turns]
    found, _ = repair(Conversation(tuple(messages)), policies)
    return [(message.role, message.content) for message in found.messages]


CALL = Message(
    "assistant", None, tool_calls=({"type": "function", "function": {"name": "f", "arguments": {}}},)
)


def test_consecutive_turns_are_merged() -> None:
    only = [Repair.merge_consecutive]

    assert mended(("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), policies=only) == [
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
    ]


@pytest.mark.parametrize(
    "turns",
    [
        [Message("tool", "1"), Message("tool", "2")],
        [Message("assistant", "a", train=False), Message("assistant", "b")],
        [Message("assistant", "a", weight=0.5), Message("assistant", "b")],
        [Message("user", "a", name="Ann"), Message("user", "b", name="Bob")],
        [Message("user", "a", extra={"x": 1}), Message("user", "b")],
        [CALL, Message("assistant", "b")],
        [Message("assistant", "a"), Message("assistant", "b", reasoning="late")],
        [Message("system", "a"), Message("developer", "a")],
    ],
)
def test_turns_that_would_lose_something_are_not_merged(turns: list[Message]) -> None:
    found, applied = repair(Conversation(tuple(turns)), [Repair.merge_consecutive])

    assert (list(found.messages), applied) == (turns, ())


def test_a_call_after_a_text_of_the_same_speaker_is_merged() -> None:
    found, _ = repair(Conversation((Message("assistant", "Look."), CALL)), [Repair.merge_consecutive])

    assert found.messages == (Message("assistant", "Look.", tool_calls=CALL.tool_calls),)


def test_edges() -> None:
    turns = [
        ("system", "s"),
        ("assistant", "greets"),
        ("user", "u"),
        ("assistant", "a"),
        ("user", "v"),
        ("user", "w"),
    ]

    assert mended(*turns, policies=[Repair.drop_leading_assistant]) == [turns[0], *turns[2:]]
    assert mended(*turns, policies=[Repair.drop_trailing_user]) == turns[:4]
    assert mended(("assistant", "alone"), policies=[Repair.drop_leading_assistant]) == [
        ("assistant", "alone")
    ]


def test_empty_turns() -> None:
    only = [Repair.strip_empty_turns]
    turns = [
        ("system", " "),
        ("user", "u"),
        ("assistant", ""),
        CALL,
        ("tool", ""),
        Message("assistant", "", reasoning="r"),
    ]

    assert mended(*turns, policies=only) == [
        ("user", "u"),
        ("assistant", None),
        ("tool", ""),
        ("assistant", ""),
    ]


def test_the_order_of_repairs_is_always_the_same() -> None:
    """An empty turn between two of the user's goes first, then they are merged."""
    turns = [("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c")]
    policies = [Repair.merge_consecutive, Repair.strip_empty_turns]

    assert mended(*turns, policies=policies) == [("user", "a\n\nb"), ("assistant", "c")]
    assert mended(*turns, policies=policies[::-1]) == mended(*turns, policies=policies)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>One</p><p>Two &amp; three</p>", "One\nTwo & three"),
        ("a<br/>b<BR>c", "a\nb\nc"),
        ('<a href="x">link</a> and <b>bold</b>', "link and bold"),
        ("<script>alert(1)</script>text<!-- no -->", "text"),
        ("<!-- never closed, <script> too", "<!-- never closed, <script> too"),
        ("<ul>\n<li>x</li>\n<li>y</li>\n</ul>", "x\ny"),
        ("1 < 2 and 3 > 2, a<b>c", "1 < 2 and 3 > 2, ac"),
        (
            "<think>hm</think><tool_call>x</tool_call><|im_end|>",
            "<think>hm</think><tool_call>x</tool_call><|im_end|>",
        ),
        ("```html\n<p>a &amp; b</p>\n```", "```html\n<p>a &amp; b</p>\n```"),
        ("no markup, 3 > 2", "no markup, 3 > 2"),
        (" kept \n", " kept \n"),
    ],
)
def test_html(text: str, expected: str) -> None:
    assert mended(("user", text), policies=[Repair.strip_html]) == [("user", expected)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sÃ³lo", "sólo"),
        ("itâ€™s", "it’s"),
        ("naïve café", "naïve café"),
        ("“quotes” &amp; é", "“quotes” &amp; é"),
    ],
)
def test_mojibake(text: str, expected: str) -> None:
    """The wrong decoding is undone, and nothing else: quotes and entities stay."""
    assert mended(("user", text), policies=[Repair.fix_mojibake]) == [("user", expected)]


def test_tool_results_and_calls_keep_their_text() -> None:
    assert mended(("tool", "<p>sÃ³lo</p>")) == [("tool", "<p>sÃ³lo</p>")]


@given(
    st.lists(
        st.tuples(st.sampled_from(ROLES), st.sampled_from(["", " ", "Hi", "<p>x</p>", "sÃ³lo", "```\n&lt;"])),
        max_size=6,
    ),
    st.lists(st.sampled_from(list(Repair)), unique=True),
)
def test_what_is_said_to_need_no_repair_has_none(
    turns: list[tuple[str, str]], policies: list[Repair]
) -> None:
    messages = tuple(Message(role, text) for role, text in turns)
    found, applied = repair(Conversation(messages), policies)
    shape = plain_shape(tuple(role for role, _ in turns))

    assert (
        needs_none(shape, [text for _, text in turns], policies)
        == (found.messages == messages)
        == (not applied)
    )
    assert set(applied) <= {policy.value for policy in policies}


def test_without_ftfy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    check_repair([Repair.strip_html])
    with pytest.raises(
        ValueError, match="repair: fix_mojibake needs ftfy; pip install 'premask\\[repair\\]'"
    ):
        check_repair([Repair.fix_mojibake])


# ==== Through a run ====

GOOD = [chat("Hi", f"Hello {i}.", id=f"g{i}") for i in range(20)]
BAD = [
    {"id": "merge", "messages": [*chat("a")["messages"], *chat("b", "c")["messages"]]},
    {"id": "empty", "messages": [*chat("a", "")["messages"], *chat("b", "c")["messages"]]},
    {"id": "html", "messages": chat("<b>a</b>", "c")["messages"]},
]


def run(folder: Path, source: str, *words: object) -> dict[str, Any]:
    done = premask(
        "run", source, "--tokenizer", TOKENIZER, "--output", folder, "--workers", 1, "--verify", 1, *words
    )
    assert done.code == 0, done.err
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def test_repairs_are_counted_and_other_rows_come_out_as_without(tmp_path: Path) -> None:
    """Every row is rendered and encoded again by the reference (`--verify 1`), the repaired ones too."""
    source = write_rows(tmp_path / "a.jsonl", [*GOOD[:10], *BAD, *GOOD[10:]])
    policies = "merge_consecutive,strip_empty_turns,strip_html"
    layout = ("--layout", "unpacked")
    plain = run(tmp_path / "plain", source, *layout)
    mended = run(tmp_path / "mended", source, "--repair", policies, *layout)

    assert plain["counts"].get("repaired_by_policy", {}) == {}
    assert mended["counts"]["repaired_by_policy"] == {
        "merge_consecutive": 2, "strip_empty_turns": 1, "strip_html": 1,
    }  # fmt: skip
    assert (plain["counts"]["rejected"], mended["counts"]["rejected"]) == (0, 0)
    good = {row["id"] for row in GOOD}
    tokens = [_tokens_of(tmp_path / name, good) for name in ("plain", "mended")]
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 20


def test_a_run_in_which_nothing_is_repaired_gives_the_same_shards(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", GOOD)
    run(tmp_path / "plain", source)
    run(tmp_path / "mended", source, "--repair", ",".join(each.value for each in Repair))

    shards = [
        {
            name: data
            for name, data in bytes_of(tmp_path / each).items()
            if name.startswith(("packed", "lineage"))
        }
        for each in ("plain", "mended")
    ]
    assert shards[0] == shards[1]
    assert len(shards[0]) == 2


def test_explain_names_what_repaired_a_row(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [GOOD[0], BAD[0]])
    words = ("--tokenizer", TOKENIZER, "--repair", "merge_consecutive", "--format", "json")
    lines = [json.loads(text) for text in premask("explain", source, *words).out.splitlines()]

    assert ["repaired" in line for line in lines] == [False, True]
    assert lines[1]["repaired"] == ["merge_consecutive"]


def _tokens_of(out: Path, ids: set[str]) -> dict[str, list[int]]:
    """Sample ids -> tokens and labels, of an output of single samples."""
    lineage, rows = rows_of(out, "lineage"), rows_of(out, "unpacked")
    return {
        line["id"]: rows[line["pack"]]["input_ids"] + rows[line["pack"]]["labels"]
        for line in lineage
        if line["id"] in ids
    }


def test_a_template_that_refuses_the_order_of_turns_leads_to_the_repair(tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text(
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    turns = [("assistant", "Welcome"), ("user", "Hi"), ("user", "Anyone?"), ("assistant", "Yes")]
    wrong = {"messages": [{"role": role, "content": text} for role, text in turns]}
    rows = write_rows(tmp_path / "rows.jsonl", [wrong, chat("Hi", "Hello")])
    words = ("run", rows, "--tokenizer", TOKENIZER, "--chat-template", template, "--max-length", "64")
    refused = premask(*words, "--output", tmp_path / "refused")
    (reject,) = rows_of(tmp_path / "refused", "rejects")
    advised = reject["detail"].partition("repair: [")[2].partition("]")[0]
    repaired = premask(*words, "--output", tmp_path / "out", "--repair", advised.replace(" ", ""))

    assert refused.code == 0, refused
    assert reject["reason"] == "template_error"
    assert advised == "drop_leading_assistant, merge_consecutive"
    assert repaired.code == 0, repaired
    assert rows_of(tmp_path / "out", "rejects") == []


@pytest.mark.parametrize(
    ("reason", "roles"),
    [
        ("too_long", ["assistant", "user"]),
        ("template_error", ["user", "assistant"]),
        ("template_error", ["tool"]),
    ],
)
def test_no_repair_is_named_where_none_helps(reason: str, roles: list[str]) -> None:
    messages = tuple(Message(role, "text") for role in roles)

    assert with_repair(RowError(reason, "as it is"), messages).detail == "as it is"
