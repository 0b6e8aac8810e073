"""What versions know between two units, and how states become one.

    state = State(versions=0b111, frame=(...), variables={}, held=(), node=Node(None, ()), steps=0)

A state is all that a unit can see: the variables of the frame, those of the context, what the namespaces
hold, and what was printed. Texts are ropes: a node is the text of its parent and pieces behind it, so that
versions share what they have in common.

States of which the texts are the same and that differ in plain values alone become one, with choices.
"""

from __future__ import annotations

import datetime
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2.runtime import Context, Macro, Undefined
from jinja2.utils import missing
from markupsafe import Markup

from ..chat_template import PlainEnvironment
from ..traced import JoinedStr, TracedDict, TracedList, TracedMarkup, TracedStr
from .environment import FacetEnvironment
from .facets import Affine, Choice, Number, Position, choice
from .units import UNITS_FILE, Unset
from .versions import NotFollowed, Versions
from .views import View


class Node:
    """A text: that of the parent, and pieces. `size` are its characters."""

    __slots__ = ("own", "parent", "pieces", "size")

    def __init__(self, parent: Node | None, pieces: Sequence[str]) -> None:
        self.parent, self.pieces = parent, pieces
        before = 0 if parent is None else parent.size
        self.size: int = before + sum(map(str.__len__, pieces))
        self.own: Any = None
        """What a reader keeps of the pieces."""

    def path(self) -> list[Node]:
        """Return the nodes from the first to this one."""
        found = [self]
        while (parent := found[-1].parent) is not None:
            found.append(parent)
        return found[::-1]


@dataclass(slots=True, eq=False)
class State:
    """What a set of versions knows before a unit.

    frame       the variables that cross units
    variables   those of the context: what `{% set %}` stored at the top
    held        what each namespace holds
    node        what was printed
    steps       iterations of loops so far; of merged states, the most
    """

    versions: int
    frame: tuple[Any, ...]
    variables: dict[str, Any]
    held: tuple[dict[str, Any], ...]
    node: Node
    steps: int = 0

    def of(self, versions: int) -> State:
        """Return the state of some of the versions."""
        return State(versions, self.frame, self.variables, self.held, self.node, self.steps)


# ==== What a state may hold ====

ATOMS: frozenset[type] = frozenset(
    {
        *(str, int, float, bool, type(None), bytes, complex, range, datetime.datetime),
        *(TracedStr, JoinedStr, TracedMarkup, Markup),
        *(TracedDict, TracedList, View, Affine, Choice, Position, Number, Undefined, Unset, type(missing)),
    }
)
"""Types of values that nothing changes."""

_VIEWS_OF_DICTS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_CODE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, Macro, type)


def check_held(values: Iterable[Any], environment: FacetEnvironment, made: int) -> None:
    """Raise `NotFollowed` if a value that is kept can change, or is code: iterators, macros, `loop`.

    `made` are the namespaces that may be kept: the first of those of the environment.
    """
    for value in values:
        if type(value) not in ATOMS:
            _check(value, environment, made)


def check_frame(values: Iterable[Any], environment: FacetEnvironment) -> None:
    """Do the same for variables, which may hold macros."""
    seen: set[int] = set()
    for value in values:
        if type(value) not in ATOMS:
            _check_variable(value, environment, seen)


def _check(value: Any, environment: FacetEnvironment, made: int) -> None:
    kind = type(value)
    if isinstance(value, str) or kind in ATOMS or kind in environment.unchanging:
        return
    if any(value is each for each in environment.namespaces[:made]):
        return
    if kind is dict:
        check_held((*value.keys(), *value.values()), environment, made)
    elif kind in (list, tuple) or kind in _VIEWS_OF_DICTS:
        check_held(value, environment, made)
    else:
        raise NotFollowed(f"a {kind.__name__} that is kept")


