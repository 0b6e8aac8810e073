"""Rows for the fuzz: real ones of every dialect and kind with something changed, and JSON that hypothesis makes.

pool = Pool(random.Random(7), tokens=["<|im_end|>"])
rows = pool.rows(2000)
"""

from __future__ import annotations

import contextlib
import json
import marshal
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from commands import chat
from conversation_kinds import KINDS
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from inputs import CORPUS
from premask.core.errors import PremaskError
from premask.core.records import Conversation, Message
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice
from random_chats import RandomChats, pool_of

TURN = {"from": "human", "value": "Hi"}
SEEDS: list[Any] = [
    chat("Hi", "Hello", "1+1?", "2"),
    {"system": "Be brief.", "conversations": [TURN, {"from": "gpt", "value": "Hello"}]},
    {"conversation": [{"human": "Hi", "assistant": "Hello"}]},
    {"instruction": "Add.", "input": "1+1", "output": "2", "history": [["a", "b"]]},
    {"instruction": "When?", "context": "In 1900.", "response": "1900"},
    {"prompt": "1+1?", "completion": ["2", "two"]},
    {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
    {
        "conversations": [TURN],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    {"prompt": "1+1?", "completion": "2", "label": True},
    {"question": "1+1?", "answer": "2", "system_prompt": "Add."},
    {"text": "\n\nHuman: Hi\n\nAssistant: Hello"},
    {"text": "### Human: Hi### Assistant: Hello"},
    {"messages_display": "user: Hi\nassistant: Hello"},
    {"turns": [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}]},
    {
        "prompt": {
            "text": "Hi",
            "role": "prompter",
            "replies": [{"text": "a", "role": "assistant", "replies": []}],
        }
    },
    {"question": [[{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]]},
    {"categories": ["x"], "conversations": [["Hi", "Hello"], ["a", "b"]]},
    {"answer_generation": {"valid_data": True, "train_messages": [chat("Hi", "Hello")["messages"]]}},
    {
        "system": "s",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "x"}],
            },
        ],
    },
    {**chat("Hi", "Hello"), "chat_template_kwargs": {"enable_thinking": False}, "weight": 0.5},
]
"""A row of each dialect; real ones of the shared corpus are added where it is here."""

DEEP, DEEPER = json.loads("[" * 90 + "]" * 90), json.loads('{"a": [' * 200 + "]}" * 200)

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, -0.0, 1e300, 5e-324, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400),
    *("", " ", "\n", "\r\n", "Hi", "[]", "{}", "null", "None", "NaN", "1e999", "\0", "a\0b", "\ufeff", "\x7f", "\x85"),
    *("\u2028", "\u202e", "é", "e\u0301", "😀", "\u200d", "\ue000", "\ufffe", "\U0010ffff", "\ud83d", "\ude00\ud83d", "a\udc80"),
    *("<|im_end|>", "<think>", "</think>", "<tool_call>", "[/INST]", "</s>", "{{ x }}", "{% raw %}", "{#"),
    *("user", "assistant", "system", "tool", "developer", "gpt", "function", "narrator", "__class__"),
    *([], {}, [None], [[]], {"a": None}, [{}], {"": ""}, [{"role": "user", "content": "x"}], ["a", "b"], DEEP, DEEPER),
    *({"type": "text"}, {"type": "text", "text": "x", "train": False}, {"type": "image_url", "image_url": "x"}),
    *({"type": "function", "function": {"name": "f", "arguments": '{"x": [1, {"y": "}"}]}'}}, {"role": "assistant"}),
    *('[{"role": "assistant", "content": "x"}]', "a" * 3000, "a " * 2000, "```\n<p>", "&amp;", "\n\nHuman: x\n\nAssistant:"),
]  # fmt: skip
"""Values of every type, in the place of any other."""

KEYS = [
    *("messages", "conversations", "role", "content", "from", "value", "system", "tools", "prompt", "chosen", "rejected"),
    *("completion", "label", "text", "replies", "history", "weight", "train", "tool_calls", "name", "id", "speaker"),
    *("reasoning_content", "reasoning", "thinking", "loss", "loss_mask", "train_turns", "masked", "tool_call_id", "type"),
    *("function", "arguments", "parameters", "input", "tool_use_id", "chat_template_kwargs", "documents", "bos_token"),
    *("function_call", "functions", "instruction", "output", "question", "answer", "images", "", "__class__", "\0", "é"),
]  # fmt: skip
"""Keys that mean something, to some dialect or template, and some that mean nothing anywhere."""

RAW = [
    *(b"", b"null", b"[]", b"NaN", b'{"messages": NaN}', b"-", b'{"a": 1} {"a": 2}', b"\xff\xfe{", b"\xef\xbb\xbf{}"),
    *(b"[" * 100_000, b'{"messages": ' * 5000, b'{"a":' * 300 + b"1" + b"}" * 300, b'{"messages": ' + b"7" * 5005 + b"}"),
    *(b'{"weight": 1e99999, "messages": []}', b'{"messages": "\\ud800"}', b'{"messages": "\\u0000"}', b"\0" * 10, b"{'a': 1}"),
    b'{"messages": [{"role": "user", "role": "assistant", "content": "a", "content": "b"}], "messages": []}',
    b'{"text": "' + b"a" * 200_000 + b'"}',
]  # fmt: skip
"""Lines that are no rows, or odd ones; the last has as many letters as a small book."""


