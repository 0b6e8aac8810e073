"""Symbolic renders: a chat template is run on unknown texts, to learn what it does with any text.

    questions = Questions(["Hi "])
    messages = [{"role": "user", "content": questions.text(0)}]
    SymbolicTemplate(template).render(messages, questions=questions)
    # ("<user>", Op("call", (Op("text", (0,)), "strip", None)), "</user>")
    questions.answers    # {}: the template asked no question

A chat template joins texts and its own literals. Sometimes it asks a question about a text (does it contain
`</think>`?) or cuts it (`trim`). It is rendered once with `Symbolic` strings instead of texts. The result is
the parts that it prints, as literals and expressions of the texts, and its questions with their answers.

For any other conversation with the same roles and the same answers, the template prints the same parts.
Nothing else in it depends on a text: every access of a template to a string is either followed (`Symbolic`;
filters, tests, calls and operators of the environment) or raises `Unplannable`. An operation that is not
known to be harmless raises, too. The render plans of the fast path are built on this.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NoReturn, cast

from jinja2 import nodes
from jinja2.compiler import Frame
from jinja2.runtime import LoopContext, Macro

from .chat_template import (
    MAX_RENDERED,
    ChatTemplate,
    PlainEnvironment,
    TracedCodeGenerator,
    compile_all,
    row_error,
    to_json,
)

MAX_PARTS = 4096
"""Parts of a text; a text with more has no plan, so that their number stays small."""


class Unplannable(Exception):  # noqa: N818  no error: such conversations take the slow path
    """The result of the template depends on a text in a way that is not followed."""


# ==== Expressions ====


@dataclass(frozen=True, slots=True)
class Op:
    """An expression of the texts of a conversation.

    text (i)                   the text of slot i
    call (op, method, ...)     the result of a method of `str`
    item (op, index)           a character, or an element of a list that `call` returned
    slice (op, i, j, k)        op[i:j:k]
    join (part, ...)           literals and expressions, concatenated
    list (text, ...)           the JSON of a list of slots of JSON
    in (literal, op), eq (op, other), len (op), bool (op)      questions
    """

    name: str
    args: tuple[Any, ...]

    def code(self, constant: Callable[[Any], str], known: Mapping[Op, str]) -> str:
        """Return the expression as Python source. `constant` names a value, `known` has the named ones."""
        if self in known:
            return known[self]

        def code(arg: Any) -> str:
            return arg.code(constant, known) if isinstance(arg, Op) else constant(arg)

        if self.name == "call":
            base, method, *args = self.args
            return f"{code(base)}.{method}({', '.join(map(code, args))})"
        if self.name == "join":
            return "''.join((" + "".join(code(arg) + ", " for arg in self.args) + "))"
        if self.name == "list":
            return "('[' + ', '.join((" + "".join(code(arg) + ", " for arg in self.args) + ")) + ']')"
        return _SOURCE[self.name].format(*map(code, self.args))

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value of the expression for some texts."""
        args = [arg.value(texts) if isinstance(arg, Op) else arg for arg in self.args]
        if self.name == "call":
            return getattr(args[0], args[1])(*args[2:])
        return _VALUE[self.name](texts, *args)


_SOURCE = {
    "text": "texts[{0}]",
    "item": "{0}[{1}]",
    "slice": "{0}[{1}:{2}:{3}]",
    "in": "({0} in {1})",
    "eq": "({0} == {1})",
    "len": "len({0})",
    "bool": "bool({0})",
}
_VALUE: dict[str, Callable[..., Any]] = {
    "text": lambda texts, message: texts[message],
    "item": lambda _, base, index: base[index],
    "slice": lambda _, base, *bounds: base[slice(*bounds)],
    "join": lambda _, *parts: "".join(parts),
    "list": lambda _, *parts: f"[{', '.join(parts)}]",
    "in": lambda _, needle, base: needle in base,
    "eq": lambda _, base, other: base == other,
    "len": lambda _, base: len(base),
    "bool": lambda _, base: bool(base),
}

Part = str | Op
Answers = dict[Op, Any]


