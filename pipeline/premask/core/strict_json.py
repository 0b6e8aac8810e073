"""Strict JSON: text -> Python values, in one place for input files and for JSON within strings of a row.

    parse_json   text -> value, or a ValueError
    reason       that ValueError -> a phrase for a message
    without_nulls  value -> the value without keys that hold null

Python's `json.loads` takes NaN and Infinity, which no other JSON reader does, and its bound on nesting
depends on how deep the call stack happens to be. A file must mean the same everywhere: both are refused here.

    >>> parse_json('{"a": [1, 2.0]}')
    {'a': [1, 2.0]}

What is valid for both is parsed by msgspec, which reads the same values (a test holds it to that: numbers of
any size, duplicate keys, depth). Whatever it refuses goes to the standard library, which reads it after all
(half of a surrogate pair) or says what is wrong.

Cost: two thirds of `json.loads`; values with more than 256 brackets are walked once more to measure
their depth.
"""

from __future__ import annotations

import json
import math
from typing import Any, AnyStr

import msgspec

MAX_VALUES = 4_000_000
"""Commas, colons and opening brackets that a large value may have. Python objects take some 100 bytes for
each that takes three in the text."""

MAX_DEPTH = 256
"""Levels of nesting that a value may have; a fixed bound, because Python's own depends on the call stack."""

_LARGE = 8_000_000  # characters of a text whose values are counted before it is parsed

_PART = 1 << 20

_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


class TooManyValuesError(ValueError):
    """A text has so many values that they would take all memory."""

    def __init__(self) -> None:
        super().__init__(f"it has more than {MAX_VALUES:,} values and keys")


def parse_json(text: str) -> Any:
    """Parse JSON as `json.loads` does, but strictly: no NaN or Infinity, nothing nested too deeply.

    Raises `ValueError` with the reason (`json.JSONDecodeError` where the syntax is wrong,
    `TooManyValuesError` where a large text has too many values).

    >>> parse_json('[1, {"a": null}]')
    [1, {'a': None}]
    >>> parse_json("[NaN]")
    Traceback (most recent call last):
    ValueError: NaN is not a JSON value
    """
    if len(text) > _LARGE and _marks(text) > MAX_VALUES:
        raise TooManyValuesError
    try:
        value = _FAST(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        value = _by_the_standard(text)
    if may_be_deep(text, "[", "{") and _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def may_be_deep(text: AnyStr, *openers: AnyStr) -> bool:
    """Whether a JSON text has enough brackets, given as str or bytes, to be nested too deeply.

    >>> may_be_deep("[" * 300 + "]" * 300, "[", "{"), may_be_deep("[[]]", "[", "{")
    (True, False)
    """
    return len(text) > 2 * MAX_DEPTH and sum(map(text.count, openers)) > MAX_DEPTH


def without_nulls(value: Any) -> Any:
    """Drop the keys of objects that hold null, at every level; Arrow puts nulls where a struct lacks a field.

    >>> without_nulls({"a": None, "b": [{"c": None, "d": 1}, None]})
    {'b': [{'d': 1}, None]}
    """
    if isinstance(value, dict):
        return {key: without_nulls(field) for key, field in value.items() if field is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def reason(error: ValueError) -> str:
    """Say why a text is not JSON, with line and column where the syntax is wrong.

    >>> reason(json.JSONDecodeError("Expecting value", "[1,\\n]", 4))
    'Expecting value at line 2 column 1'
    """
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    return str(error)


def _marks(text: str) -> int:
    """How many commas, colons and opening brackets are outside of strings."""
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    count = quoted = 0
    for start in range(0, len(text), _PART):
        parts = text[start : start + _PART].split('"')
        outside = "".join(parts[quoted::2])
        count += sum(map(outside.count, ",:[{"))
        quoted = (quoted + len(parts) - 1) % 2
    return count


def _by_the_standard(text: str) -> Any:
    """What the standard library reads, or its error; it has the last word on what is valid."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _is_deep(value: Any) -> bool:
    """Whether a value is nested too deeply; level by level, so that depth cannot exhaust the stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for nodes in children for child in nodes if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"number {digits[:20]} is out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_FAST = msgspec.json.Decoder().decode
