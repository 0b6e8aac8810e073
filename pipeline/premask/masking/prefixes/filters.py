"""What filters and tests make of facets and views.

Each filter and test of the environment is wrapped: it is followed for what is listed here. For all else the
facets among its arguments are pinned, and views become lists of the versions that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol

from .facets import Affine, Choice, pinned
from .versions import NotFollowed
from .views import STAND_INS, VIEWS, Once, View

Function = Callable[..., Any]


class Surroundings(Protocol):
    """What is needed of the environment."""

    texts: frozenset[type]
    undefined: Any

    def alone(self, value: Any) -> Any:
        """Return an argument for code that does not know facets."""


# ==== Filters ====


def followed_filter(environment: Surroundings, name: str, function: Function) -> Function:
    """Return a filter that can be given facets and views."""
    skip = int(hasattr(function, "jinja_pass_arg"))
    texts, alone = environment.texts, environment.alone
    on_choice, is_default = name in _ON_CHOICE, name in ("default", "d")

    @wraps(function)
    def followed(*args: Any, **kwargs: Any) -> Any:
        if len(args) == skip or (len(args) == skip + 1 and not kwargs and type(args[skip]) in texts):
            return function(*args, **kwargs)
        head, value, rest = args[:skip], args[skip], args[skip + 1 :]
        if type(value) in VIEWS:
            result = _of_view(
                environment, name, value, lambda items: function(*head, items, *rest), rest, kwargs
            )
            if result is not _PIN:
                return result
            value = _as_list(name, value)
        rest = tuple(map(alone, rest))
        kwargs = {key: alone(each) for key, each in kwargs.items()}
        if on_choice and type(value) is Choice:
            return value.computed(lambda own: function(*head, own, *rest, **kwargs))
        if is_default and type(value) is Affine and len(rest) < 2 and not kwargs:
            return value
        return function(*head, pinned(value), *rest, **kwargs)

    return followed


_PIN = object()
"""The answer of a filter that must have a list."""

_Apply = Callable[[Any], Any]


def _of_view(  # noqa: PLR0913  a call has as many parts
    environment: Surroundings,
    name: str,
    value: Any,
    apply: _Apply,
    rest: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return what a filter makes of a view, or of an iterator over one; `_PIN` if that is not followed."""
    if name in ("default", "d") and type(value) in (View, Once) and len(rest) < 2 and not kwargs:
        return value
    if kwargs or any(type(each) in STAND_INS for each in rest):
        return _PIN
    if type(value) is Once and name in _ON_ONCE:
        value = value.take()
    return _ON_VIEW[name](environment, value, apply) if type(value) is View and name in _ON_VIEW else _PIN


def _as_list(name: str, value: Any) -> list[Any] | Iterator[Any]:
    if type(value) is View:
        return value.pinned()
    if type(value) is Once:
        return iter(value.take().pinned())
    raise NotFollowed(f"filter {name} on `loop`")


def _length(_: Surroundings, view: View, __: _Apply) -> Any:
    return view.length()


def _list(_: Surroundings, view: View, __: _Apply) -> Any:
    return view.copied()


def _first(environment: Surroundings, view: View, __: _Apply) -> Any:
    return view[0] if view else environment.undefined("No first item, sequence was empty.")


def _last(environment: Surroundings, view: View, __: _Apply) -> Any:
    return view[-1] if view else environment.undefined("No last item, sequence was empty.")


def _reverse(_: Surroundings, view: View, __: _Apply) -> Any:
    return _PIN if view.backwards else Once(view.reversed())


def _select(_: Surroundings, view: View, apply: _Apply) -> Any:
    """Filter each item by itself; what is kept does not depend on the version."""
    if view.backwards:
        return _PIN
    kept = [place for place in range(view.start, len(view.items)) if list(apply([view.items[place]]))]
    return Once(view.kept(kept))


_ON_VIEW: dict[str, Callable[[Surroundings, View, _Apply], Any]] = {
    **dict.fromkeys(("length", "count"), _length),
    "list": _list,
    "first": _first,
    "last": _last,
    "reverse": _reverse,
    **dict.fromkeys(("select", "reject", "selectattr", "rejectattr"), _select),
}
"""Filters that a view can pass without being pinned."""

_ON_ONCE = frozenset({"list", "first", "select", "reject", "selectattr", "rejectattr"})
"""Those of them that an iterator over a view can pass, too."""

_ON_CHOICE = frozenset({"length", "count", "trim", "lower", "upper", "string", "default", "d"})
"""Filters of which the result for a choice is a choice."""


# ==== Tests ====


def followed_test(environment: Surroundings, name: str, function: Function) -> Function:
    """Return a test that can be given facets and views."""
    skip = int(hasattr(function, "jinja_pass_arg"))
    alone = environment.alone

    @wraps(function)
    def followed(*args: Any, **kwargs: Any) -> Any:
        if len(args) == skip + 1 and not kwargs and type(args[skip]) not in STAND_INS:
            return function(*args)
        head, values, rest = args[:skip], args[skip : skip + 1], tuple(map(alone, args[skip + 1 :]))
        kwargs = {key: alone(each) for key, each in kwargs.items()}
        if not values or type(values[0]) not in STAND_INS:
            return function(*head, *values, *rest, **kwargs)
        (value,) = values
        if type(value) in VIEWS:
            return _is_view(name, value)
        return value.ask(lambda own: function(*head, own, *rest, **kwargs))

    return followed


def _is_view(name: str, value: Any) -> bool:
    """Return what a test says of a view. Raises `NotFollowed` if it is not known."""
    if name in ("defined", "undefined", "none"):
        return name == "defined"
    if type(value) is View and name in _OF_LISTS:
        return _OF_LISTS[name]
    raise NotFollowed(f"test {name} of the messages or of `loop`")


_OF_LISTS = {
    **dict.fromkeys(("iterable", "sequence"), True),
    **dict.fromkeys(("string", "mapping", "number", "integer", "float", "boolean"), False),
    **dict.fromkeys(("true", "false", "callable"), False),
}
"""What tests say of any list."""
