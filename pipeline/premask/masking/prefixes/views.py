"""The messages as templates see them: lists of which each version has its own part.

    view = View(versions, messages)     # `messages`: the first k of them in a version of k messages
    view[1:]                            # a view again
    view[-1]                            # a choice
    view.length()                       # affine

A view can be indexed, sliced and iterated, as the list that it stands for. All else raises `NotFollowed`, or
is done by the filters and tests of `environment.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from jinja2.runtime import Undefined

from .facets import Affine, Choice, Distance, Facet, Number, Position, choice, pinned
from .versions import NotFollowed, Versions


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotFollowed("the messages as a whole")


class View:
    """`items[start : k - less]` in a version of k messages, as far as it has them; reversed if `backwards`.

    `places` are the numbers of the messages that the items are of, if others than their own.
    """

    __slots__ = ("_from_end", "backwards", "items", "less", "places", "start", "versions")

    def __init__(  # noqa: PLR0913  a slice has as many parts
        self,
        versions: Versions,
        items: Sequence[Any],
        start: int = 0,
        less: int = 0,
        *,
        backwards: bool = False,
        places: Sequence[int] | None = None,
    ) -> None:
        self.versions, self.items, self.start, self.less = versions, items, start, less
        self.backwards, self.places = backwards, places
        self._from_end: dict[int, Any] = {}

    # ==== how many ====

    def longer(self, index: int) -> int:
        """Return the versions with more than `index` items; `index` is not negative."""
        place = self.start + index
        if place >= len(self.items):
            return 0
        message = place if self.places is None else self.places[place]
        return self.versions.least(message + self.less + 1)

    def length(self) -> Any:
        """Return the number of items: an `Affine`, a `Choice` or an `int`."""
        if self.places is not None:
            return choice(
                self.versions, [(bits, self._count(k)) for k, bits in self.versions.by_count.items()]
            )
        if self.versions.guard_least(self.start + self.less + 1):
            return Affine(self.versions, 1, -self.less - self.start)
        return 0

    def _count(self, count: int) -> int:
        """Return the number of items in versions of `count` messages."""
        end = count - self.less if self.places is None else bisect_left(self.places, count - self.less)
        return max(0, min(end, len(self.items)) - self.start)

    def __len__(self) -> int:
        return self._count(self.versions.count())

    def __bool__(self) -> bool:
        if self.places is None and self.start < len(self.items):
            return self.versions.guard_least(self.start + self.less + 1)
        return self.versions.guard(self.longer(0))

    # ==== items ====

    def __iter__(self) -> Iterator[Any]:
        if self.backwards:
            yield from self.pinned()
            return
        index = 0
        while self.versions.guard(self.longer(index)):
            yield self.items[self.start + index]
            index += 1

    def __contains__(self, item: Any) -> bool:
        return any(item is own or item == own for own in self)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self._slice(key)
        if isinstance(key, Affine) and key.times == 1 and self.places is None and not self.backwards:
            return self._at_end(key)
        if isinstance(key, Position) and self.places is None and not (self.backwards or self.less):
            return self._near(key)
        key = pinned(key)
        if type(key) is not int:
            raise TypeError
        if self.places is None and not self.backwards and 0 <= key < len(self.items) - self.start:
            return self._at(self.start + key)
        index = -1 - key if self.backwards else key
        if not self.versions.guard(self.longer(index if index >= 0 else -index - 1)):
            raise IndexError
        return self.items[self.start + index] if index >= 0 else self._last(-index)

    def _at(self, place: int) -> Any:
        """Return an item by its place."""
        if not self.versions.guard_least(place + self.less + 1):
            raise IndexError
        self.versions.sees(place, is_near=False)
        return self.items[place]

    def _near(self, key: Position) -> Any:
        """Return an item by its distance to the current one."""
        if key < 0:
            return self[key.pin()]
        place = self.start + key.place + key.plus
        distance = self.start + key.plus
        if not self.versions.guard_near(self.longer(key.place + key.plus), distance):
            raise IndexError
        self.versions.sees(place, is_near=True)
        return self.items[place]

    def _at_end(self, key: Affine) -> Any:
        """Return item k + n: always the same from the end."""
        if not self.versions.guard(self.versions.least(-key.plus)):
            return self[key.pin()]
        from_end = -self.less - self.start - key.plus
        if from_end < 1:
            raise IndexError
        return self[-from_end]

    def _last(self, number: int) -> Any:
        """Return the last item (1), the one before it (2), and so on."""
        if number not in self._from_end:
            counts = ((bits, self._count(k)) for k, bits in self.versions.by_count.items())
            pairs = [(bits, self.items[self.start + n - number]) for bits, n in counts if n >= number]
            self._from_end[number] = choice(self.versions, pairs)
        return self._from_end[number]

    def _slice(self, key: slice) -> Any:
        start, stop, step = pinned(key.start), pinned(key.stop), pinned(key.step)
        whole = start is None and stop is None
        if step == -1 and whole and not self.backwards:
            return self.reversed()
        start = start or 0
        if self.backwards or step not in (None, 1) or start < 0:
            return self.pinned()[slice(pinned(key.start), stop, step)]
        if stop is None or (stop < 0 and self.places is None):
            return self._part(start, -(stop or 0))
        if stop >= 0 and stop <= start:
            return []
        if stop > 0 and self.versions.guard(self.longer(stop - 1)):
            return list(self.items[self.start + start : self.start + stop])
        return self.pinned()[start:stop]

    def _part(self, start: int, less: int) -> View:
        return View(self.versions, self.items, self.start + start, self.less + less, places=self.places)

    def copied(self) -> View:
        """Return the same items as another list."""
        return self._part(0, 0) if not self.backwards else self.reversed().reversed()

    def reversed(self) -> View:
        """Return the items from the last to the first."""
        return View(
            self.versions,
            self.items,
            self.start,
            self.less,
            backwards=not self.backwards,
            places=self.places,
        )

    def kept(self, indices: Sequence[int]) -> View:
        """Return those of the items that are at some places of `items`; which, was asked of all items."""
        self.versions.sees_all()
        places = [index if self.places is None else self.places[index] for index in indices]
        return View(self.versions, [self.items[index] for index in indices], 0, self.less, places=places)

    def pinned(self) -> list[Any]:
        """Return the items of the lead as a list; only the versions with as many stay."""
        own = list(self.items[self.start : self.start + len(self)])
        return own[::-1] if self.backwards else own

    def same(self, other: View) -> bool:
        """Whether another view has the same items in all versions."""
        return (
            self.items is other.items
            and (self.start, self.less, self.backwards) == (other.start, other.less, other.backwards)
            and self.places == other.places
        )

    def __add__(self, other: Any) -> list[Any]:
        return self.pinned() + (other.pinned() if type(other) is View else other)

    def __radd__(self, other: Any) -> Any:
        return other + self.pinned()

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = __str__ = __repr__ = __format__ = __call__ = _refuse


class Listed:
    """A list that is the same in all versions, with the questions that a loop asks a view."""

    __slots__ = ("items", "versions")
    start, backwards = 0, False

    def __init__(self, versions: Versions, items: Sequence[Any]) -> None:
        self.versions, self.items = versions, items

    def longer(self, index: int) -> int:
        """Return the versions with more than `index` items."""
        return self.versions.every if index < len(self.items) else 0

    def length(self) -> int:
        """Return the number of items."""
        return len(self.items)


class Once:
    """An iterator over a view, as filters such as `selectattr` return it: it can be read once."""

    __slots__ = ("_view",)

    def __init__(self, view: View) -> None:
        self._view: View | None = view

    def take(self) -> View:
        """Return the view; the iterator is then exhausted."""
        view, self._view = self._view, None
        if view is None:
            raise NotFollowed("an iterator that is read twice")
        return view

    def __iter__(self) -> Iterator[Any]:
        return iter(self.take())

    def __bool__(self) -> bool:
        return True

    __eq__ = __ne__ = __hash__ = __str__ = __repr__ = __call__ = _refuse


LOOP_NAMES = frozenset(
    {
        *("index0", "index", "first", "last", "length", "revindex", "revindex0"),
        *("previtem", "nextitem", "cycle", "changed", "depth", "depth0"),
    }
)
"""The attributes of `loop`."""


class Loop:
    """The `loop` of one turn of a loop that is a unit: over a view, at item `place` of `items`."""

    __slots__ = ("_over", "_place", "_undefined")
    depth, depth0 = 1, 0

    def __init__(self, over: View | Listed, place: int, undefined: type[Undefined]) -> None:
        self._over, self._place, self._undefined = over, place, undefined

    @property
    def _index(self) -> int:
        return self._place - self._over.start

    @property
    def index0(self) -> Any:
        position = self._over.versions.position(self._place, -self._over.start)
        return self.length - (position + 1) if self._over.backwards else position

    @property
    def index(self) -> Any:
        return self.index0 + 1

    @property
    def first(self) -> bool:
        return not self._has(self._index + 1) if self._over.backwards else bool(self.index0 == 0)

    @property
    def last(self) -> bool:
        if self._over.backwards:
            return bool(self._over.versions.position(self._place, -self._over.start) == 0)
        return not self._has(self._index + 1)

    @property
    def length(self) -> Any:
        return self._over.length()

    @property
    def revindex(self) -> Any:
        position = self._over.versions.position(self._place, -self._over.start)
        return position + 1 if self._over.backwards else self.length - position

    @property
    def revindex0(self) -> Any:
        return self.revindex - 1

    @property
    def previtem(self) -> Any:
        return self._beside(1 if self._over.backwards else -1, "previous")

    @property
    def nextitem(self) -> Any:
        return self._beside(-1 if self._over.backwards else 1, "next")

    def cycle(self, *args: Any) -> Any:
        """Return one of the arguments, in turn."""
        if not args:
            raise TypeError("no items for cycling given")
        return args[pinned(self.index0) % len(args)]

    def changed(self, *_: Any) -> bool:
        """Refuse: what the loop saw before is no part of the state."""
        raise NotFollowed("loop.changed")

    def __len__(self) -> int:
        return int(pinned(self.length))

    def _has(self, index: int) -> bool:
        return self._over.versions.guard_near(self._over.longer(index), index - self._index)

    def _beside(self, step: int, which: str) -> Any:
        index = self._index + step
        is_first = index < 0 if self._over.backwards else step < 0 and self.first
        if is_first or not self._has(index):
            return self._undefined(f"there is no {which} item")
        self._over.versions.sees(self._over.start + index, is_near=True)
        return self._over.items[self._over.start + index]

    __str__ = __repr__ = __call__ = _refuse


FACETS: frozenset[type] = frozenset({Affine, Choice, Position, Distance, Number})
VIEWS: frozenset[type] = frozenset({View, Once, Loop})
STAND_INS = FACETS | VIEWS
"""Types of the values that only this package knows how to read."""

__all__ = ["FACETS", "LOOP_NAMES", "STAND_INS", "VIEWS", "Facet", "Listed", "Loop", "Once", "View"]
