"""A template in units: the code that Jinja generates for it, cut at the loops over messages.

    units = Units(environment, source)
    units.code[0]       the code up to the first loop, as a function
    units.loops         the units that are one turn of a loop: number -> the unit after the loop

Nothing of the template is written anew: expressions, filters, macros and inner loops are Jinja's code. A unit
is a function of the context, the environment, the **frame**, the function that prints, and, in a loop, the
item and its `loop`. The frame is a tuple of the variables that one unit stores and another one reads.

A unit returns None at the end of the template, `(number, frame)` to go on with a unit, `(number, frame,
items)` to go on with a loop, and a turn of a loop returns whether the loop is left (`break`).

A template that cannot be cut without a doubt raises `Unsplit`. Cost: as much as compiling the template.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .environment import FacetEnvironment

MAX_UNITS = 80
"""Units of a template: a template with more has loops within many branches."""

UNITS_FILE = "<units>"
"""The name of the file that the code of units claims to be from."""

_HEADER = (
    "from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, "
    "TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join"
)


class Unsplit(Exception):  # noqa: N818  no error: the template is rendered the plain way
    """The template cannot be cut at its loops over messages."""


class Unset:
    """What a variable of the frame is before it is stored."""


@dataclass
class _Unit:
    """A unit under construction.

    body      its statements
    args      the item of the loop and its `loop`, of a turn of a loop
    after     the unit after the loop, of a turn of a loop
    following the units that it can go on with
    """

    number: int
    args: tuple[str, ...] = ()
    after: int | None = None
    body: list[ast.stmt] = field(default_factory=list)
    following: set[int] = field(default_factory=set)

    @property
    def is_turn(self) -> bool:
        return self.after is not None


class Units:
    """The units of a template. Raises `Unsplit` with the reason if there are none."""

    def __init__(self, environment: FacetEnvironment, source: str) -> None:
        root = _root(ast.parse(environment.compile(source, raw=True)))
        units = _Cut(_fed_by_messages(root), _filtering(root)).units(root.body)
        names = _Names(units)
        self.environment = environment
        self.loops = {unit.number: unit.after for unit in units if unit.after is not None}
        self.silent = frozenset(unit.number for unit in units if unit.is_turn and not _prints(unit))
        """The turns of loops that print nothing."""
        self.with_loop = frozenset(unit.number for unit in units if len(unit.args) > 1)
        self.code: Sequence[Callable[..., Any]] = _compiled(units, names, environment)
        self.start: tuple[Any, ...] = (Unset(),) * len(names.frame)
        self.globals = environment.make_globals(None)


def _root(module: ast.Module) -> ast.FunctionDef:
    """Return the generated function of a template without blocks, includes and the like."""
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        raise Unsplit("blocks")
    root = functions[0]
    for node in ast.walk(root):
        if isinstance(node, (ast.YieldFrom, ast.Await, ast.AsyncFor)):
            raise Unsplit("parts that other code prints")
        if isinstance(node, ast.Attribute) and _changes_escaping(node):
            raise Unsplit("autoescape")
    return root


def _changes_escaping(node: ast.Attribute) -> bool:
    """Whether code changes the part of the context that says whether text is escaped."""
    of_context = isinstance(node.value, ast.Attribute) and node.value.attr == "eval_ctx"
    return of_context and (isinstance(node.ctx, ast.Store) or node.attr in ("save", "revert"))


def _fed_by_messages(root: ast.FunctionDef) -> frozenset[str]:
    """Return the variables that may hold something of `messages`."""
    fed: set[str] = set()

    def mentions(value: ast.expr) -> bool:
        return any(
            (isinstance(node, ast.Name) and node.id in fed)
            or (isinstance(node, ast.Constant) and node.value == "messages")
            for node in ast.walk(value)
        )

    assignments = [node for node in ast.walk(root) if isinstance(node, ast.Assign)]
    size = -1
    while len(fed) > size:
        size = len(fed)
        for node in assignments:
            if mentions(node.value):
                names = (target.id for target in node.targets if isinstance(target, ast.Name))
                fed.update(name for name in names if name.startswith("l_"))
    return frozenset(fed)


def _filtering(root: ast.FunctionDef) -> frozenset[str]:
    """Return the generated functions that apply the `if` of a loop."""
    functions = (node for node in ast.walk(root) if isinstance(node, ast.FunctionDef))
    return frozenset(each.name for each in functions if [arg.arg for arg in each.args.args] == ["fiter"])


# ==== Cutting ====


@dataclass(frozen=True)
class _LoopOver:
    """A loop that is cut: what it goes over, and the names of its item and its `loop`."""

    items: ast.expr
    names: tuple[str, ...]


class _Cut:
    """Cuts statements into units."""

    def __init__(self, fed: frozenset[str], filtering: frozenset[str]) -> None:
        self._fed, self._filtering = fed, filtering
        self._units: list[_Unit] = []

    def units(self, statements: Sequence[ast.stmt]) -> list[_Unit]:
        """Return the units of a template; the first is unit 0."""
        self._segment([each for each in statements if not _never_runs(each)], None)
        if not any(unit.is_turn for unit in self._units):
            raise Unsplit("no loop over messages")
        return self._units

    def _new(self, args: tuple[str, ...] = (), after: int | None = None) -> _Unit:
        unit = _Unit(len(self._units), args, after)
        self._units.append(unit)
        if len(self._units) > MAX_UNITS:
            raise Unsplit("too many units")
        return unit

    def _segment(self, statements: Sequence[ast.stmt], then: int | None) -> int:
        """Make a unit of statements, which goes on with unit `then`."""
        unit = self._new()
        unit.body = self._body(unit, statements, then)
        return unit.number

    def _body(self, unit: _Unit, statements: Sequence[ast.stmt], then: int | None) -> list[ast.stmt]:
        for place, statement in enumerate(statements):
            if not self._is_cut(statement):
                continue
            before, rest = list(statements[:place]), statements[place + 1 :]
            after = self._segment(rest, then) if rest or then is None else then
            if isinstance(statement, ast.If):
                branches = [self._body(unit, each, after) for each in (statement.body, statement.orelse)]
                return [*before, ast.If(statement.test, *branches)]
            loop = self._loop_of(statement)
            if loop is None or not isinstance(statement, ast.For):
                raise Unsplit("a loop in an unknown form")
            turn = self._new(loop.names, after)
            turn.body = _turn(statement.body)
            unit.following |= {turn.number, after}
            turn.following.add(after)
            return [*before, _go_on(turn.number, loop.items)]
        if then is None:
            return [*statements, ast.Return(ast.Constant(None))]
        unit.following.add(then)
        return [*statements, _go_on(then)]

    def _is_cut(self, statement: ast.stmt) -> bool:
        """Whether a statement is a loop to cut, or has one in a branch."""
        if isinstance(statement, ast.If):
            return any(map(self._is_cut, [*statement.body, *statement.orelse]))
        return self._loop_of(statement) is not None

    def _loop_of(self, statement: ast.stmt) -> _LoopOver | None:
        """Return a loop over messages; None for other statements and for loops that are not cut: with `else`,
        with `if`, recursive ones."""
        if not isinstance(statement, ast.For) or statement.orelse:
            return None
        items, target, names = statement.iter, statement.target, list[str]()
        if (
            isinstance(items, ast.Call)
            and isinstance(items.func, ast.Name)
            and items.func.id == "LoopContext"
        ):
            if len(items.args) != 2 or items.keywords or not isinstance(target, ast.Tuple):
                return None
            items, (target, loop) = items.args[0], target.elts
            names = [loop.id] if isinstance(loop, ast.Name) else []
        read = {node.id for node in ast.walk(items) if isinstance(node, ast.Name)}
        if not isinstance(target, ast.Name) or read & self._filtering or not read & self._fed:
            return None
        return _LoopOver(items, (target.id, *names))


def _never_runs(statement: ast.stmt) -> bool:
    """Whether this is `if 0: yield None`, which makes the generated function a generator."""
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Constant)
        and not statement.test.value
    )


def _turn(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return one turn of a loop: `break` returns True, all else False."""
    once = ast.For(
        ast.Name("_once", ast.Store()), ast.Name("ONE", ast.Load()), body, [ast.Return(ast.Constant(False))]
    )
    return [once, ast.Return(ast.Constant(True))]


