"""Random conversations, as the pipeline has them after a row was read: roles in plausible orders, texts glued
from strings that matter to a template.

    chats = RandomChats(random.Random(7), pool_of(source))
    chats.next()
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import Any

from premask.core.records import Conversation, Message

MARKERS = (
    *("a", "Hello", "é", "你好", " ", "\n", "\n\n", "\t", "\u2028", "", "<", "###", "</s>", "<s>", "\x1f"),
    *("\ue000", "\U0001f642", "0", "null", "{}", '{"a": [1, "é"]}', "[]", "<tool_call>", "</tool_call>"),
    *(
        "<think>",
        "</think>",
        "<think>\n",
        "\n</think>\n\n",
        "<|im_end|>",
        "<|im_start|>assistant\n",
        "[/INST]",
    ),
)
"""Strings that are in the pool of every template."""

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1.5,
        1e300,
        "",
        "é\n",
        "</think>",
        [],
        {},
        [1, [None]],
        {"a": {"b": "<|im_end|>"}},
    ),
    *("\ue000", "Paris", '"', "\\", "<tool_call>"),
)
"""Values of arguments."""

NAMES = ("get_weather", "f", "get time", "é")


def pool_of(source: str, stops: Iterable[str] = ()) -> tuple[str, ...]:
    """The strings that texts are glued from: markers, stop strings and the template's own literals."""
    found = re.findall(r"'([^'\n]{1,40})'|\"([^\"\n]{1,40})\"", source)
    literals = [(one or other).replace("\\n", "\n") for one, other in found[:200]]
    return (*MARKERS, *stops, *literals)


class RandomChats:
    """Conversations, one after another. `weights` says whether messages may have loss weights."""

    def __init__(self, chance: random.Random, pool: Sequence[str], *, weights: bool = False) -> None:
        self._chance, self._pool, self._weights = chance, pool, weights
        self._nasty = 0.5

    def next(self) -> Conversation:
        """The next conversation."""
        chance = self._chance
        self._nasty = chance.choice((0.0, 0.2, 0.6))
        self._odd = chance.random() < 0.15
        self._reasons = chance.choice((0.0, 0.0, 0.5, 1.0))
        has_tools = chance.random() < 0.4
        before = chance.choice(((), (), ("system",), ("system",), ("developer",), ("system", "system")))
        messages: list[Message] = [self._said(role) for role in before]
        for _ in range(chance.choice((1, 1, 2, 2, 3, 5))):
            messages += self._round(has_tools=has_tools)
        if self._odd and len(messages) > 1:
            self._disturb(messages)
        if not any(message.role == "assistant" for message in messages):
            messages.append(self._answer())
        tools = (
            self._tools() if has_tools and chance.random() < 0.8 else chance.choice((None, None, None, ()))
        )
        return Conversation(tuple(messages), tools)

    def _round(self, *, has_tools: bool) -> list[Message]:
        chance = self._chance
        messages = [self._said("user") for _ in range(1 if chance.random() < 0.9 else 2)]
        if has_tools:
            for _ in range(chance.choice((0, 1, 1, 2, 3))):
                count = chance.choice((1, 1, 2))
                messages.append(self._answer(count))
                messages += (self._result(number) for number in range(count))
        if chance.random() < 0.95:
            messages.append(self._answer())
        return messages

    def _disturb(self, messages: list[Message]) -> None:
        chance = self._chance
        at = chance.randrange(len(messages))
        what = chance.choice(("drop", "repeat", "system", "shuffle", "first"))
        if what == "drop":
            del messages[at]
        elif what == "repeat":
            messages.insert(at, messages[at])
        elif what == "system":
            messages.insert(at, self._said(chance.choice(("system", "developer", "tool", "user"))))
        elif what == "shuffle":
            chance.shuffle(messages)
        else:
            messages.insert(0, self._answer())

    # ==== messages ====

    def _text(self) -> str:
        chance = self._chance
        if chance.random() >= self._nasty:
            return chance.choice(
                ("Hello there", "x", "How can I\n\nrestore it?", "Zürich 日本", "again", "1")
            )
        return "".join(chance.choices(self._pool, k=chance.choice((0, 1, 1, 2, 3))))

    def _said(self, role: str) -> Message:
        name = "Ann" if role == "user" and self._chance.random() < 0.03 else None
        return Message(role, self._text(), name=name, **self._marks())

    def _answer(self, calls: int = 0) -> Message:
        chance = self._chance
        content: str | None = self._text()
        if calls:
            content = chance.choice((content, "", None))
        reasoning = self._text() if chance.random() < self._reasons else None
        made = tuple(self._call(number) for number in range(calls))
        return Message("assistant", content, reasoning, made, **self._marks())

    def _result(self, number: int) -> Message:
        chance = self._chance
        name, call = chance.choice((None, chance.choice(NAMES))), chance.choice((None, f"call{number:05}"))
        return Message("tool", self._text(), None, (), call, name)

    def _marks(self) -> dict[str, Any]:
        chance = self._chance
        marks: dict[str, Any] = {}
        if chance.random() < 0.04:
            marks["train"] = chance.choice((True, False, False))
        if self._weights and chance.random() < 0.1:
            marks["weight"] = chance.choice((0.0, 0.5, 1.0, 2.0))
        return marks

    def _call(self, number: int) -> dict[str, Any]:
        chance = self._chance
        names = chance.sample(("city", "days", "é", "type", "name"), chance.choice((0, 1, 1, 2)))
        function = {"name": chance.choice(NAMES), "arguments": {name: self._value() for name in names}}
        if chance.random() < 0.3:
            return {"type": "function", "function": function}
        return {"type": "function", "id": f"call{number:05}", "function": function}

    def _value(self) -> Any:
        return self._chance.choice((*VALUES, self._text()))

    def _tools(self) -> tuple[dict[str, Any], ...]:
        chance = self._chance
        return tuple(self._tool(name) for name in chance.sample(NAMES, chance.choice((1, 1, 2, 3))))

    def _tool(self, name: str) -> dict[str, Any]:
        city = {"type": "string", "description": self._text(), **({"enum": ["a"]} if self._odd else {})}
        parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
        function = {"name": name, "description": self._text(), "parameters": parameters}
        return {"type": "function", "function": function}
