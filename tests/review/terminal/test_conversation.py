"""Conversations on the terminal: lines, names, marks, and what a terminal of some columns shows."""

from __future__ import annotations

import io
import os
import pty
import re

import pytest
from premask.review.terminal.conversation import Conversations, Part, lines_of
from rich.console import Console

WORD = "word " * 40


def shown(groups: list[tuple[str, int]], labels: list[int], origins: list[str] | None = None) -> list[str]:
    file = io.StringIO()
    conversations = Conversations(Console(file=file, width=20, highlight=False))
    conversations.print(groups, labels, origins)
    conversations.print_legend()
    return file.getvalue().splitlines()


def test_messages_in_one_line_are_cut_apart() -> None:
    """The template's text before a message is shown with it; a trained start belongs to its message."""
    texts = [
        "<s>[INST] ",
        "Hi",
        " [/INST]",
        " Hel",
        "lo",
        "</s>",
        "[INST] ",
        "Bye",
        " [/INST]",
        " So",
        "</s>",
    ]
    origins = ["template", "user:0", "template", "template", "assistant:1", "template"]
    origins += ["template", "user:2", "template", "template", "assistant:3"]
    labels = [-100] * 3 + [5, 5, 5] + [-100] * 3 + [5, 5]

    assert shown([(text, 1) for text in texts], labels, origins) == [
        "user:0      | <s>[INST] Hi",
        "assistant:1 +  [/INST][[ Hello</s>]]",
        "user:2      + [INST] Bye",
        "assistant:3 +  [/INST][[ So</s>]]",
        "trained text is in [[ ]]; a message after + begins within a line of the text",
    ]


def test_a_trained_line_break_is_seen() -> None:
    groups = [("a", 1), ("b\n", 1), ("\n", 1), ("c", 1)]

    assert shown(groups, [-100, 1, 1, -100])[:3] == ["a[[b", "\\n]]", "c"]
    assert shown(groups, [-100, 1, -100, -100])[:3] == ["a[[b\\n]]", "", "c"]
    assert shown(groups, [-100, -100, -100, 1])[:3] == ["ab", "", "[[c]]"]


def test_a_name_is_written_once_for_each_message() -> None:
    parts = [Part("a\nb\n", "user:0", False), Part("<x>\n", "template", False), Part("c", "tool:1", False)]

    assert [line.name for line in lines_of(parts)] == ["user:0", "", "", "tool:1"]


def test_without_writers_there_is_no_column_of_names() -> None:
    assert shown([("Hi", 1), ("Hello", 2)], [-100, 3, 3])[0] == "Hi[[Hello]]"


def test_a_long_line_is_one_line_in_a_pipe() -> None:
    assert shown([(WORD, 1)], [-100], ["user:0"])[0] == f"user:0 | {WORD}"


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_lines_are_broken_beside_their_names(columns: int) -> None:
    here, there = pty.openpty()
    with os.fdopen(there, "w", encoding="utf-8") as file:
        console = Console(file=file, width=columns, highlight=False, color_system="256", no_color=False)
        Conversations(console).print([("Hi\n", 1), (WORD, 1)], [-100, 1], ["user:0", "assistant:1"])
        file.flush()
        text = os.read(here, 1 << 16).decode().replace("\r", "")
    os.close(here)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()

    assert max(map(len, plain)) <= columns
    assert plain[0].rstrip() == "user:0      | Hi"
    assert plain[1].startswith("assistant:1 | word word")
    assert len(plain) == {80: 5, 200: 3}[columns]
    assert all(line.startswith(" " * 14 + "word") for line in plain[2:])
    assert "[[" not in text  # it is tinted
    assert re.search(r"\x1b\[(38;5;16;48;5;151|30;47)mword", text)  # rich keeps the first of a process


@pytest.mark.parametrize("no_color", [True, False])
def test_what_is_trained_is_seen_without_colours(*, no_color: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="256", no_color=no_color)
    Conversations(console).print([("Hi", 1)], [1], ["assistant:0"])

    assert ("[[Hi]]" in file.getvalue()) == no_color