def _check_variable(value: Any, environment: FacetEnvironment, seen: set[int]) -> None:
    if id(value) in seen or type(value) in ATOMS:
        return
    seen.add(id(value))
    if isinstance(value, _SURROUNDINGS) or type(value).__module__ == PlainEnvironment.__module__:
        return
    if not isinstance(value, _CODE):
        _check(value, environment, environment.made)
        return
    function = value._func if isinstance(value, Macro) else value  # noqa: SLF001  Jinja has no other name
    if isinstance(function, (types.MethodType, types.BuiltinFunctionType)):
        _check_variable(function.__self__, environment, seen)
    if not isinstance(function, types.FunctionType) or function.__code__.co_filename != UNITS_FILE:
        return  # a filter or test of the environment, for one
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:  # not stored yet
            continue
        _check_variable(inner, environment, seen)


_SURROUNDINGS = (jinja2.Environment, Context, types.ModuleType)


# ==== Merging ====


def merged(versions: Versions, states: Sequence[State]) -> list[State]:
    """Return states for the same versions, with one state for those that differ in plain values alone."""
    if len(states) < 2:
        return list(states)
    groups: dict[int, list[State]] = {}
    for state in states:
        groups.setdefault(id(state.node), []).append(state)
    if len(groups) == len(states):
        return list(states)
    return [state for group in groups.values() for state in _merged_group(versions, group)]


def _merged_group(versions: Versions, group: list[State]) -> Iterator[State]:
    while group:
        first = group[0]
        alike = [state for state in group if state is first or _can_merge(first, state)]
        group = [state for state in group if state not in alike] if len(alike) < len(group) else []
        yield _merge(versions, alike) if len(alike) > 1 else first


def _can_merge(one: State, other: State) -> bool:
    if len(one.held) != len(other.held):
        return False
    frames = one.frame is other.frame or all(map(_can_join, one.frame, other.frame))
    return (
        frames
        and _can_join_dicts(one.variables, other.variables)
        and all(map(_can_join_dicts, one.held, other.held))
    )


def _can_join_dicts(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one is other:
        return True
    return one.keys() == other.keys() and all(_can_join(one[name], other[name]) for name in one)


def _can_join(one: Any, other: Any) -> bool:
    return same(one, other) or (type(one) in _SOFT and type(other) in _SOFT)


_PLAIN: frozenset[type] = frozenset({int, bool, type(None), str})
_SOFT: frozenset[type] = _PLAIN | {Affine, Choice}
"""Types of values that can become one choice."""


def same(one: Any, other: Any) -> bool:
    """Whether a template cannot tell two values apart; False if in doubt."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind in _PLAIN:
        return bool(one == other)
    if kind is Affine:
        return (one.times, one.plus) == (other.times, other.plus)
    if kind is View:
        return bool(one.same(other))
    return kind is Undefined and one._undefined_name == other._undefined_name  # noqa: SLF001  as above


def _merge(versions: Versions, states: Sequence[State]) -> State:
    first = states[0]
    every = sum(state.versions for state in states)
    frame = first.frame
    if any(state.frame is not frame for state in states):
        columns = zip(*(state.frame for state in states), strict=True)
        frame = tuple(_join(versions, states, column) for column in columns)
    variables = _join_dicts(versions, states, [state.variables for state in states])
    held = tuple(
        _join_dicts(versions, states, column)
        for column in zip(*(state.held for state in states), strict=True)
    )
    return State(every, frame, variables, held, first.node, max(state.steps for state in states))


def _join_dicts(
    versions: Versions, states: Sequence[State], dicts: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    if all(each is dicts[0] for each in dicts):
        return dicts[0]
    return {name: _join(versions, states, [each[name] for each in dicts]) for name in dicts[0]}


def _join(versions: Versions, states: Sequence[State], values: Sequence[Any]) -> Any:
    if all(same(values[0], value) for value in values[1:]):
        return values[0]
    pairs: list[tuple[int, Any]] = []
    for state, value in zip(states, values, strict=True):
        own = state.versions
        if type(value) is Affine:
            pairs += [
                (own & bits, value.times * count + value.plus)
                for count, bits in versions.by_count.items()
                if own & bits
            ]
        elif type(value) is Choice:
            pairs += [(own & bits, each) for bits, each in value.pairs if own & bits]
        else:
            pairs.append((own, value))
    return choice(versions, pairs)
