"""Traced strings: each character remembers its origin.

A chat template is a program that joins message texts and its own literals. To know which characters of its
output a message wrote, the messages are passed to it as `TracedStr`: a `str` with runs of (length, origin).
It keeps them through everything that templates do with strings: `+`, `~`, slices, strip, split, replace,
join, format, filters, macros, set-blocks, `tojson`.

    >>> user = TracedStr.of(" hi ", Origin(0, "user", "content"))
    >>> text = "<user>" + user.strip() + "</user>"
    >>> [(length, origin.label) for length, origin in runs_of(text)]
    [(6, 'template'), (2, 'user:0'), (7, 'template')]

Nothing is guessed. If an operation hides which input a character came from, its whole result is marked: with
the message, if only one is possible, else with `MIXED`. A row in which a mixed character would be trained is
rejected. A plain `str` counts as text of the template.

Cost: a traced render takes 1.2 to 2 times as long as a plain one.
"""

from __future__ import annotations

import re
import string
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any, SupportsIndex

from markupsafe import Markup, escape

from ..core.records import MIXED, TEMPLATE, Origin, Runs, cut


class TracedStr(str):
    """A `str` with the origin of each of its characters.

    Every method of `str` that templates can call keeps the origins, or marks its result as described above.
    """

    __slots__ = ("_runs",)
    _runs: Runs  # the sandbox hides attributes with an underscore from templates

    @classmethod
    def of(cls, text: str, origin: Origin) -> TracedStr:
        """Return `text`, all of it from `origin`."""
        return cls.with_runs(text, ((len(text), origin),) if text else ())

    @classmethod
    def with_runs(cls, text: str, runs: Runs) -> TracedStr:
        """Return `text` with its origins; the lengths of the runs must add up to its length."""
        traced = str.__new__(cls, str.__str__(text))
        traced._runs = runs
        return traced

    # ==== joining ====

    def __add__(self, other: str) -> str:
        return concat((self, other)) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return concat((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> str:
        return concat((self,) * times.__index__())

    __rmul__ = __mul__

    def __mod__(self, values: Any) -> str:
        return percent_format(self, values)

    def __rmod__(self, template: Any) -> str:
        return percent_format(template, self)

    def join(self, parts: Iterable[str]) -> str:
        joined: list[str] = []
        for part in parts:
            if joined:
                joined.append(self)
            joined.append(part)
        return concat(joined)

    # ==== cutting ====

    def __getitem__(self, key: Any) -> str:
        piece = str.__getitem__(self, key)
        if not isinstance(key, slice):
            index = key.__index__()
            start = index + len(self) if index < 0 else index
            return TracedStr.with_runs(piece, cut(self._runs, start, start + 1))
        start, stop, step = key.indices(len(self))
        if step == 1:
            return TracedStr.with_runs(piece, cut(self._runs, start, stop))
        return concat(self[i] for i in range(start, stop, step))

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def strip(self, chars: str | None = None) -> str:
        start = len(self) - len(str.lstrip(self, chars))
        return self[start : max(start, len(str.rstrip(self, chars)))]

    def lstrip(self, chars: str | None = None) -> str:
        return self[len(self) - len(str.lstrip(self, chars)) :]

    def rstrip(self, chars: str | None = None) -> str:
        return self[: len(str.rstrip(self, chars))]

    def removeprefix(self, prefix: str) -> str:
        return self[len(self) - len(str.removeprefix(self, prefix)) :]

    def removesuffix(self, suffix: str) -> str:
        return self[: len(str.removesuffix(self, suffix))]

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._locate(str.split(self, sep, maxsplit), len(sep or ""))

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._locate(str.rsplit(self, sep, maxsplit), len(sep or ""))

    def splitlines(self, keepends: bool = False) -> list[str]:  # noqa: FBT001, FBT002  str's signature
        lines = self._locate(str.splitlines(self, True), 0)
        return lines if keepends else [line[: len(str.splitlines(line)[0])] for line in lines]

    def partition(self, sep: str) -> tuple[str, str, str]:
        before, found, _ = str.partition(self, sep)
        at, end = len(before), len(before) + len(found)
        return self[:at], self[at:end], self[end:]

    def rpartition(self, sep: str) -> tuple[str, str, str]:
        before, found, _ = str.rpartition(self, sep)
        at, end = len(before), len(before) + len(found)
        return self[:at], self[at:end], self[end:]

    def _locate(self, pieces: Sequence[str], gap: int) -> list[str]:
        """Return the pieces of this text, traced. They are in text order, `gap` characters apart; 0 means any
        number of characters."""
        found, at = [], 0
        for piece in pieces:
            at = at if gap else str.find(self, piece, at)
            found.append(self[at : at + len(piece)])
            at += len(piece) + gap
        return found

    # ==== changing ====

    def replace(self, old: str, new: str, count: SupportsIndex = -1) -> str:
        if not old:
            return mark(str.replace(self, old, new, count), self, new)
        return as_traced(new).join(self.split(old, count))

    def upper(self) -> str:
        return _per_run(self, str.upper)

    def lower(self) -> str:
        return _per_run(self, str.lower)

    def casefold(self) -> str:
        return _per_run(self, str.casefold)

    def swapcase(self) -> str:
        return _per_run(self, str.swapcase)

    def capitalize(self) -> str:
        return mark(str.capitalize(self), self)

    def title(self) -> str:
        return mark(str.title(self), self)

    def center(self, width: SupportsIndex, fill: str = " ") -> str:
        return mark(str.center(self, width, fill), self)

    def ljust(self, width: SupportsIndex, fill: str = " ") -> str:
        return concat((self, str.ljust(self, width, fill)[len(self) :]))

    def rjust(self, width: SupportsIndex, fill: str = " ") -> str:
        padded = str.rjust(self, width, fill)
        return concat((padded[: len(padded) - len(self)], self))

    def zfill(self, width: SupportsIndex) -> str:
        return mark(str.zfill(self, width), self)

    def expandtabs(self, tabsize: SupportsIndex = 8) -> str:
        return mark(str.expandtabs(self, tabsize), self)

    def translate(self, table: Any) -> str:
        return mark(str.translate(self, table), self)

    def __format__(self, spec: str) -> str:
        return mark(str.__format__(self, spec), self)

    def __str__(self) -> str:
        return self

    def __repr__(self) -> str:
        return mark(str.__repr__(self), self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self).with_runs, (str.__str__(self), self._runs))


class TracedMarkup(TracedStr):
    """Traced text that passed the filter `safe`: text that is added to it gets its HTML escaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class TracedDict(dict[Any, Any]):
    """A dict of traced values; its text as a whole has their origin."""

    __slots__ = ()

    def __str__(self) -> str:
        return mark(dict.__repr__(self), self)


class TracedList(list[Any]):
    """A list of traced values; its text as a whole has their origin."""

    __slots__ = ()

    def __str__(self) -> str:
        return mark(list.__repr__(self), self)


class JoinedStr(TracedStr):
    """A traced string that is made of others; its runs are worked out when they are asked for."""

    __slots__ = ("_known", "_made")
    _made: Sequence[str]
    _known: Runs | None

    @classmethod
    def joined(cls, parts: Sequence[str]) -> JoinedStr:
        """Return the parts as one text."""
        return cls.made(str.join("", parts), parts)

    @classmethod
    def made(cls, text: str, parts: Sequence[str]) -> JoinedStr:
        """Return a text that is known to be its parts, joined."""
        joined = str.__new__(cls, text)
        joined._made, joined._known = parts, None
        return joined

    @property
    def _runs(self) -> Runs:  # type: ignore[override]  # read only: the runs are those of the parts
        if self._known is None:
            self._known, self._made = _joined_runs(self._made), ()
        return self._known

    def __reduce__(self) -> tuple[Any, ...]:
        return (TracedStr.with_runs, (str.__str__(self), self._runs))


def _joined_runs(parts: Sequence[str]) -> Runs:
    runs: list[tuple[int, Origin]] = []
    waiting = list(reversed(parts))
    while waiting:
        part = waiting.pop()
        if type(part) is JoinedStr and part._known is None:
            waiting.extend(reversed(part._made))
            continue
        for length, origin in runs_of(part):
            if runs and runs[-1][1] == origin:
                runs[-1] = (runs[-1][0] + length, origin)
            else:
                runs.append((length, origin))
    return tuple(runs)


def trace(value: Any, origin: Origin) -> Any:
    """Return a copy of a JSON value in which every string, key or value, comes from `origin`."""
    if isinstance(value, str):
        return TracedStr.of(value, origin)
    if isinstance(value, Mapping):
        return TracedDict({trace(key, origin): trace(item, origin) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return TracedList(trace(item, origin) for item in value)
    return value


# ==== Runs ====


def runs_of(text: str) -> Runs:
    """Return the (length, origin) runs of a string; a plain one is text of the template."""
    if isinstance(text, TracedStr):
        return text._runs
    return ((len(text), TEMPLATE),) if text else ()


def as_traced(text: str) -> TracedStr:
    """Return the string itself if it is traced, else as text of the template."""
    return text if isinstance(text, TracedStr) else TracedStr.with_runs(text, runs_of(text))


def concat(parts: Iterable[str]) -> str:
    """Concatenate parts, as `"".join` does; plain parts give a plain string."""
    parts = list(parts)
    text = "".join(parts)
    if not any(isinstance(part, TracedStr) for part in parts):
        return text
    runs: list[tuple[int, Origin]] = []
    for part in parts:
        for length, origin in runs_of(part):
            if runs and runs[-1][1] == origin:
                runs[-1] = (runs[-1][0] + length, origin)
            else:
                runs.append((length, origin))
    return TracedStr.with_runs(text, tuple(runs))


def origins_in(*values: Any) -> set[Origin]:
    """Return the origins of all traced strings in values, also inside lists, tuples, dicts and their
    views."""
    found: set[Origin] = set()
    for value in values:
        if isinstance(value, TracedStr):
            found.update(origin for _, origin in value._runs)
        elif isinstance(value, Mapping):
            found |= origins_in(*value.keys(), *value.values())
        elif isinstance(value, (list, tuple, AbstractSet, ValuesView)):
            found |= origins_in(*value)
    return found


def mark(text: str, *inputs: Any) -> str:
    """Mark a computed text as a whole: with the only message that it can come from, else with `MIXED`.

    >>> a, b = Origin(0, "user", "content"), Origin(1, "assistant", "content")
    >>> runs_of(mark("A", TracedStr.of("a", a), "x"))[0][1].label
    'user:0'
    >>> runs_of(mark("AB", TracedStr.of("a", a), TracedStr.of("b", b)))[0][1].label
    'mixed'
    """
    origins = origins_in(*inputs)
    if not origins:
        return text
    message, role, _ = next(iter(origins))
    if any(origin.message != message for origin in origins):
        origin = MIXED
    else:
        origin = Origin(message, role, _common_field([origin.field for origin in origins]))
    return (TracedMarkup if is_markup(text) else TracedStr).of(text, origin)


def _common_field(fields: Sequence[str]) -> str:
    """Return the field that all these are, or are parts of; `*` if there is none.

    >>> _common_field(["tool_calls.0.name", "tool_calls.0.arguments"]), _common_field(["content", "name"])
    ('tool_calls.0', '*')
    """
    shared: list[str] = []
    if len(set(fields)) == 1:
        return fields[0]
    for names in zip(*(field.split(".") for field in fields), strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return ".".join(shared) or "*"


def text_of(value: Any) -> str:
    """Return `str(value)`, marked with the origins of the values of a list or dict.

    >>> runs_of(text_of([TracedStr.of("a", Origin(0, "user", "content"))]))[0][1].label
    'user:0'
    """
    if isinstance(value, TracedStr):
        return value
    text = str(value)
    return text if isinstance(text, TracedStr) else mark(text, value)


def _per_run(text: TracedStr, change: Callable[[str], str]) -> str:
    """Apply a change to each run separately; if that gives another text, mark the text as a whole."""
    whole = change(str.__str__(text))
    pieces, at = [], 0
    for length, origin in text._runs:
        pieces.append(TracedStr.of(change(str.__getitem__(text, slice(at, at + length))), origin))
        at += length
    joined = concat(pieces)
    return joined if joined == whole else mark(whole, text)


# ==== Markup ====


def is_markup(text: str) -> bool:
    """Whether text is marked as safe HTML, which changes the meaning of `+`."""
    return isinstance(text, (Markup, TracedMarkup))


def add_markup(left: str, right: str) -> str:
    """Return `left + right` if one of them is markup: the other is HTML-escaped first (as in markupsafe)."""
    joined = concat(
        [part if is_markup(part) else _per_run(as_traced(part), _escaped) for part in (left, right)]
    )
    return TracedMarkup.with_runs(joined, runs_of(joined))


def _escaped(text: str) -> str:
    return str(escape(text))


# ==== Formatting ====


_CONVERSION = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<spec>[#0\- +]*\d*(?:\.\d+)?)[hlL]?(?P<kind>.)", re.DOTALL
)


def percent_format(template: str, values: Any) -> str:
    """Return `template % values`; plain `%s` fields keep their origins."""
    whole = str.__mod__(str.__str__(template), values)
    if not isinstance(template, TracedStr) and not origins_in(values):
        return whole
    try:
        joined = _fields_joined(template, values)
    except (LookupError, TypeError, ValueError):  # the pattern above does not cover this notation
        joined = ""
    return joined if joined == whole else mark(whole, template, values)


def _fields_joined(template: str, values: Any) -> str:
    queue = list(values) if isinstance(values, tuple) else [values]
    pieces, at = [], 0
    for field in _CONVERSION.finditer(template):
        pieces.append(template[at : field.start()])
        at = field.end()
        if field["kind"] == "%":
            pieces.append("%")
        else:
            value = values[field["key"]] if field["key"] is not None else queue.pop(0)
            pieces.append(_converted(field, value))
    return concat([*pieces, template[at:]])


def _converted(field: re.Match[str], value: Any) -> str:
    if field["kind"] == "s" and not field["spec"]:
        return text_of(value)
    return mark(str.__mod__(f"%{field['spec']}{field['kind']}", (value,)), value)


def brace_format(
    formatter: string.Formatter, template: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    """Return `template.format(*args, **kwargs)` by a (sandboxed) formatter; origins are kept."""
    whole = formatter.vformat(str.__str__(template), args, kwargs)
    if isinstance(template, TracedStr):
        return mark(whole, template, args, kwargs)
    if not origins_in(args, kwargs):
        return whole
    try:
        joined = concat(_replaced(formatter, template, args, kwargs))
    except (LookupError, TypeError, ValueError):  # nested fields and the like
        joined = ""
    return joined if joined == whole else mark(whole, template, args, kwargs)


def _replaced(
    formatter: string.Formatter, template: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[str]:
    auto = iter(range(len(args)))
    for literal, name, spec, conversion in formatter.parse(template):
        yield literal
        if name is None:
            continue
        value, _ = formatter.get_field(name or str(next(auto, "")), args, kwargs)
        if not spec and conversion in (None, "s"):
            yield text_of(value)
        else:
            yield mark(format(formatter.convert_field(value, conversion), spec or ""), value)


def traced_method(method: types.BuiltinMethodType, args: Sequence[Any]) -> Callable[..., Any]:
    """Return a method of a plain `str`; the traced one if an argument is traced, as in `", ".join(texts)`."""
    return getattr(as_traced(str(method.__self__)), method.__name__) if origins_in(*args) else method
