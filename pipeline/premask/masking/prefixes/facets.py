"""Facets: values that depend on the version.

    Affine(versions, 1, -1)                     the number of messages, less one
    choice(versions, [(0b01, True), (0b10, False)])     True in version 0, False in version 1

A template works with a facet as with the value itself. A question (`if`, a comparison) is answered for the
lead of the versions that the unit runs for; those that answer otherwise leave (`Versions.guard`). Operations
of which the result is a facet again, such as `messages|length - 1`, keep all versions. All others **pin** the
facet: the versions of another value leave. Pinning is always right; it only costs runs.

Facets are no subclasses of `int`, `str` and so on: code in C cannot read them unseen, it raises `TypeError`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from jinja2.runtime import Undefined

from .versions import NotFollowed, Versions

Pairs = Sequence[tuple[int, Any]]
"""Sets of versions that do not overlap, each with the value in these versions."""


class Facet:
    """A value that depends on the version."""

    __slots__ = ("versions",)
    versions: Versions

    def pin(self) -> Any:
        """Return the value of the lead; only the versions with the same value stay."""
        raise NotImplementedError

    def where(self, test: Callable[[Any], Any]) -> int:
        """Return the live versions for whose value `test` is true."""
        raise NotImplementedError

    def ask(self, test: Callable[[Any], Any]) -> bool:
        """Answer a question for the lead. Raises what `test` raises for its value."""
        try:
            yes = self.where(test)
        except NotFollowed:
            raise
        except Exception:  # noqa: BLE001  perhaps only other versions raise
            return bool(test(self.pin()))
        return self.versions.guard_of(self, yes)

    def __bool__(self) -> bool:
        return self.ask(bool)

    def __eq__(self, other: object) -> bool:
        return _compare(operator.eq, self, other)

    def __ne__(self, other: object) -> bool:
        return _compare(operator.ne, self, other)

    def __lt__(self, other: Any) -> bool:
        return _compare(operator.lt, self, other)

    def __le__(self, other: Any) -> bool:
        return _compare(operator.le, self, other)

    def __gt__(self, other: Any) -> bool:
        return _compare(operator.gt, self, other)

    def __ge__(self, other: Any) -> bool:
        return _compare(operator.ge, self, other)

    def __contains__(self, item: Any) -> bool:
        item = pinned(item)
        return self.ask(lambda value: item in value)

    # ==== pinned ====

    def __hash__(self) -> int:
        return hash(self.pin())

    def __str__(self) -> str:
        return str(self.pin())

    def __repr__(self) -> str:
        return repr(self.pin())

    def __format__(self, spec: str) -> str:
        return format(self.pin(), spec)

    def __index__(self) -> int:
        return operator.index(self.pin())

    def __int__(self) -> int:
        return int(self.pin())

    def __float__(self) -> float:
        return float(self.pin())

    def __len__(self) -> int:
        return len(self.pin())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pin())

    def __getitem__(self, key: Any) -> Any:
        return self.pin()[pinned(key)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.pin()(*args, **kwargs)

    def __neg__(self) -> Any:
        return -self.pin()

    def __pos__(self) -> Any:
        return +self.pin()

    def __abs__(self) -> Any:
        return abs(self.pin())

    # ==== arithmetic ====

    def computed(self, compute: Callable[[Any], Any]) -> Any:
        """Return the result of a computation with the value."""
        return compute(self.pin())

    def __add__(self, other: Any) -> Any:
        return _binary(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return _reflected(operator.add, self, other)

    def __sub__(self, other: Any) -> Any:
        return _binary(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return _reflected(operator.sub, self, other)

    def __mul__(self, other: Any) -> Any:
        return _binary(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return _reflected(operator.mul, self, other)

    def __mod__(self, other: Any) -> Any:
        return _binary(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return _reflected(operator.mod, self, other)

    def __truediv__(self, other: Any) -> Any:
        return _binary(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _reflected(operator.truediv, self, other)

    def __floordiv__(self, other: Any) -> Any:
        return _binary(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _reflected(operator.floordiv, self, other)

    def __pow__(self, other: Any) -> Any:
        return _binary(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return _reflected(operator.pow, self, other)


def pinned(value: Any) -> Any:
    """Return a value that is the same in all versions: the facet of it, pinned."""
    return value.pin() if isinstance(value, Facet) else value


class Affine(Facet):
    """`times * k + plus` in a version of k messages."""

    __slots__ = ("plus", "times")

    def __init__(self, versions: Versions, times: int, plus: int) -> None:
        self.versions, self.times, self.plus = versions, times, plus

    def pin(self) -> int:
        return self.times * self.versions.count() + self.plus

    def where(self, test: Callable[[Any], Any]) -> int:
        live = self.versions.live
        counts = ((count, bits) for count, bits in self.versions.by_count.items() if bits & live)
        return sum(bits & live for count, bits in counts if test(self.times * count + self.plus))

    def __bool__(self) -> bool:
        return not self.versions.guard(self.where_is(0))

    def __add__(self, other: Any) -> Any:
        if type(other) is int:
            return Affine(self.versions, self.times, self.plus + other)
        if isinstance(other, Affine):
            return affine(self.versions, self.times + other.times, self.plus + other.plus)
        return super().__add__(other)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return Affine(self.versions, -self.times, -self.plus)

    def __sub__(self, other: Any) -> Any:
        if type(other) is int:
            return Affine(self.versions, self.times, self.plus - other)
        if isinstance(other, Affine):
            return affine(self.versions, self.times - other.times, self.plus - other.plus)
        if isinstance(other, Position) and self.times == 1:
            return _distance(self, other)
        if isinstance(other, Distance) and self.times == other.times == 1:
            return Position(self.versions, other.place, self.plus - other.plus)
        return super().__sub__(other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other if type(other) is int else super().__rsub__(other)

    def where_is(self, value: int) -> int:
        """Return the versions in which this is a value."""
        count, rest = divmod(value - self.plus, self.times)
        return 0 if rest else self.versions.by_count.get(count, 0)

    def where_below(self, value: int) -> int:
        """Return the live versions in which this is below a value."""
        if self.times == 1:
            return self.versions.fewer(value - self.plus)
        if self.times == -1:
            return self.versions.least(self.plus - value + 1)
        return self.where(lambda own: own < value)


def affine(versions: Versions, times: int, plus: int) -> Affine | int:
    """Return `times * k + plus`: a plain `int` if it does not depend on k."""
    return Affine(versions, times, plus) if times else plus


class Position(Facet):
    """`place + plus`, where `place` is that of the current message: the same in all versions, but another
    one in each turn of a loop. Only runs that are remembered have it (`learning.py`)."""

    __slots__ = ("place", "plus")

    def __init__(self, versions: Versions, place: int, plus: int) -> None:
        self.versions, self.place, self.plus = versions, place, plus

    @property
    def value(self) -> int:
        """The number itself; reading it must be noted."""
        return self.place + self.plus

    def pin(self) -> int:
        self.versions.notes_position(operator.eq, self.place)
        return self.value

    def where(self, test: Callable[[Any], Any]) -> int:
        return self.versions.live if test(self.pin()) else 0

    def ask(self, test: Callable[[Any], Any]) -> bool:
        return bool(test(self.pin()))

    def __add__(self, other: Any) -> Any:
        if type(other) is int:
            return Position(self.versions, self.place, self.plus + other)
        return super().__add__(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is int:
            return Position(self.versions, self.place, self.plus - other)
        if isinstance(other, Affine) and other.times == 1:
            return -_distance(other, self)
        return super().__sub__(other)

    def __rsub__(self, other: Any) -> Any:
        if isinstance(other, Affine) and other.times == 1:
            return _distance(other, self)
        return super().__rsub__(other)

    def __mod__(self, other: Any) -> Any:
        return self.versions.remainder(self, other) if type(other) is int else super().__mod__(other)


def _distance(count: Affine, position: Position) -> Distance:
    return Distance(count.versions, position.place, 1, count.plus - position.plus)


class Distance(Facet):
    """`times * (k - place) + plus` in a version of k messages: how far it is to the end."""

    __slots__ = ("place", "plus", "times")

    def __init__(self, versions: Versions, place: int, times: int, plus: int) -> None:
        self.versions, self.place, self.times, self.plus = versions, place, times, plus

    def pin(self) -> int:
        return self.times * (self.versions.count() - self.place) + self.plus

    def where(self, test: Callable[[Any], Any]) -> int:
        live = self.versions.live
        counts = ((count, bits) for count, bits in self.versions.by_count.items() if bits & live)
        return sum(bits & live for k, bits in counts if test(self.times * (k - self.place) + self.plus))

    def ask(self, test: Callable[[Any], Any]) -> bool:
        return self.versions.guard_distance(self.where(test), lambda far: test(self.times * far + self.plus))

    def __neg__(self) -> Distance:
        return Distance(self.versions, self.place, -self.times, -self.plus)

    def __add__(self, other: Any) -> Any:
        if type(other) is int:
            return Distance(self.versions, self.place, self.times, self.plus + other)
        return super().__add__(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        if type(other) is int:
            return Distance(self.versions, self.place, self.times, self.plus - other)
        return super().__sub__(other)


class Number(Facet):
    """A number that a loop before the messages found: a place. It can be compared with a position. `owner` is
    the namespace and the attribute that hold it. Only runs that are remembered have it (`learning.py`)."""

    __slots__ = ("owner", "value")

    def __init__(self, versions: Versions, owner: tuple[int, str], value: int) -> None:
        self.versions, self.owner, self.value = versions, owner, value

    def pin(self) -> int:
        raise NotFollowed("a number that a loop found")

    def where(self, test: Callable[[Any], Any]) -> int:
        del test
        return self.pin()


class Choice(Facet):
    """One of several values; `pairs` cover all versions that can see it."""

    __slots__ = ("pairs", "parts")

    def __init__(self, versions: Versions, pairs: Pairs) -> None:
        self.versions, self.pairs = versions, pairs
        self.parts: dict[tuple[str, Any], Any] = {}
        """Attributes and items of the value that were read before."""

    def pin(self) -> Any:
        self.versions.reads(self)
        for versions, value in self.pairs:
            if versions >> self.versions.lead & 1:
                self.versions.live &= versions
                return value
        raise NotFollowed("a choice without a value")

    def where(self, test: Callable[[Any], Any]) -> int:
        live = self.versions.live
        return sum(versions & live for versions, value in self.pairs if versions & live and test(value))

    def computed(self, compute: Callable[[Any], Any]) -> Any:
        """Return the results of a computation for all live versions. Raises what it raises for the lead."""
        self.versions.reads(self)
        live = self.versions.live
        try:
            return choice(
                self.versions, [(bits & live, compute(value)) for bits, value in self.pairs if bits & live]
            )
        except NotFollowed:
            raise
        except Exception:  # noqa: BLE001  perhaps only other versions raise
            return compute(self.pin())


_PLAIN = (int, bool, str, type(None))
"""Types of which equal values are the same value."""


def choice(versions: Versions, pairs: Iterable[tuple[int, Any]]) -> Any:
    """Return a choice, in which pairs of the same value are one; the value itself if there is only one."""
    merged: dict[tuple[Any, ...], list[Any]] = {}
    for bits, value in pairs:
        found = merged.setdefault(_identity(value), [0, value])
        found[0] |= bits
    if len(merged) == 1:
        return next(iter(merged.values()))[1]
    return Choice(versions, [(bits, value) for bits, value in merged.values()])


def _identity(value: Any) -> tuple[Any, ...]:
    if type(value) in _PLAIN:
        return type(value), value
    if isinstance(value, Facet):
        raise NotFollowed("a choice of facets")
    if isinstance(value, Undefined):
        return (type(value),)  # they print and compare alike; what they raise is worded by a plain render
    return (id(value),)


# ==== Comparisons ====

Operator = Callable[[Any, Any], Any]

_REFLECTED: dict[Operator, Operator] = {
    operator.lt: operator.gt,
    operator.gt: operator.lt,
    operator.le: operator.ge,
    operator.ge: operator.le,
}


def _compare(compare: Operator, left: Facet, right: Any) -> bool:
    if isinstance(left, Position) or isinstance(right, Position):
        return _compare_position(compare, left, right)
    if isinstance(left, Affine) and type(right) is int:
        return _compare_affine(compare, left, right)
    if not isinstance(right, Facet):
        return left.ask(lambda value: compare(value, right))
    if isinstance(left, Affine) and isinstance(right, Affine):
        rest = left - right
        return _compare_affine(compare, rest, 0) if isinstance(rest, Affine) else bool(compare(rest, 0))
    if isinstance(left, Affine):
        return _compare(_REFLECTED.get(compare, compare), right, left)
    if isinstance(left, Choice):
        return _compare_choice(compare, left, right)
    raise NotFollowed("a comparison of facets")


def _compare_position(compare: Operator, left: Facet, right: Any) -> bool:
    if not isinstance(left, Position):
        return _compare(_REFLECTED.get(compare, compare), right, left)
    if type(right) is int:
        left.versions.notes_position(compare, right - left.plus)
        return bool(compare(left.value, right))
    if isinstance(right, Position):
        return bool(compare(left.plus, right.plus))
    if isinstance(right, Number):
        return left.versions.compares(compare, left, right)
    if isinstance(right, Affine) and right.times == 1:
        return _compare(_REFLECTED.get(compare, compare), _distance(right, left), 0)
    return (
        _compare(compare, right, left.pin())
        if compare in (operator.eq, operator.ne)
        else _compare(_REFLECTED[compare], right, left.pin())
    )


def _compare_affine(compare: Operator, left: Affine, right: int) -> bool:
    guard = left.versions.guard
    if compare is operator.eq:
        return guard(left.where_is(right))
    if compare is operator.ne:
        return not guard(left.where_is(right))
    if compare is operator.lt:
        return guard(left.where_below(right))
    if compare is operator.le:
        return guard(left.where_below(right + 1))
    if compare is operator.gt:
        return not guard(left.where_below(right + 1))
    return not guard(left.where_below(right))


def _compare_choice(compare: Operator, left: Choice, right: Facet) -> bool:
    yes = 0
    live = left.versions.live
    for bits, value in left.pairs:
        if bits & live:
            yes |= bits & right.where(lambda own, value=value: compare(value, own))  # type: ignore[misc]
    return left.versions.guard(yes)


# ==== Arithmetic ====


def _binary(compute: Operator, left: Facet, right: Any) -> Any:
    right = pinned(right)
    return left.computed(lambda value: compute(value, right))


def _reflected(compute: Operator, right: Facet, left: Any) -> Any:
    left = pinned(left)
    return right.computed(lambda value: compute(left, value))
