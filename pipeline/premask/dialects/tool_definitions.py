"""Tool definitions in OpenAI's shape, from that shape and those of other APIs.

    {"name": "f", "parameters": {...}}                                a bare function
    {"name": "f", "input_schema": {...}}                              Anthropic
    {"functionDeclarations": [{"name": "f", "parameters": {...}}]}    Gemini
    {"toolSpec": {"name": "f", "inputSchema": {"json": {...}}}}       Bedrock Converse

Where an object is expected, it may be JSON within a string: the tool, its function, its parameters, and the
schemas within them.

    >>> in_openai_shape({"name": "search", "input_schema": {}})
    [{'type': 'function', 'function': {'name': 'search', 'parameters': {}}}]

Cost: linear in the tools.
"""

from __future__ import annotations

from typing import Any

from ..core.strict_json import MAX_DEPTH
from .cells import object_in

Tool = dict[str, Any]

_DECLARATIONS = ("functionDeclarations", "function_declarations")
_SCHEMAS = ("input_schema", "inputSchema", "parametersJsonSchema")
_GEMINI_TYPES = frozenset({"OBJECT", "ARRAY", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "NULL"})


def in_openai_shape(tool: Tool) -> list[Tool]:
    """The functions of one tool as it is written, each in the envelope that chat templates expect."""
    declared = next((tool[key] for key in _DECLARATIONS if isinstance(tool.get(key), list)), None)
    if declared is not None:
        functions = [object_in(each) for each in declared]
        return [_wrapped(_plain_types(each)) for each in functions if isinstance(each, dict)]
    spec = object_in(tool.get("toolSpec"))
    return [_wrapped(spec if isinstance(spec, dict) else tool)]


def _wrapped(tool: Tool) -> Tool:
    """A tool given as a bare function, put into an envelope."""
    tool = _with_parameters(tool)
    function = object_in(tool.get("function"))
    if isinstance(function, dict):
        return {**tool, "function": _with_parameters(function)}
    is_bare = "function" not in tool and isinstance(tool.get("name"), str)
    if not is_bare or tool.get("type", "function") != "function":
        return tool
    return {"type": "function", "function": {key: field for key, field in tool.items() if key != "type"}}


def _with_parameters(function: Tool) -> Tool:
    """A function with its parameters under OpenAI's name, as objects."""
    other = next((key for key in _SCHEMAS if isinstance(object_in(function.get(key)), dict)), None)
    if other is not None and "parameters" not in function:
        schema = object_in(function[other])
        schema = schema["json"] if other == "inputSchema" and isinstance(schema.get("json"), dict) else schema
        function = {("parameters" if key == other else key): field for key, field in function.items()}
        function["parameters"] = schema
    if "parameters" in function and _holds_strings(function["parameters"], 0):
        return {**function, "parameters": _schema(function["parameters"], 0)}
    return function


# ==== Schemas ====

_OF_NAMES = ("properties", "$defs", "definitions")
"""Keys of a schema that hold schemas by name."""


def _holds_strings(schema: Any, depth: int) -> bool:
    """Whether an object within a schema is JSON within a string."""
    if isinstance(schema, str):
        return isinstance(object_in(schema), dict)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return False
    return any(_holds_strings(each, depth + 1) for each in _inner(schema))


def _inner(schema: Tool) -> list[Any]:
    named = [field for key in _OF_NAMES if (field := schema.get(key)) is not None]
    within = [each for field in named if isinstance(field, dict) for each in field.values()]
    return [field for field in named if isinstance(field, str)] + within + [schema.get("items")]


def _schema(schema: Any, depth: int) -> Any:
    """A schema in which what is JSON within a string is an object."""
    schema = object_in(schema)
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return schema
    read = {**schema}
    for key in (key for key in _OF_NAMES if key in read):
        named = object_in(read[key])
        read[key] = (
            {name: _schema(each, depth + 1) for name, each in named.items()}
            if isinstance(named, dict)
            else named
        )
    if "items" in read:
        read["items"] = _schema(read["items"], depth + 1)
    return read


def _plain_types(value: Any, depth: int = 0) -> Any:
    """A declaration of Gemini with the names of types that JSON Schema has."""
    if isinstance(value, list) and depth < MAX_DEPTH:
        return [_plain_types(each, depth + 1) for each in value]
    if not isinstance(value, dict) or depth >= MAX_DEPTH:
        return value
    return {key: _type(key, _plain_types(field, depth + 1)) for key, field in value.items()}


def _type(key: str, field: Any) -> Any:
    return field.lower() if key == "type" and isinstance(field, str) and field in _GEMINI_TYPES else field
