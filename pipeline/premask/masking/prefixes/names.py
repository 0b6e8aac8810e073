"""Names for texts and states that mean the same in every row, at every place.

The text of a message is named by the distance of the message to the current one (`+0`, `-1`), that of
message 0 by its place (`=0`); before a loop, all are named by their place. So what a unit did at one place
can be found again at another one.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from jinja2.ext import Extension
from jinja2.runtime import Context, Macro, Undefined
from jinja2.utils import missing

from ...core.shapes import RowShape
from ..chat_template import PlainEnvironment
from ..symbolic import JsonSlot, Op, Symbolic, parts_of
from .facets import Affine, Number
from .states import State
from .units import UNITS_FILE, Unset
from .views import View

TOOLS = "t"
"""The name of the texts of the tools."""

_CONSTANTS = (types.NoneType, bool, int, float, str)


class Unnamed(Exception):  # noqa: N818  no error: such units are not remembered
    """A state holds something that has no name."""


def name_of(message: int, here: int | None) -> str:
    """Return the name of a message for a unit at place `here`.

    >>> name_of(3, 4), name_of(0, 4), name_of(0, 0), name_of(1, None)
    ('-1', '=0', '+0', '=1')
    """
    if here is None or (message == 0 and here != 0):
        return f"={message}"
    return f"{message - here:+d}"


class TextNames:
    """The names of the texts of one row."""

    def __init__(self, shape: RowShape) -> None:
        self.shape = shape
        self._places = list(_places_of(shape))
        self._slots = {place: slot for slot, place in enumerate(self._places)}

    def op(self, op: Op, here: int | None) -> Op:
        """Return an expression of named texts for one of the slots of the row."""
        if op.name == "text":
            owner, number = self._places[op.args[0]]
            return Op("text", (TOOLS if owner < 0 else name_of(owner, here), number))
        return Op(op.name, tuple(self.op(arg, here) if isinstance(arg, Op) else arg for arg in op.args))

    def slots(self, op: Op, here: int) -> Op:
        """Return an expression of the slots of the row for one of named texts."""
        if op.name == "text":
            name, number = op.args
            return Op("text", (self._slots[message_of(name, here), number],))
        return Op(op.name, tuple(self.slots(arg, here) if isinstance(arg, Op) else arg for arg in op.args))


def message_of(name: str, here: int) -> int:
    """Return the message that a name stands for; -1 for the tools.

    >>> message_of("-1", 4), message_of("=0", 4)
    (3, 0)
    """
    if name == TOOLS:
        return -1
    return int(name[1:]) if name[0] == "=" else here + int(name)


class Names(TextNames):
    """The names of one row: of its texts, and of the values that a state holds."""

    def __init__(self, shape: RowShape, messages: Sequence[Mapping[str, Any]], tools: Any) -> None:
        super().__init__(shape)
        self.messages, self._tools = messages, tools
        self._parts: dict[int, tuple[int, tuple[Hashable, ...]]] = {}
        for index, message in enumerate(messages):
            self._parts |= {id(value): (index, path) for path, value in _containers(message)}

    def state(self, state: State, frame: Sequence[Any], made: Sequence[Any], here: int | None) -> Hashable:
        """Return the name of a state with another frame. `made` are the facet of the generation prompt and
        the namespaces of the run. Raises `Unnamed`."""
        naming = _Naming(self, made, here)
        variables = tuple(sorted((name, naming.value(each)) for name, each in state.variables.items()))
        held = tuple(
            tuple(sorted((name, naming.value(each)) for name, each in own.items())) for own in state.held
        )
        return tuple(map(naming.value, frame)), variables, held

    def container(self, value: Any, here: int | None) -> Hashable | None:
        """Return the name of a list or object of the row; None for any other."""
        if value is self._tools and value is not None:
            return ("tools",)
        found = self._parts.get(id(value))
        if found is None:
            return None
        index, path = found
        return "message", name_of(index, here), self.shape.messages[index], path


class _Naming:
    """Names the values of one state."""

    def __init__(self, names: Names, made: Sequence[Any], here: int | None) -> None:
        self._names, self._made, self._here = names, made, here
        self._open: set[int] = set()

    def value(self, value: Any) -> Hashable:
        """Return the name of a value. Raises `Unnamed`."""
        kind = type(value)
        if kind in _CONSTANTS:
            return kind.__name__, repr(value)
        if kind in _NAMED:
            return _NAMED[kind](self, value)
        for number, each in enumerate(self._made):
            if value is each:
                return "made", number
        return ("missing",) if value is missing else self._code(value)

    def text(self, text: str) -> Hashable:
        """Return the name of a text."""
        return tuple(self._names.op(p, self._here) if isinstance(p, Op) else p for p in parts_of(text))

    def container(self, value: Any) -> Hashable:
        """Return the name of a list or object."""
        known = self._names.container(value, self._here)
        if known is not None:
            return known
        if isinstance(value, dict):
            return "dict", tuple((self.value(key), self.value(each)) for key, each in value.items())
        return type(value).__name__, tuple(map(self.value, value))

    def undefined(self, value: Undefined) -> Hashable:
        """Return the name of an undefined value."""
        return "undefined", str(value._undefined_name)  # noqa: SLF001  Jinja has no other name

    def view(self, view: View) -> Hashable:
        """Return the name of a view of the messages."""
        if view.items is not self._names.messages or view.places is not None:
            raise Unnamed
        return "view", view.start, view.less, view.backwards

    def _code(self, value: Any) -> Hashable:
        """Return the name of a macro or a function; macros with what they close over."""
        if type(value).__module__ == PlainEnvironment.__module__:
            return "function", type(value).__name__
        owner = value.__self__ if isinstance(value, types.MethodType) else value
        if isinstance(owner, (Context, PlainEnvironment, Extension, types.ModuleType)):
            return "surroundings", type(owner).__name__, getattr(value, "__name__", "")
        if isinstance(value, Macro):
            return "macro", value.name, self._closed(value._func)  # noqa: SLF001  Jinja has no other name
        if isinstance(value, types.FunctionType):
            if value.__closure__ and value.__code__.co_filename == UNITS_FILE:
                return "closure", value.__qualname__, self._closed(value)
            return "code", id(value)
        if isinstance(value, (types.BuiltinFunctionType, type)):
            return "code", id(value)
        raise Unnamed(type(value).__name__)

    def _closed(self, function: Any) -> Hashable:
        """Return the names of what a function of the template closes over."""
        if id(function) in self._open or not isinstance(function, types.FunctionType):
            return ("again",)
        self._open.add(id(function))
        found = []
        for cell in function.__closure__ or ():
            try:
                found.append(self.value(cell.cell_contents))
            except ValueError:  # not stored yet
                found.append("empty")
        return function.__qualname__, tuple(found)


_NAMED: Mapping[type, Callable[[_Naming, Any], Hashable]] = {
    Symbolic: lambda naming, text: ("text", naming.text(text)),
    JsonSlot: lambda naming, slot: ("json", naming.text(slot.text)),
    list: _Naming.container,
    dict: _Naming.container,
    tuple: _Naming.container,
    View: _Naming.view,
    Affine: lambda _, facet: ("affine", facet.times, facet.plus),
    Number: lambda _, __: ("number",),
    Unset: lambda _, __: ("missing",),
    Undefined: _Naming.undefined,
}
"""Types of values -> how they are named."""


def _places_of(shape: RowShape) -> Iterator[tuple[int, int]]:
    """Yield for each slot its message (-1 for tools) and its number among the slots of the message."""
    for number in range(shape.tools or 0):
        yield -1, number
    for index, message in enumerate(shape.messages):
        for number in range(len(message.slots)):
            yield index, number


def _containers(value: Any, path: tuple[Hashable, ...] = ()) -> Iterator[tuple[tuple[Hashable, ...], Any]]:
    """Yield all lists and objects in a message, with the way to them."""
    if isinstance(value, dict):
        yield path, value
        for key, each in value.items():
            yield from _containers(each, (*path, str(key)))
    elif isinstance(value, list):
        yield path, value
        for number, each in enumerate(value):
            yield from _containers(each, (*path, number))