class Pool:
    """Rows, and what is changed in them. `tokens` are control tokens and literals of a template, which are put
    into any text; `made` are rows of hypothesis."""

    def __init__(self, dice: random.Random, tokens: Sequence[str], made: Sequence[Any]) -> None:
        self._dice = dice
        self._tokens = [*tokens, *(text for text in ODD if isinstance(text, str))]
        self._kinds = [each.as_row() for each in KINDS.values()]
        self._chats = RandomChats(dice, pool_of("", tokens), weights=True)
        self._made = made

    def rows(self, count: int) -> list[Any]:
        """Rows of a file: of one or two kinds, of one dialect or of all."""
        dice = self._dice
        messages = [*self._kinds, *(row_of(self._chats.next()) for _ in range(30))]
        others = [*SEEDS * 3, *real_rows()]
        first = dice.randrange(len(others))
        few = [others[(first + i) % len(others)] for i in range(dice.choice([1, 2]))]
        kinds = dice.choice([messages, messages, messages, few, others, [*messages, *others]])
        share = dice.choice([0.0, 0.02, 0.2])
        rows = [self._mutated(dice.choice(kinds)) for _ in range(count - int(share * count))]
        rows += [self._mutated(dice.choice(self._made)) for _ in range(count - len(rows))]
        dice.shuffle(rows)
        return rows

    def _mutated(self, row: Any) -> Any:
        """A copy of a row with up to three things changed anywhere in it."""
        row, dice = copied(row), self._dice
        for _ in range(dice.choice([0, 0, 1, 1, 2, 3])):
            places = list(_places(row))
            if not places:
                return dice.choice(ODD)
            self._change(*dice.choice(places))
        return row

    def _change(self, holder: Any, key: Any) -> None:
        dice, value = self._dice, holder[key]
        change = dice.randrange(9)
        if change == 0 and isinstance(holder, dict):
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[dice.choice(KEYS)] = value
        elif change == 2 and isinstance(value, str):
            holder[key] = value[: dice.randrange(len(value) + 1)]
        elif change == 3 and isinstance(value, (list, dict)):
            holder[key] = json.dumps(value)
        elif change == 4 and isinstance(holder, list):
            holder.insert(dice.randrange(len(holder) + 1), copied(value))
        elif change in {5, 6} and isinstance(value, str):
            at = dice.randrange(len(value) + 1)
            holder[key] = value[:at] + dice.choice(self._tokens) + value[at:]
        elif change == 7 and isinstance(holder, dict):
            holder[dice.choice(KEYS)] = copied(dice.choice(ODD))
        else:
            holder[key] = copied(dice.choice(ODD))


def copied(value: Any) -> Any:
    """A copy of JSON values, in a tenth of the time of `deepcopy`."""
    return marshal.loads(marshal.dumps(value))  # noqa: S302  of our own values


def _places(value: Any, depth: int = 7) -> Iterator[tuple[Any, Any]]:
    if depth and isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth - 1)


def row_of(conversation: Conversation) -> dict[str, Any]:
    """A row of OpenAI messages that is read as this conversation."""
    messages = [_message_of(message) for message in conversation.messages]
    return {
        "messages": messages,
        **({} if conversation.tools is None else {"tools": list(conversation.tools)}),
    }


def _message_of(message: Message) -> dict[str, Any]:
    fields = {
        "reasoning_content": message.reasoning,
        "tool_calls": list(message.tool_calls) or None,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "train": message.train,
        "weight": message.weight,
    }
    set_ = {key: value for key, value in fields.items() if value is not None}
    return {"role": message.role, "content": message.content, **set_}


def made_rows(count: int, number: int) -> list[Any]:
    """JSON by hypothesis, with keys that mean something."""
    scalars = st.one_of(
        st.sampled_from(ODD),
        st.text(max_size=8),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    objects = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
        ),
        max_leaves=12,
    )
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=max(count, 1), database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(objects)
    def collect(row: Any) -> None:
        found.append(copied(row))

    collect()
    return found[:count]


@cache
def real_rows() -> list[Any]:
    """A few rows of each small file of the corpus."""
    rows: list[Any] = []
    for path in sorted(CORPUS.rglob("*.json*")) if CORPUS.is_dir() else []:
        if path.stat().st_size < 1_000_000 and path.name != "index.shared.json":
            with contextlib.suppress(PremaskError):
                found = [row.value for row in read_slice(whole(inspect_source(path.as_posix())))][:2]
                rows += [value for value in found if len(json.dumps(value)) < 6000]
    return rows