@dataclass
class Questions:
    """The questions about the texts of one render, and their answers."""

    texts: Sequence[str]
    answers: Answers = field(default_factory=dict)
    asked: dict[Op, None] = field(default_factory=dict)  # since the owner last emptied it

    def text(self, slot: int) -> str:
        """Return the text of a slot, symbolic."""
        return Symbolic.of(self, [Op("text", (slot,))])

    def ask(self, question: Op) -> Any:
        """Answer a question for these texts, and keep the answer."""
        self.asked[question] = None
        if question not in self.answers:
            self.answers[question] = question.value(self.texts)
        return self.answers[question]


# ==== Strings ====


class Symbolic(str):  # noqa: PLW1641  it has a __hash__ that refuses
    """A string of known parts: literals and expressions.

    Its value is that of the current texts. Each access to the value is recorded as a question, or raises
    `Unplannable`.
    """

    __slots__ = ("_parts", "_questions")
    _questions: Questions
    _parts: tuple[Part, ...]

    @classmethod
    def of(cls, questions: Questions, parts: Iterable[Part]) -> str:
        """Concatenate parts; the result is a plain string if no part is an expression."""
        merged: list[Part] = []
        for part in parts:
            if isinstance(part, str) and merged and isinstance(merged[-1], str):
                merged[-1] += part
            elif part != "":
                merged.append(part)
        if all(isinstance(part, str) for part in merged):
            return plain_join(map(str, merged))
        if len(merged) > MAX_PARTS:
            raise Unplannable
        text = plain_join(part if isinstance(part, str) else part.value(questions.texts) for part in merged)
        symbolic = str.__new__(cls, text)
        symbolic._questions, symbolic._parts = questions, tuple(merged)
        return symbolic

    def __add__(self, other: str) -> str:
        return self.of(self._questions, (*self._parts, *parts_of(other)))

    def __radd__(self, other: str) -> str:
        return self.of(self._questions, (*parts_of(other), *self._parts))

    def __getitem__(self, key: Any) -> str:
        if isinstance(key, slice):
            bounds = (key.start, key.stop, key.step)
            if any(not isinstance(bound, (int, type(None))) for bound in bounds):
                raise Unplannable
            return self.of(self._questions, [Op("slice", (_op(self), *bounds))])
        if not isinstance(key, int):
            raise TypeError
        if not -len(self) <= key < len(self):
            raise IndexError
        return self.of(self._questions, [Op("item", (_op(self), int(key)))])

    def __contains__(self, other: object) -> bool:
        if not _is_plain(other):
            raise Unplannable
        return bool(self._questions.ask(Op("in", (other, _op(self)))))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Symbolic):
            if other._parts == self._parts:
                return True
            raise Unplannable
        if not isinstance(other, str):
            return False
        return bool(self._questions.ask(Op("eq", (_op(self), str(other)))))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __bool__(self) -> bool:
        literal = any(isinstance(part, str) for part in self._parts)
        return literal or bool(self._questions.ask(Op("bool", (_op(self),))))

    def __len__(self) -> int:
        return int(self._questions.ask(Op("len", (_op(self),))))

    def __str__(self) -> str:
        return self

    def __iter__(self) -> Iterator[str]:
        yield from self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Unplannable

    __hash__ = __lt__ = __le__ = __gt__ = __ge__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _refuse
    __repr__ = __format__ = __reduce__ = __reduce_ex__ = __getnewargs__ = _refuse

    def strip(self, chars: str | None = None) -> str:
        if len(self._parts) > 1:
            return _as_symbolic(self.lstrip(chars), self._questions).rstrip(chars)
        return self._piece("strip", chars)

    def lstrip(self, chars: str | None = None) -> str:
        return self._piece("lstrip", chars) if len(self._parts) == 1 else self._stripped("lstrip", chars)

    def rstrip(self, chars: str | None = None) -> str:
        return self._piece("rstrip", chars) if len(self._parts) == 1 else self._stripped("rstrip", chars)

    def removeprefix(self, prefix: str) -> str:
        return self._piece("removeprefix", prefix)

    def removesuffix(self, suffix: str) -> str:
        return self._piece("removesuffix", suffix)

    def replace(self, old: str, new: str, count: Any = -1) -> str:  # noqa: ARG002  str's signature
        if not _is_plain(old) or not old or old in self:
            raise Unplannable
        return self

    def join(self, parts: Iterable[str]) -> str:
        return join(self, parts)

    def _piece(self, method: str, *args: Any) -> str:
        return self.of(self._questions, [self._call(method, *args)])

    def _pieces(self, method: str, *args: Any) -> list[str]:
        call = self._call(method, *args)
        count = self._questions.ask(Op("len", (call,)))
        return [self.of(self._questions, [Op("item", (call, i))]) for i in range(count)]

    def _call(self, method: str, *args: Any) -> Op:
        if not all(_is_plain(arg) or isinstance(arg, (int, type(None))) for arg in args):
            raise Unplannable
        return Op("call", (_op(self), method, *args))

    def _stripped(self, side: str, chars: str | None) -> str:
        """Strip the outermost parts, until one is not stripped completely."""
        parts, end = list(self._parts), 0 if side == "lstrip" else -1
        while parts:
            part = parts[end]
            if isinstance(part, str):
                left: Part = getattr(part, side)(chars)
            else:
                left = Op("call", (part, side, chars))
                if not self._questions.ask(Op("bool", (left,))):
                    left = ""
            if left != "":
                parts[end] = left
                break
            del parts[end]
        return self.of(self._questions, parts)


