"""A line of a text -> its value: JSON, and the two things that are often written in its place.

    parse_line      line -> value, or a ValueError
    without_marks   line -> the line without the byte order marks at its start

A line of an array without its brackets ends in a comma; a line that Python printed has its notation
(`core/python_notation.py`). Both say for certain what the value is. What else is no JSON is refused.

    >>> parse_line('{"a": 1},'), parse_line("{'a': None}")
    ({'a': 1}, {'a': None})
"""

from __future__ import annotations

from typing import Any

from ..core.python_notation import looks_python, parse_python
from ..core.strict_json import TooManyValuesError, parse_json
from .files import BOM


def without_marks(line: bytes) -> bytes:
    """A line without the byte order marks at its start: joined files have them anywhere.

    >>> without_marks(BOM + b"[]"), without_marks(b"[]")
    (b'[]', b'[]')
    """
    while line.startswith(BOM):
        line = line.removeprefix(BOM)
    return line


def parse_line(text: str) -> Any:
    """The value of a line. Raises `ValueError` with the reason, as `parse_json` does."""
    try:
        return parse_json(text)
    except TooManyValuesError:
        raise
    except ValueError as error:
        return _otherwise(text, error)


def _otherwise(text: str, error: ValueError) -> Any:
    """The value of a line that is no JSON. Raises the error of JSON, or that of Python's notation."""
    bare = text.rstrip()
    if bare.endswith(","):
        bare = bare[:-1]
        value = _object_or_list(bare)
        if value is not None:
            return value
    if looks_python(bare):
        return parse_python(bare)
    if "\r" in bare and _object_or_list(bare.partition("\r")[0]) is not None:
        what = "several values, with CR alone between them; write LF after each"
        raise ValueError(f"the line has {what}") from None
    raise error


def _object_or_list(text: str) -> Any:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, (dict, list)) else None
