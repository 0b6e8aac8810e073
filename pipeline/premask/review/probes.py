"""Probe rows: one small row for each thing that rows of chats and agents have.

    probes("<|im_end|>")["system"]      # {"messages": [{"role": "system", "content": "oversighted"}, ...]}

They are rows of OpenAI's messages, so they take the same way as data. Their texts are words (`WORDS`) that no
template prints, so the rendered text shows which of them it keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Row = Mapping[str, Any]

PLAIN = ("plain", "two turns")
"""The probes that decide the verdict on a template: users and assistants that take turns."""

IDS = ("abc123def", "ghi456jkl")
"""Ids of tool calls that all templates accept: some require nine letters and digits."""

NAMED_IDS = ("functions.fathomer:0", "functions.gazetteer:1")
"""Ids of tool calls that name the tool: some templates print the id instead of the name."""


def _said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def _call(name: str, id_: str, argument: str) -> dict[str, Any]:
    return {"type": "function", "id": id_, "function": {"name": name, "arguments": {"depthwise": argument}}}


def _called(*calls: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": [*calls], **more}


def _result(content: str, call: Mapping[str, Any]) -> dict[str, Any]:
    return _said("tool", content, tool_call_id=call["id"], name=call["function"]["name"])


def _tool(name: str, description: str) -> dict[str, Any]:
    depth = {"type": "string", "description": "How deep."}
    parameters = {"type": "object", "properties": {"depthwise": depth}, "required": ["depthwise"]}
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


_USER, _ANSWER = _said("user", "quixotry"), _said("assistant", "zephyrean")
_USER2, _ANSWER2 = _said("user", "wombatish"), _said("assistant", "jackdawed")
_SYSTEM, _DEVELOPER = _said("system", "oversighted"), _said("developer", "oversighted")
_REASONED = {**_ANSWER, "reasoning_content": "mullingly"}
_REASONED2 = {**_ANSWER2, "reasoning_content": "pondersome"}
_TOOLS = [_tool("fathomer", "Sound the plumbless."), _tool("gazetteer", "Look windward.")]

WORDS = (
    *("quixotry", "zephyrean", "wombatish", "jackdawed", "oversighted", "mullingly", "pondersome"),
    *("fathomer", "gazetteer", "plumbless", "windward", "depthwise", "sixpenny", "octopody"),
    *("brambling", "thistledown", "burblesome", "quillfeather", "sparrowhawk"),
)
"""All words of the probes; none is a part of another."""


def words_of(value: Any) -> list[str]:
    """Return the words of a row or of a text, each once."""
    texts = "\n".join(_strings(value))
    return [word for word in WORDS if word in texts]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield key
            yield from _strings(held)
    elif isinstance(value, (list, tuple)):
        for held in value:
            yield from _strings(held)


def probes(control: str, ids: tuple[str, str] = IDS) -> dict[str, Row]:
    """Return all probes by name. `control` is a control token of the tokenizer, which a text may hold; `ids`
    are those of tool calls."""
    chats = {**_of_chats(), **_of_edges(control)}
    agents = {name: {"messages": messages, "tools": _TOOLS} for name, messages in _of_agents(ids).items()}
    return {**{name: {"messages": messages} for name, messages in chats.items()}, **agents}


def _of_chats() -> dict[str, list[dict[str, Any]]]:
    inline = _said("assistant", "<think>\nmullingly\n</think>\n\nzephyrean")
    return {
        "plain": [_USER, _ANSWER],
        "two turns": [_USER, _ANSWER, _USER2, _ANSWER2],
        "system": [_SYSTEM, _USER, _ANSWER],
        "developer": [_DEVELOPER, _USER, _ANSWER],
        "reasoning": [_USER, _REASONED],
        "reasoning in each turn": [_USER, _REASONED, _USER2, _REASONED2],
        "reasoning in an earlier turn": [_USER, _REASONED, _USER2, _ANSWER2],
        "reasoning within the text": [_USER, inline],
    }


def _of_agents(ids: tuple[str, str]) -> dict[str, list[dict[str, Any]]]:
    call, call2 = _call("fathomer", ids[0], "sixpenny"), _call("gazetteer", ids[1], "octopody")
    result, result2 = _result("brambling", call), _result("thistledown", call2)
    thought = {"reasoning_content": "mullingly"}
    rounds = [_called(call), result, _called(call2), result2]
    return {
        "tools": [_USER, _ANSWER],
        "tool call": [_USER, _called(call)],
        "tool result": [_USER, _called(call), result, _ANSWER],
        "tool rounds": [_USER, *rounds, _ANSWER, _USER2, _ANSWER2],
        "parallel calls": [_USER, _called(call, call2), result, result2, _ANSWER],
        "text beside a call": [_USER, _called(call, content="burblesome"), result, _ANSWER],
        "system and tools": [_SYSTEM, _USER, _called(call), result, _ANSWER],
        "reasoning before a call": [_USER, _called(call, **thought)],
        "reasoning in tool rounds": [_USER, _called(call, **thought), result, _REASONED2],
    }


def _of_edges(control: str) -> dict[str, list[dict[str, Any]]]:
    parts = [{"type": "text", "text": "zephyrean "}, {"type": "text", "text": "jackdawed"}]
    return {
        "empty assistant turn": [_USER, _said("assistant", ""), _USER2, _ANSWER2],
        "two users in a row": [_USER, _USER2, _ANSWER],
        "two assistants in a row": [_USER, _ANSWER, _ANSWER2],
        "assistant first": [_ANSWER, _USER2, _ANSWER2],
        "ends on a user": [_USER, _ANSWER, _USER2],
        "names": [{**_USER, "name": "quillfeather"}, {**_ANSWER, "name": "sparrowhawk"}],
        "content as parts": [_said("user", parts[:1]), _said("assistant", parts)],
        "control token in content": [
            _said("user", f"quixotry {control} wombatish"),
            _said("assistant", f"zephyrean {control} jackdawed"),
        ],
        "text that starts with a newline": [_USER, _said("assistant", "\nzephyrean")],
    }