def _question(method: str) -> Callable[..., Any]:
    def ask(self: Symbolic, *args: Any) -> Any:
        plain = tuple(tuple(arg) if isinstance(arg, list) else arg for arg in args)
        if not all(
            _is_plain(each) or isinstance(each, (int, type(None)))
            for arg in plain
            for each in (arg if isinstance(arg, tuple) else (arg,))
        ):
            raise Unplannable
        return self._questions.ask(Op("call", (_op(self), method, *plain)))

    return ask


def _split(method: str) -> Callable[..., Any]:
    def split(self: Symbolic, *args: Any) -> Any:
        pieces = self._pieces(method, *args)
        return tuple(pieces) if "partition" in method else pieces

    return split


_FOLLOWED = {"strip", "lstrip", "rstrip", "removeprefix", "removesuffix", "replace", "join"}
for _name in dir(str):
    if _name.startswith("__") or _name in _FOLLOWED:
        continue
    if _name in ("startswith", "endswith", "find", "rfind", "count") or _name.startswith("is"):
        setattr(Symbolic, _name, _question(_name))
    elif _name in ("split", "rsplit", "splitlines", "partition", "rpartition"):
        setattr(Symbolic, _name, _split(_name))
    else:
        setattr(Symbolic, _name, Symbolic._refuse)


def parts_of(text: str) -> tuple[Part, ...]:
    """Return the parts of a string; a plain string is a literal."""
    if isinstance(text, Symbolic):
        return text._parts
    return (str(text),) if text else ()


def join(separator: str, parts: Iterable[str]) -> str:
    """Return `separator.join(parts)`, for symbolic strings too."""
    joined: list[Part] = []
    questions = separator._questions if isinstance(separator, Symbolic) else None
    for number, part in enumerate(parts):
        if not isinstance(part, str):
            raise Unplannable
        questions = part._questions if isinstance(part, Symbolic) else questions
        joined += (*(parts_of(separator) if number else ()), *parts_of(part))
    return plain_join(map(str, joined)) if questions is None else Symbolic.of(questions, joined)


def plain_join(parts: Iterable[str]) -> str:
    """Concatenate plain parts. If they are too long, there is no plan: the slow path rejects such rows."""
    text, total = list[str](), 0
    for part in parts:
        total += len(part)
        if total > MAX_RENDERED:
            raise Unplannable
        text.append(part)
    return "".join(text)


def _op(text: Symbolic) -> Op:
    first = text._parts[0]
    return first if len(text._parts) == 1 and isinstance(first, Op) else Op("join", text._parts)


def _as_symbolic(text: str, questions: Questions) -> str:
    return text if isinstance(text, Symbolic) else Symbolic.of(questions, [text])


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and not isinstance(value, Symbolic)


def _holds_symbolic(value: Any) -> bool:
    if isinstance(value, (Symbolic, JsonSlot)):
        return True
    if isinstance(value, Mapping):
        return any(map(_holds_symbolic, value.values()))
    if isinstance(value, (list, tuple, types.GeneratorType)):
        return isinstance(value, types.GeneratorType) or any(map(_holds_symbolic, value))
    return False


