"""The environment in which units run: all that a template can do with a facet is followed, or pins it.

`FacetEnvironment` is a layer over an environment of chat templates: filters, tests (`filters.py`), calls,
operators and attributes get their values from it, and never see a facet themselves. It does not depend on
what the strings are; `traced_environment.py` puts it over traced strings.

Templates are not trusted, and a facet that is read unseen would give a wrong text. So this is a list of what
is followed; for all else facets are pinned, and views raise `NotFollowed`. A filter, test or function that
Jinja adds is thus pinned, too.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Macro
from jinja2.sandbox import MAX_RANGE

from ..chat_template import MAX_RENDERED, PlainEnvironment
from ..traced import TracedDict
from .facets import Affine, Choice, Distance, Position, choice, pinned
from .filters import followed_filter, followed_test
from .versions import NotFollowed, Versions
from .views import LOOP_NAMES, STAND_INS, VIEWS, Loop, Once, View

_NUMBERS: frozenset[type] = frozenset({Affine, Position, Distance, int})
_DICT_NAMES = frozenset(dir(dict))
_DICTS: frozenset[type] = frozenset({dict, TracedDict})

_ATTRS = "_Namespace__attrs"

TEXT_METHODS = frozenset(
    {
        *("strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith", "replace"),
        *("removeprefix", "removesuffix", "find", "partition", "rpartition"),
    }
)
"""Methods of strings that templates call most."""

TOO_MUCH = f"more than {MAX_RENDERED} characters"
"""Why a run ends that prints too much."""

IN_LOOPS = frozenset({"_loop_vars", "_block_vars"})
"""Arguments that Jinja adds to calls."""


class FacetEnvironment(PlainEnvironment):
    """What an environment adds to follow facets. `versions` are those of the run at work.

    texts        the types of strings that can be printed and joined as they are
    unchanging   types of values of a row that are neither strings, numbers, lists nor dicts
    """

    texts: frozenset[type] = frozenset({str})
    unchanging: frozenset[type] = frozenset()

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self.versions: Versions = Versions([])
        self.namespaces: list[Any] = []
        """The namespaces of a run by the order in which a version makes them."""
        self.made = 0
        """How many of them the unit at work knows or has made."""
        self.prints([], 0)
        self._namespace: Any = self.globals["namespace"]
        self.globals["namespace"] = self._new_namespace
        self._range_function, self._dict_function = self.globals["range"], self.globals["dict"]
        self._namespace_function = self.globals["namespace"]
        self.code_generator_class = type(
            "FacetCodeGenerator", (_FacetCodeGenerator, self.code_generator_class), {}
        )
        for name, function in list(self.filters.items()):
            self.filters[name] = followed_filter(self, name, function)
        for name, test in list(self.tests.items()):
            self.tests[name] = followed_test(self, name, cast("Any", test))

    @contextmanager
    def running(self, versions: Versions) -> Iterator[None]:
        """Run units for some versions; nothing of them is kept afterwards."""
        self.versions = versions
        try:
            yield
        finally:
            self.versions, self.namespaces, self.made = Versions([]), [], 0
            self.prints([], 0)

    def prints(self, pieces: list[str], steps: int) -> None:
        """Begin a unit: what it prints, and the iterations of its state so far."""
        self.printing: list[str] = pieces
        self._counted = self._size = 0
        self.steps = steps

    def step(self) -> bool:
        """Count an iteration, and now and then what a unit has printed so far."""
        super().step()
        if not self.steps & 255:
            new = self.printing[self._counted :]
            self._counted += len(new)
            self._size += sum(map(str.__len__, new))
            if self._size > MAX_RENDERED:
                raise NotFollowed(TOO_MUCH)
        return True

    # ==== namespaces ====

    def _new_namespace(self, *args: Any, **kwargs: Any) -> Any:
        """Return a namespace. Each version gets the same object for the namespace that it makes first, second
        and so on, so that the states of versions can be compared; what it holds is part of the state."""
        if self.made < len(self.namespaces):
            self._namespace.__init__(self.namespaces[self.made], *args, **kwargs)
        else:
            self.namespaces.append(self._namespace(*args, **kwargs))
        self.made += 1
        return self.namespaces[self.made - 1]

    def held(self, made: int) -> tuple[dict[str, Any], ...]:
        """Return the attributes of the first namespaces."""
        if not made:
            return ()
        return tuple([object.__getattribute__(each, _ATTRS) for each in self.namespaces[:made]])

    def fill(self, held: Sequence[dict[str, Any]]) -> None:
        """Give the first namespaces attributes; there are no others until the unit makes them."""
        for namespace, attributes in zip(self.namespaces, held, strict=False):
            object.__setattr__(namespace, _ATTRS, attributes.copy())
        self.made = len(held)

    # ==== attributes and items ====

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind in _DICTS and attribute not in _DICT_NAMES:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if kind is self._namespace:
            held = object.__getattribute__(obj, _ATTRS)
            return held[attribute] if attribute in held else super().getattr(obj, attribute)
        if kind is Choice:
            return self._part(obj, "attribute", attribute, self.getattr)
        if kind is Loop and attribute in LOOP_NAMES:
            return getattr(obj, attribute)
        if kind in self.texts and attribute in TEXT_METHODS:
            return getattr(obj, attribute)  # what the sandbox returns, too
        if kind in VIEWS:
            raise NotFollowed(f"attribute {attribute} of the messages or of `loop`")
        return super().getattr(pinned(obj), attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        kind = type(obj)
        if type(argument) is str:
            if kind in _DICTS and argument not in _DICT_NAMES:
                return obj[argument] if argument in obj else self.undefined(obj=obj, name=argument)
            if kind is Choice:
                return self._part(obj, "item", argument, self.getitem)
            if kind is Loop and argument in LOOP_NAMES:
                return getattr(obj, argument)
            if kind in VIEWS:
                raise NotFollowed(f"attribute {argument} of the messages or of `loop`")
        if kind is not View:
            argument = pinned(argument)
        if type(argument) in VIEWS or kind in (Once, Loop):
            raise NotFollowed("an item of the messages or of `loop`")
        return super().getitem(pinned(obj), argument)

    def _part(self, obj: Choice, how: str, name: str, read: Callable[[Any, str], Any]) -> Any:
        """Return an attribute or item of a choice: a choice again, if all versions have it."""
        obj.versions.reads(obj)
        known = obj.parts.get((how, name))
        if known is None:
            try:
                known = choice(obj.versions, [(bits, read(value, name)) for bits, value in obj.pairs])
            except NotFollowed:
                raise
            except Exception:  # noqa: BLE001  perhaps only other versions raise
                return read(obj.pin(), name)
            obj.parts[how, name] = known
        return known

    # ==== calls ====

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if type(obj) is Choice:
            if not kwargs.keys() - IN_LOOPS and all(_is_method_of_text(value) for _, value in obj.pairs):
                args = tuple(map(self.alone, args))
                return obj.computed(lambda value: super(FacetEnvironment, self).call(context, value, *args))
            obj = obj.pin()
        if obj is self._range_function and not kwargs.keys() - IN_LOOPS:
            view = self._range(*args)
            if view is not None:
                return view
        if not self._takes_facets(obj):
            args = tuple(map(self.alone, args))
            kwargs = {name: self.alone(value) for name, value in kwargs.items()}
            if obj is self._dict_function:
                self.literal(kwargs)
        return super().call(context, obj, *args, **kwargs)

    def _takes_facets(self, obj: Any) -> bool:
        """Whether a function is code of the template, or only keeps its arguments."""
        if type(obj) is Macro:
            return not obj.catch_kwargs and not obj.catch_varargs
        return obj is self._namespace_function

    def _range(self, *args: Any) -> View | None:
        """Return `range(n)`, `range(i, n)` or `range(n, -1, -1)` as a view, if n depends on the version."""
        match args:
            case (Affine(times=1, plus=plus),):
                start = 0
            case (int(start), Affine(times=1, plus=plus)) if start >= 0:
                pass
            case (Affine(times=1, plus=plus), -1, -1):
                numbers = self._range(Affine(self.versions, 1, plus + 1))
                return None if numbers is None else numbers.reversed()
            case _:
                return None
        if not self.versions.guard(self.versions.least(start - plus)):
            return None
        longest = max(self.versions.by_count) + plus
        if longest > MAX_RANGE:
            return None
        return View(self.versions, list(range(longest)), start, -plus)

    def alone(self, value: Any) -> Any:
        """Return an argument for code that does not know facets."""
        if type(value) in STAND_INS:
            if type(value) in VIEWS:
                raise NotFollowed("the messages or `loop` as an argument")
            return value.pin()
        return value

    # ==== operators, literals, printing ====

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        kinds = {type(left), type(right)}
        if kinds & STAND_INS:
            if View in kinds and operator == "+" and not kinds & {Once, Loop}:
                return pinned(left) + pinned(right)
            if kinds & VIEWS:
                raise NotFollowed(f"operator {operator} on the messages or `loop`")
            if operator == "+" and kinds <= _NUMBERS:
                return left + right
            if operator == "%" and type(left) is Position and type(right) is int:
                return left % right
            return self._binop_of_facets(context, operator, left, right)
        return super().call_binop(context, operator, left, right)

    def _binop_of_facets(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute for each value of a choice, with the other side pinned."""
        compute = super().call_binop
        if type(left) is Choice:
            right = pinned(right)
            return left.computed(lambda value: compute(context, operator, value, right))
        left = pinned(left)
        if type(right) is Choice:
            return right.computed(lambda value: compute(context, operator, left, value))
        return compute(context, operator, left, pinned(right))

    def literal(self, value: Any) -> Any:
        """Return a list, tuple or dict of the template; it must not hide facets or iterators."""
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        if any(isinstance(part, Iterator) for part in parts):
            raise NotFollowed("an iterator in a list")
        if not any(type(part) in STAND_INS for part in parts):
            return value
        if isinstance(value, dict):
            return {self.alone(key): self.alone(each) for key, each in value.items()}
        return type(value)(map(self.alone, value))

    def text(self, value: Any) -> Any:
        """Return what `{{ value }}` prints."""
        return value if type(value) in self.texts else self.printed(self.alone(value))

    def printed(self, value: Any) -> Any:
        """Return what a value prints that is no facet. This is the method `text` of the other base."""
        return super().text(value)  # type: ignore[misc]  # of the environments with a code generator of ours

    def join_strings(self, values: Iterable[Any]) -> str:
        """The operator `~`."""
        return super().join_strings(list(map(self.alone, values)))


def _is_method_of_text(value: Any) -> bool:
    return isinstance(value, (types.BuiltinMethodType, types.MethodType)) and isinstance(value.__self__, str)


class _FacetCodeGenerator(CodeGenerator):
    """Passes lists, tuples and dicts of a template through `environment.literal`."""

    def _literal(self, write: Callable[[Any, Frame], None], node: nodes.Expr, frame: Frame) -> None:
        self.write("environment.literal(")
        write(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802  Jinja's name
        self._literal(super().visit_List, node, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._literal(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._literal(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)
