"""The environment of units whose strings are traced.

Its shortcuts are for speed alone: they do what the traced environment does.
"""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

from ..chat_template import MAX_RENDERED, TracedEnvironment
from ..traced import JoinedStr, TracedDict, TracedList, TracedStr
from .environment import IN_LOOPS, TEXT_METHODS, FacetEnvironment
from .versions import Versions

_OF_PLAIN = frozenset({"startswith", "endswith", "find", "count"})
_TEXTS: frozenset[type] = frozenset({str, TracedStr, JoinedStr})
_TRACED: frozenset[type] = frozenset({TracedStr, JoinedStr})
_SIMPLE: frozenset[type] = frozenset({str, int})


class TracedPrefixEnvironment(FacetEnvironment, TracedEnvironment):
    """The environment of units whose strings are traced. Shortcuts are for speed alone: they do what the
    traced environment does."""

    texts = _TEXTS

    def __init__(self, date: datetime.date) -> None:
        super().__init__(date)
        self.json: dict[int, tuple[Any, str]] = {}
        """The JSON of values of the row that were printed before, with the values."""
        self.filters["tojson"] = _remembered(self, self.filters["tojson"])

    @contextmanager
    def running(self, versions: Versions) -> Iterator[None]:
        with super().running(versions):
            try:
                yield
            finally:
                self.json = {}

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        kind = type(obj)
        if not kwargs or kwargs.keys() <= IN_LOOPS:
            if kind is types.MethodType:
                if (
                    type(obj.__self__) in _TRACED
                    and obj.__name__ in TEXT_METHODS
                    and all(type(arg) in _SIMPLE for arg in args)
                ):
                    self.step()
                    return obj(*args)
            elif kind is types.BuiltinMethodType and (
                type(obj.__self__) in _TEXTS
                and obj.__name__ in _OF_PLAIN
                and all(type(arg) in _TEXTS for arg in args)
            ):
                self.step()
                return obj(*args)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        are_texts = operator == "+" and type(left) in _TEXTS and type(right) in _TEXTS
        if are_texts and len(left) + len(right) <= MAX_RENDERED:
            return _joined((left, right))
        return super().call_binop(context, operator, left, right)

    def join_strings(self, values: Iterable[Any]) -> str:
        parts = [value if type(value) in _TEXTS else self.text(value) for value in values]
        if all(type(part) in _TEXTS for part in parts) and sum(map(len, parts)) <= MAX_RENDERED:
            return _joined(parts)
        return super().join_strings(parts)


def _joined(parts: Sequence[str]) -> str:
    for part in parts:
        if type(part) is not str:
            return JoinedStr.joined(parts)
    return "".join(parts)


def _remembered(environment: TracedPrefixEnvironment, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `tojson` that writes a value of the row once: templates cannot change it."""

    @wraps(function)
    def remembered(value: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or type(value) not in (TracedDict, TracedList):
            return function(value, *args, **kwargs)
        known = environment.json.get(id(value))
        if known is None:
            known = environment.json[id(value)] = (value, function(value))
        return known[1]

    return remembered