class JsonSlot:
    """A JSON object of which only the text is known, as `tojson` prints it. Everything else raises."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __bool__(self) -> bool:
        return self.text != "{}"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise Unplannable

    __str__ = __repr__ = __format__ = __iter__ = __len__ = __getitem__ = __contains__ = __call__ = _refuse
    __eq__ = __ne__ = __hash__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __mul__ = __rmul__ = __mod__ = __rmod__ = _refuse

    def json(self) -> str:
        """Return the JSON text. An object whose only key is empty raises: it may have no text to trace."""
        if self.text.startswith('{"": '):
            raise Unplannable
        return self.text


# ==== The environment ====

_TEXT_FILTERS = {"trim", "string", "default", "d", "length", "count"}
"""Filters whose operations on a string are followed here."""

_LIST_FILTERS = {
    *("selectattr", "rejectattr", "map", "select", "reject", "first", "last", "list", "reverse"),
    *("default", "d", "length", "count", "batch", "slice", "attr", "items"),
}
"""Filters that pass on the values of a list or an object, but do not read its strings."""

_TYPE_TESTS = {
    *("defined", "undefined", "none", "string", "mapping", "number", "integer", "float", "boolean"),
    *("callable", "true", "false", "iterable", "eq", "equalto", "==", "ne", "!=", "sameas"),
}
"""Tests that check the type of a value or compare it."""


_OBJECT_TESTS = {
    **dict.fromkeys(("defined", "mapping", "iterable", "sequence"), True),
    **dict.fromkeys(("undefined", "none", "string", "number", "integer", "float", "boolean"), False),
    **dict.fromkeys(("callable", "true", "false"), False),
}
"""Tests of the type of a value -> their result for a JSON object."""


class SymbolicEnvironment(PlainEnvironment):
    """The environment for symbolic strings: as the plain one, but every access to a string is seen."""

    def __init__(self, template: ChatTemplate) -> None:
        super().__init__(template.date)
        self.code_generator_class = _SymbolicCodeGenerator
        self.filters = {name: _filter(name, function) for name, function in self.filters.items()}
        self.filters |= {"join": _join, "replace": _replace}
        self.tests = {name: _test(name, cast("Any", function)) for name, function in self.tests.items()}

    def concat(self, parts: Iterable[str]) -> str:
        return join("", parts)

    def join_strings(self, values: Iterable[Any]) -> str:
        return join("", [self.text(value) for value in values])

    def text(self, value: Any) -> str:
        """Return what `{{ value }}` prints; the `repr` of a list or object with a symbolic string raises."""
        return value if isinstance(value, Symbolic) else str(value)

    def contains(self, item: Any, container: Any) -> bool:
        """Return `item in container`."""
        if isinstance(item, Symbolic) and isinstance(container, str):
            raise Unplannable
        return item in container

    def refuse(self) -> NoReturn:
        """Raise in place of code that is not followed."""
        raise Unplannable

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(argument, Symbolic):
            raise Unplannable
        return super().getitem(obj, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return join("", (left, right))
        if _holds_symbolic(left) or _holds_symbolic(right):
            if operator == "+" and isinstance(left, list) and isinstance(right, list):
                return left + right
            raise Unplannable
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        format_ = super().wrap_str_format(value)
        if format_ is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> str:
            if _holds_symbolic(args) or _holds_symbolic(kwargs) or isinstance(value.__self__, Symbolic):
                raise Unplannable
            return format_(*args, **kwargs)

        return checked

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        if isinstance(obj, types.BuiltinMethodType) and _is_plain(obj.__self__) and obj.__name__ == "join":
            return join(str(obj.__self__), *args)
        own = (value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars"))
        if _holds_symbolic([*args, *own]) and not self._passes_on(obj):
            raise Unplannable
        return super().call(context, obj, *args, **kwargs)

    def _passes_on(self, function: Any) -> bool:
        """Whether a function only passes its arguments on."""
        known = (self.globals["namespace"], self.globals["dict"])
        own = isinstance(function, types.MethodType) and isinstance(
            function.__self__, (Symbolic, LoopContext)
        )
        return own or isinstance(function, Macro) or any(function is each for each in known)


class _SymbolicCodeGenerator(TracedCodeGenerator):
    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802  Jinja's name
        operators = [operand.op for operand in node.ops]
        if "in" not in operators and "notin" not in operators:
            super().visit_Compare(node, frame)
        elif len(operators) > 1:
            self.write("environment.refuse()")
        else:
            self.write("(not " if operators == ["notin"] else "(")
            self.write("environment.contains(")
            self.visit(node.expr, frame)
            self.write(", ")
            self.visit(node.ops[0].expr, frame)
            self.write("))")


def _filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        if any(isinstance(value, JsonSlot) for value in values) and name not in ("tojson", "default", "d"):
            raise Unplannable
        if any(isinstance(value, Symbolic) for value in values):
            rest = args[1:] if args and isinstance(args[0], Symbolic) else args
            allowed = _TEXT_FILTERS if name not in ("default", "d") else {name}
            if name not in allowed or (rest and name == "trim" and not all(map(_is_plain, rest))):
                raise Unplannable
        elif name == "tojson":
            return _to_json(*args, **kwargs)
        elif name not in _LIST_FILTERS and any(map(_holds_symbolic, values)):
            raise Unplannable
        return function(*args, **kwargs)

    return checked


def _to_json(value: Any, **kwargs: Any) -> str:
    """Return JSON of values without symbolic strings, of slots of JSON, and of the list of all tools: as a
    whole, it is a text of the tools."""
    if not _holds_symbolic(value):
        return to_json(value, **kwargs)
    if kwargs not in ({}, {"ensure_ascii": False}):
        raise Unplannable
    if isinstance(value, JsonSlot):
        return value.json()
    slots = [_slot_of(each) for each in value] if isinstance(value, list) else []
    if slots != [Op("text", (number,)) for number in range(len(value))]:
        raise Unplannable  # slots of tools are the first ones
    for each in value:
        each.json()
    return Symbolic.of(value[0].text._questions, [Op("list", tuple(slots))])


def _slot_of(value: Any) -> Op | None:
    parts = parts_of(value.text) if isinstance(value, JsonSlot) else ()
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Op) else None


def _test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, JsonSlot) for value in (*args, *kwargs.values())):
            return _test_json(name, *args, **kwargs)
        if any(isinstance(value, Symbolic) for value in (*args, *kwargs.values())):
            if name == "sequence":
                return True
            if name == "in" and not isinstance(args[-1], str):
                return args[0] in args[-1]
            if name not in _TYPE_TESTS:
                raise Unplannable
        return function(*args, **kwargs)

    return checked


def _test_json(name: str, *args: Any, **kwargs: Any) -> bool:
    """Return whether a test holds for any JSON object."""
    if len(args) > 1 or kwargs or name not in _OBJECT_TESTS:
        raise Unplannable
    return _OBJECT_TESTS[name]


def _join(value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise Unplannable
    return join(d, [each if isinstance(each, Symbolic) else str(each) for each in value])


def _replace(value: Any, old: str, new: str, count: int | None = None) -> str:
    if isinstance(old, Symbolic) or isinstance(new, Symbolic):
        raise Unplannable
    text = value if isinstance(value, Symbolic) else str(value)
    return text.replace(str(old), str(new), -1 if count is None else count)


# ==== Rendering ====


class SymbolicTemplate:
    """A chat template, compiled for symbolic strings."""

    def __init__(self, template: ChatTemplate) -> None:
        self._template = template
        environment = self._environment = SymbolicEnvironment(template)
        self._compiled = compile_all(template.sources, environment, template.name)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        questions: Questions,
        tools: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        prompt: bool = False,
    ) -> tuple[Part, ...]:
        """Return the parts that the template prints for symbolic messages, as `ChatTemplate.render` does.

        `questions` gets the questions that it asks. Raises `Unplannable` if the render depends on a text in a
        way that is not followed, `RowError` if the template raises.
        """
        which = self._template.source_for(tools)
        arguments = {**self._template.variables_for(tools, kwargs or {}), "messages": messages}
        self._environment.steps = 0
        try:
            text = self._compiled[which].render({**arguments, "add_generation_prompt": prompt})
        except Unplannable:
            raise
        except Exception as error:  # noqa: BLE001  a template can raise anything
            raise row_error(error) from None
        parts = parts_of(text)
        printed = [part for part in parts if isinstance(part, str) or questions.ask(Op("bool", (part,)))]
        return parts_of(Symbolic.of(questions, printed))
