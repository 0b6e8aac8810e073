"""Rows of every kind, as hypothesis draws them: plain ones and others, ShareGPT's and OpenAI's."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from premask.core.records import Row

TEXTS = st.sampled_from(
    [
        *("Hi", "Hello there", "", " ", "\n", "é", "你好，世界", "a\u0301b", "e\u0301", "x " * 60, "\u2581"),
        *(
            "🙂\u200d",
            "<|im_end|>",
            "<|im_start|>assistant\n",
            "<think>\nhm\n</think>\n\nyes",
            "</s>",
            "<unk>",
        ),
        *("\ue000", "\u088f"),
    ]
)

_NAMES = st.sampled_from(["human", "gpt", "human", "gpt", "system", "tool", "narrator"])
_TURNS = st.lists(st.tuples(_NAMES, TEXTS), min_size=1, max_size=6)
_TALKS = st.lists(TEXTS, min_size=2, max_size=4).map(
    lambda texts: list(zip(["human", "gpt"] * 2, texts, strict=False))
)


def sharegpt_row(number: int, turns: list[tuple[str, str]], **more: Any) -> Row:
    """A row of turns, each who says it and what."""
    value = {"id": number, "conversations": [{"from": name, "value": text} for name, text in turns], **more}
    return Row("s.jsonl", number, value)


def sharegpt_rows() -> st.SearchStrategy[list[Row]]:
    """Some rows of one batch."""
    return st.lists(_TURNS | _TALKS, min_size=1, max_size=12).map(
        lambda talks: [sharegpt_row(number, turns) for number, turns in enumerate(talks)]
    )


CALL = {"type": "function", "function": {"name": "weigh", "arguments": {"what": "flour <|im_end|>"}}}
TOOL = {
    "type": "function",
    "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}},
}
TOOLS_AND_CALLS = (
    "{% for tool in tools or [] %}{{ tool | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template that prints tools and calls."""

FORGETS = TOOLS_AND_CALLS.replace(
    "{{ m.content }}",
    "{{ '<think></think>' if m.role == 'assistant' and loop.last }}{{ m.content }}",
)
"""One that prints a thought before the last answer only, so that answers get samples of their own."""


@st.composite
def openai_messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """User and assistant in turn, now and then with calls, weights, flags or a tool's answer."""
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXTS)})
        answer: dict[str, Any] = {"role": "assistant", "content": draw(TEXTS)}
        extra = draw(st.sampled_from(["", "", "", "calls", "weight", "zero", "untrained"]))
        if extra == "calls":
            messages += [{**answer, "tool_calls": [CALL]}, {"role": "tool", "content": draw(TEXTS)}]
        answer |= {"weight": {"weight": 0.5}, "zero": {"weight": 0}, "untrained": {"train": False}}.get(
            extra, {}
        )
        messages.append(answer)
    return messages


@st.composite
def openai_rows(draw: st.DrawFn) -> list[Row]:
    """Some rows of one batch; a few have tools, and a few are no rows at all."""
    rows = []
    for number in range(draw(st.integers(1, 8))):
        value: Any = {"id": f"row {number}", "messages": draw(openai_messages())}
        kind = draw(st.sampled_from(["", "", "", "tools", "broken", "unread"]))
        if kind == "tools":
            value["tools"] = [TOOL]
        if kind == "broken":
            value = draw(st.sampled_from([None, [], {"messages": []}, {"messages": "x"}, {}]))
        error = "Expecting value" if kind == "unread" else None
        rows.append(Row("o.jsonl", number, None if error else value, "{", error))
    return rows