def _go_on(number: int, *items: ast.expr) -> ast.Return:
    return ast.Return(ast.Tuple([ast.Constant(number), ast.Name("FRAME", ast.Load()), *items], ast.Load()))


# ==== Names ====


@dataclass
class _Use:
    """The names of a unit.

    stores   those that it stores
    reads    those that it may read before it stores them
    closed   those that functions made in it read
    """

    stores: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)


class _Names:
    """The variables that cross units. Raises `Unsplit` if one does so in a way that is not followed."""

    def __init__(self, units: Sequence[_Unit]) -> None:
        self._units = units
        self.uses = [_used(unit) for unit in units]
        self.frame = sorted(
            {
                name
                for own in self.uses
                for name in own.stores
                if any(name in other.reads for other in self.uses if other is not own)
            }
        )
        self._check_turns()
        self._check_closures()
        self._check_buffers()

    def _check_turns(self) -> None:
        """A turn of a loop must not change what the next turn reads."""
        for unit, use in zip(self._units, self.uses, strict=True):
            if not unit.is_turn:
                continue
            if changed := use.stores & set(self.frame):
                raise Unsplit(f"a loop that changes {', '.join(sorted(changed))}")
            if any(isinstance(each, ast.Attribute) and each.attr == "vars" for each in _walk(unit.body)):
                raise Unsplit("a loop that changes the context")

    def _check_closures(self) -> None:
        """What a macro reads must not be stored again after the unit in which the macro is made."""
        for unit, use in zip(self._units, self.uses, strict=True):
            for later in self._reachable(unit):
                changed = {name for name in use.closed & self.uses[later].stores if name.startswith("l_")}
                if changed and not unit.is_turn:
                    raise Unsplit(f"a macro that reads {', '.join(sorted(changed))}")

    def _check_buffers(self) -> None:
        """What collects text, such as `{% set %}` around a loop, must not be open between units."""
        for unit in self._units:
            for node in _walk(unit.body):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and not node.value.elts:
                    names = {target.id for target in node.targets if isinstance(target, ast.Name)}
                    if names & set(self.frame):
                        raise Unsplit("a block around a loop over messages")

    def _reachable(self, unit: _Unit) -> set[int]:
        found: set[int] = set()
        waiting = [unit.number]
        while waiting:
            new = self._units[waiting.pop()].following - found
            found |= new
            waiting.extend(new)
        return found - {unit.number}


