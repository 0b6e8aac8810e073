"""Made-up rows with reasoning, with tools, and of agents; the kinds are described in `data.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from text_pool import Draw, Pool, glue, text_pool

Row = dict[str, Any]
"""What stands in a line of JSONL: `messages`, and `tools` where there are some."""

THINGS = (
    "invoice", "order", "parcel", "customer", "ticket", "flight", "hotel", "recipe", "song", "playlist",
    "meeting", "calendar", "note", "task", "file", "folder", "image", "video", "stock", "currency", "weather",
    "route", "train", "lesson", "grade", "book", "loan", "account", "budget", "workout", "meal", "sensor",
    "lamp", "room", "article", "comment", "word", "date", "password", "contact",
)  # fmt: skip
VERBS = ("get", "search", "create", "update", "delete", "convert", "calculate", "list", "compare", "send")
FIELDS = (
    "name", "id", "city", "country", "amount", "currency", "start_date", "end_date", "language", "category",
    "email", "query", "limit", "unit", "price", "tags", "priority", "notes", "active", "level",
)  # fmt: skip
TYPES = ("string", "string", "string", "number", "integer", "boolean", "array")
AGENT_TOOLS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bash", ("command",)), ("view", ("path", "first", "last")), ("search", ("pattern", "path")),
    ("edit", ("path", "old", "new")),
)  # fmt: skip


def reasoning_rows(seed: int) -> Iterator[Row]:
    """Yield a question, what is thought about it (median 900 characters), and the answer (500)."""
    pool, rng = text_pool(), np.random.default_rng(seed)
    draw = Draw(rng)
    while True:
        units = pool.chinese if draw.part() < 0.12 else pool.english
        shrink = 1 / 3 if units is pool.chinese else 1  # it says more in a character
        asked, thought, told = (
            glue(units, shrink * _about(characters, rng), draw) for characters in (150, 900, 500)
        )
        answer = {"role": "assistant", "content": told, "reasoning_content": thought}
        yield {"messages": [{"role": "user", "content": asked}, answer]}


def tools_rows(seed: int) -> Iterator[Row]:
    """Yield one to four questions, most of them answered with calls of one to five tools of the row."""
    pool, rng = text_pool(), np.random.default_rng(seed)
    draw = Draw(rng)
    services = [_service(thing, draw) for thing in THINGS]
    while True:
        service = services[draw.below(len(services))]
        tools = [service[i] for i in sorted(rng.permutation(len(service))[: 1 + draw.below(5)].tolist())]
        messages: list[Row] = []
        if draw.part() < 0.5:
            messages.append({"role": "system", "content": "You are a helpful assistant with functions."})
        for turn in range(1 + draw.below(4)):
            messages.append({"role": "user", "content": glue(pool.english, _about(110, rng), draw)})
            if draw.part() < 0.7:
                messages += _called(tools, f"{len(messages)}{turn}", pool, draw)
            messages.append({"role": "assistant", "content": glue(pool.english, _about(250, rng), draw)})
        yield {"messages": messages, "tools": tools}


def agent_rows(rounds: int, seed: int) -> Iterator[Row]:
    """Yield a task for a coding agent and so many rounds of a thought, a call of a tool, and its result."""
    pool, rng = text_pool(), np.random.default_rng(seed)
    draw, tools = Draw(rng), [_tool(name, dict.fromkeys(keys, "string")) for name, keys in AGENT_TOOLS]
    while True:
        system = f"You are a coding agent. {glue(pool.english, 1000, draw)}"
        messages: list[Row] = [
            {"role": "system", "content": system},
            {"role": "user", "content": f"{glue(pool.english, 800, draw)}\n\n{_lines(pool, 1200, draw)}"},
        ]
        for number in range(rounds):
            name, keys = AGENT_TOOLS[draw.below(len(AGENT_TOOLS))]
            arguments = {key: _argument(key, pool, draw) for key in keys}
            call = _call(f"call_{number}", name, arguments)
            thought = glue(pool.english, 20 + 200 * draw.part(), draw)
            messages += [
                {"role": "assistant", "content": thought, "tool_calls": [call]},
                {
                    "role": "tool",
                    "tool_call_id": call["id"],
                    "content": _lines(pool, 30 + 940 * draw.part(), draw),
                },
            ]
        messages.append({"role": "assistant", "content": glue(pool.english, 300, draw)})
        yield {"messages": messages, "tools": tools}


def _about(characters: float, rng: np.random.Generator) -> float:
    return math.exp(rng.normal(math.log(characters), 0.8))


def _lines(pool: Pool, characters: float, draw: Draw) -> str:
    """About so many characters of whole lines of code."""
    block = pool.code[draw.below(len(pool.code))]
    start = block.rfind("\n", 0, draw.below(len(block))) + 1
    while len(block) - start < characters:
        block += f"\n\n{pool.code[draw.below(len(pool.code))]}"
    end = block.find("\n", start + int(characters))
    return block[start : end if end > 0 else None].strip() or "(no output)"


def _argument(key: str, pool: Pool, draw: Draw) -> str:
    thing, verb = THINGS[draw.below(len(THINGS))], VERBS[draw.below(len(VERBS))]
    if key in {"old", "new"}:
        return _lines(pool, 120, draw)
    if key in {"first", "last"}:
        return str(draw.below(900))
    if key == "command":
        return f"cd src/{thing} && python -m pytest tests/test_{verb}.py -q | tail -{draw.below(50)}"
    return f"src/{thing}/{verb}_{thing}.py" if key == "path" else f"def {verb}_{thing}\\("


# ==== Tools and their calls ====


def _service(thing: str, draw: Draw) -> list[Row]:
    """Six tools about a thing."""
    tools = []
    for verb in sorted({VERBS[draw.below(len(VERBS))] for _ in range(30)})[:6]:
        fields = {
            FIELDS[draw.below(len(FIELDS))]: TYPES[draw.below(len(TYPES))] for _ in range(1 + draw.below(4))
        }
        tools.append(_tool(f"{verb}_{thing}", fields))
    return tools


def _tool(name: str, fields: dict[str, str]) -> Row:
    properties: Row = {}
    for field, kind in fields.items():
        properties[field] = {
            "type": kind,
            "description": f"The {field.replace('_', ' ')} to {name.replace('_', ' ')}",
        }
        if kind == "array":
            properties[field]["items"] = {"type": "string"}
    parameters = {"type": "object", "properties": properties, "required": list(fields)[:1]}
    function = {
        "name": name,
        "description": f"{name.replace('_', ' ').capitalize()}.",
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def _call(call_id: str, name: str, arguments: Row) -> Row:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _called(tools: list[Row], prefix: str, pool: Pool, draw: Draw) -> list[Row]:
    """An assistant's turn with a call, at times with two, and the results."""
    calls = []
    for number in range(2 if draw.part() < 0.15 else 1):
        function = tools[draw.below(len(tools))]["function"]
        fields = function["parameters"]["properties"]
        arguments = {name: _value(field["type"], pool, draw) for name, field in fields.items()}
        calls.append(_call(f"call_{prefix}{number}", function["name"], arguments))
    said = glue(pool.english, 60, draw) if draw.part() < 0.2 else ""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": json.dumps({
            "status": "ok", "result": {**call["function"]["arguments"], "text": glue(pool.english, 80, draw)},
        }, ensure_ascii=False)} for call in calls
    ]  # fmt: skip
    return [{"role": "assistant", "content": said, "tool_calls": calls}, *results]


def _value(kind: str, pool: Pool, draw: Draw) -> Any:
    if kind in {"number", "integer"}:
        return draw.below(5000) if kind == "integer" else round(1000 * draw.part(), 2)
    if kind == "boolean":
        return draw.part() < 0.5
    words = glue(pool.english, 20, draw).split()[:3]
    return words if kind == "array" else " ".join(words)
