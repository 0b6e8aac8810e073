r"""Python's notation of plain values, as `str()` of lists and dicts writes it: text -> value.

    looks_python   whether a text begins as such a list or dict does
    parse_python   text -> value, or a ValueError
    parse_cell     text of JSON, or else of Python's notation -> value, or a ValueError

Cells that pandas wrote, and lines that `print` wrote, hold it: single quotes, None, True, and what numpy puts
around lists, `array([...], dtype=object)`, or leaves out, the commas between dicts. Nothing is evaluated.
What Python would read and JSON has not is refused: bytes, calls, sets, numbers that are no number, and two
texts without a comma between, which Python joins (mostly, a quote was lost there).

    >>> parse_python("[{'from': 'human', 'value': \"it's\"}]")
    [{'from': 'human', 'value': "it's"}]

Cost: about 1 us a value. Depth and number of values have the bounds of JSON (`strict_json.py`).
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from .strict_json import MAX_DEPTH, MAX_VALUES, TooManyValuesError, parse_json

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'[^'\\\n]*(?:\\.[^'\\\n]*)*'|"[^"\\\n]*(?:\\.[^"\\\n]*)*")
    | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)(?![\w.])
    | (?P<word>(?:None|True|False)\b|array\(|,\s*dtype=\w+\s*\))
    | (?P<mark>[\[\]{}(),:]|\Z)
    )""",
    re.VERBOSE,
)
_BEGIN = re.compile(
    r"\s*(?:array\()?[\[{(]\s*(?:array\()?(?:[\[{(]\s*){0,8}(?:'|None\b|True\b|False\b|array\()"
)
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
_LONGEST_INTEGER = 4000  # digits; Python itself has a bound a little above
_WORDS = {"None": None, "True": True, "False": False}
_CLOSERS = {"[": "]", "(": ")"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_ESCAPED = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}


def looks_python(text: str) -> bool:
    """Whether a text begins as a list or a dict does in Python's notation, and in no JSON.

    >>> looks_python("[{'a': 1}]"), looks_python('[{"a": 1}]'), looks_python("it's")
    (True, False, False)
    """
    return _BEGIN.match(text) is not None


def parse_cell(text: str) -> Any:
    """Parse a text that is JSON, or else one in Python's notation. Raises `ValueError` with the reason.

    >>> parse_cell('[true]'), parse_cell("{'a': None}")
    ([True], {'a': None})
    """
    try:
        return parse_json(text)
    except TooManyValuesError:
        raise
    except ValueError:
        if not looks_python(text):
            raise
    return parse_python(text)


def parse_python(text: str) -> Any:
    """Parse a list, tuple, array or dict in Python's notation; tuples and arrays become lists.

    Raises `ValueError` with the reason, and what to do.
    """
    tokens = _Tokens(text)
    try:
        return _whole(tokens)
    except TooManyValuesError:
        raise
    except RecursionError:
        raise _refused(_TOO_DEEP) from None
    except ValueError as error:
        raise _refused(str(error)) from None


def _whole(tokens: _Tokens) -> Any:
    """The one value of a text."""
    value = _value(tokens, 0)
    if tokens.next():
        raise ValueError(tokens.where("something follows"))
    return value


def _refused(why: str) -> ValueError:
    return ValueError(f"Python's notation, not JSON, and {why}; write it with json.dumps")


class _Tokens:
    """The tokens of a text, one after another; `kind` is that of the last one."""

    def __init__(self, text: str) -> None:
        self.kind = ""
        self._text, self._at, self._start, self._count = text, 0, 0, 0
        self._again: str | None = None

    def next(self) -> str:
        """The next token; empty at the end."""
        if self._again is not None:
            part, self._again = self._again, None
            return part
        found = _TOKEN.match(self._text, self._at)
        self._start = self._at
        if found is None:
            begin = len(self._text) - len(self._text[self._at :].lstrip())
            self._start = begin
            shown = self._text[begin : begin + 20]
            raise ValueError(self.where(f"{shown!r} is no plain value"))
        self.kind, self._at = str(found.lastgroup), found.end()
        self._start, self._count = found.start(found.lastgroup or 0), self._count + 1
        if self._count > 2 * MAX_VALUES:
            raise TooManyValuesError
        return found[self.kind]

    def back(self, part: str) -> None:
        """Give the last token back."""
        self._again = part

    def where(self, what: str) -> str:
        """What is wrong, and at which character."""
        return f"{what} at character {self._start + 1}"


def _value(tokens: _Tokens, depth: int) -> Any:
    """The next value. Its own calls are at most `MAX_DEPTH` deep."""
    part = tokens.next()
    if tokens.kind == "text":
        return _text_of(part[1:-1], tokens)
    if tokens.kind == "number":
        return _number(part, tokens)
    if part in _WORDS:
        return _WORDS[part]
    if depth == MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if part == "array(":
        return _array(tokens, depth)
    if part == "{":
        return _dict(tokens, depth)
    if part in _CLOSERS:
        return _list(tokens, _CLOSERS[part], depth)
    raise ValueError(tokens.where(f"{part!r} is no value" if part else "it ends within a value"))


def _list(tokens: _Tokens, closer: str, depth: int) -> list[Any]:
    found = list[Any]()
    while (part := tokens.next()) != closer:
        tokens.back(part)
        found.append(_value(tokens, depth + 1))
        part = tokens.next()
        if part == "{" and isinstance(found[-1], dict):  # numpy writes no commas
            tokens.back(part)
        elif part == closer:
            break
        elif part != ",":
            raise ValueError(tokens.where("a comma is missing"))
    return found


def _dict(tokens: _Tokens, depth: int) -> dict[str, Any]:
    found = dict[str, Any]()
    while (part := tokens.next()) != "}":
        if tokens.kind != "text":
            raise ValueError(tokens.where("a key is no text"))
        key = _text_of(part[1:-1], tokens)
        if tokens.next() != ":":
            raise ValueError(tokens.where("a colon is missing"))
        found[key] = _value(tokens, depth + 1)
        part = tokens.next()
        if part == "}":
            break
        if part != ",":
            raise ValueError(tokens.where("a comma is missing"))
    return found


def _array(tokens: _Tokens, depth: int) -> list[Any]:
    """What is within `array(..., dtype=...)`."""
    value = _value(tokens, depth + 1)
    end = tokens.next()
    if not isinstance(value, list) or (end != ")" and not end.startswith(",") and tokens.kind != "word"):
        raise ValueError(tokens.where("an array does not end"))
    return value


def _number(part: str, tokens: _Tokens) -> int | float:
    is_integer = part.lstrip("-").isdigit()
    if is_integer and len(part) <= _LONGEST_INTEGER:
        return int(part)
    number = math.inf if is_integer else float(part)
    if math.isinf(number):
        raise ValueError(tokens.where(f"number {part[:20]} is out of range"))
    return number


def _text_of(inner: str, tokens: _Tokens) -> str:
    """A text without its quotes and escapes."""
    if "\\" not in inner:
        return inner

    def plain(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        if digits and int(digits, 16) <= sys.maxunicode:
            return chr(int(digits, 16))
        if digits or found[4] not in _ESCAPED:
            raise ValueError(tokens.where(f"the escape {found[0]} is not known"))
        return _ESCAPED[found[4]]

    return _ESCAPE.sub(plain, inner)