def _prints(unit: _Unit) -> bool:
    return any(isinstance(node, ast.Yield) for node in _walk(unit.body))


def _walk(statements: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    for statement in statements:
        yield from ast.walk(statement)


def _used(unit: _Unit) -> _Use:
    reader = _Reader(unit.args)
    body = unit.body
    if unit.is_turn and isinstance(body[0], ast.For):
        body = body[0].body
    reader.block(body)
    reader.use.stores -= set(unit.args)
    return reader.use


class _Reader(ast.NodeVisitor):
    """Reads code in the order in which it runs; `known` are the names stored so far, in any case."""

    def __init__(self, args: Sequence[str]) -> None:
        self.use = _Use()
        self.known = set(args)

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Read statements that run one after another."""
        for statement in statements:
            self.visit(statement)

    def _perhaps(self, *blocks: Sequence[ast.stmt]) -> set[str]:
        """Read blocks of which one may run; return the names that each of them stores."""
        known, stored = self.known, list[set[str]]()
        for statements in blocks:
            self.known = set(known)
            self.block(statements)
            stored.append(self.known)
        self.known = known
        return set.intersection(*stored)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.use.reads |= {node.id} - self.known
        else:
            self._store(node.id)

    def _store(self, name: str) -> None:
        self.use.stores.add(name)
        self.known.add(name)

    def visit_Assign(self, node: ast.Assign) -> None:
        for each in (node.value, *node.targets):
            self.visit(each)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.known |= self._perhaps(node.body, node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)  # it is read in the body alone
        self._perhaps(node.body, node.orelse)

    def visit_Try(self, node: ast.Try) -> None:
        """The `try` around looking up a filter: the body and the handlers store the same name."""
        self.known |= self._perhaps(node.body, *(handler.body for handler in node.handlers))
        self.block([*node.orelse, *node.finalbody])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for each in node.decorator_list:
            self.visit(each)
        self._close(_free(node) - {node.name})
        self._store(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._close(_free(node))

    def _close(self, free: set[str]) -> None:
        self.use.closed |= free
        self.use.reads |= free - self.known


def _bound_by(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    if isinstance(node, ast.Lambda):
        return set()
    if isinstance(node, ast.Name):
        return set() if isinstance(node.ctx, ast.Load) else {node.id}
    return set().union(*(_bound_by(each) for each in ast.iter_child_nodes(node)))


def _free(function: ast.FunctionDef | ast.Lambda) -> set[str]:
    """Return the variables that a function reads of the code around it."""
    body: Sequence[ast.AST] = function.body if isinstance(function, ast.FunctionDef) else [function.body]
    own = {arg.arg for arg in function.args.args}
    for node in body:
        own |= _bound_by(node)
    return set().union(*(_loaded_by(node) for node in body)) - own


def _loaded_by(node: ast.AST) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.Lambda)):
        return _free(node)
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    return set().union(*(_loaded_by(each) for each in ast.iter_child_nodes(node)))


# ==== Compiling ====


class _Rewritten(ast.NodeTransformer):
    """The code of a unit: it prints by a call instead of `yield`, and returns its frame."""

    def __init__(self, frame: ast.expr) -> None:
        self._frame = frame

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        if isinstance(node.value, ast.Yield) and node.value.value is not None:
            return ast.Expr(ast.Call(ast.Name("OUT", ast.Load()), [node.value.value], []))
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        if isinstance(node.value, ast.Tuple):
            number, _, *items = node.value.elts
            node.value = ast.Tuple([number, self._frame, *items], ast.Load())
        return node


def _compiled(
    units: Sequence[_Unit], names: _Names, environment: FacetEnvironment
) -> list[Callable[..., Any]]:
    """Compile the units into functions."""
    module = ast.parse(f"{_HEADER}\nONE = (0,)")
    for unit, use in zip(units, names.uses, strict=True):
        module.body.append(_function(unit, use, names.frame))
    space: dict[str, Any] = {"environment": environment, "name": None, "blocks": {}}
    exec(compile(ast.fix_missing_locations(module), UNITS_FILE, "exec"), space)  # noqa: S102  Jinja's own code
    return [space[f"unit_{unit.number}"] for unit in units]


def _function(unit: _Unit, use: _Use, frame: Sequence[str]) -> ast.FunctionDef:
    stored = use.stores & set(frame)
    needed = [(place, name) for place, name in enumerate(frame) if name in use.reads | stored]
    loads = [f"    {name} = FRAME[{place}]\n" for place, name in needed if name not in unit.args]
    args = ", ".join(("context", "environment", "FRAME", "OUT", *unit.args))
    module = ast.parse(f"def unit_{unit.number}({args}):\n{''.join(loads)}    pass")
    (function,) = module.body
    if not isinstance(function, ast.FunctionDef):
        raise TypeError(unit.number)
    values = "".join(f"{name if name in stored else f'FRAME[{at}]'}, " for at, name in enumerate(frame))
    packed = ast.parse(f"({values})" if stored else "FRAME", mode="eval").body
    rewritten = _Rewritten(packed)
    function.body += [rewritten.visit(statement) for statement in unit.body]
    return function
