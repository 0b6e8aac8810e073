"""The code of a render plan: a function that checks the conditions of a row and puts its texts together.

    fill = compiled([("<user>", Op("text", (0,)))], {Op("text", (0,)): 0}, answers={})
    fill(["Hi"])            # (("<user>Hi",), ("Hi",)); None if the answers are others

Cost: making one takes about a millisecond; filling a row takes about 1 us a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..masking.prefixes.names import TOOLS
from ..masking.symbolic import Answers, Op
from .plan_conditions import Parts

Fill = Callable[[Sequence[str]], "tuple[tuple[str, ...], tuple[str, ...]] | None"]
FillChunk = Callable[[Sequence[Sequence[str]], int], "tuple[str, tuple[str, ...]] | None"]
Check = Callable[[Sequence[Sequence[str]], int], bool]


def compiled(texts: Sequence[Parts], slots: Mapping[Op, int], answers: Answers) -> Fill:
    """Return a function that checks the conditions of a plan and puts texts into its slots."""
    code = _Code(lambda slot: f"texts[{slot}]")
    code.check(answers, "None")
    joined = "".join(f"{code.joined(parts)}, " for parts in texts)
    filled = "".join(code.of(op) + ", " for op in slots)
    function: Fill = code.function("texts", f"({joined}), ({filled})")
    return function


def compiled_chunk(parts: Parts, slots: Sequence[Op], answers: Mapping[Op, Any]) -> FillChunk:
    """Return a function of the texts of all messages and the place of the current one, which returns the text
    of a chunk and the strings in its slots."""
    code = _Code(_named)
    code.check(answers, "None")
    filled = "".join(code.of(op) + ", " for op in slots)
    function: FillChunk = code.function("texts, here", f"{code.joined(parts)}, ({filled})")
    return function


def compiled_check(answers: Mapping[Op, Any]) -> Check:
    """Return a function of the texts of all messages and the place of the current one, which says whether
    they give these answers."""
    code = _Code(_named)
    code.check(answers, "False")
    function: Check = code.function("texts, here", "True")
    return function


def _named(name: str, number: int) -> str:
    """Return the source of a named text (`masking/prefixes/names.py`); those of the tools are the last."""
    if name == TOOLS:
        return f"texts[-1][{number}]"
    place = name[1:] if name[0] == "=" else f"here{int(name):+d}"
    return f"texts[{place}][{number}]"


class _Code:
    """Lines of Python that name strings and lists, so that shared ones are computed once.

    The source contains no text of a row or template: constants are default arguments.
    """

    def __init__(self, text: Callable[..., str]) -> None:
        self._text = text
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self._known: dict[Op, str] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def check(self, answers: Mapping[Op, Any], otherwise: str) -> None:
        """Add lines that return `otherwise` unless the questions have these answers."""
        for question, answer in answers.items():
            source = self.of(question)
            if isinstance(answer, bool):
                self.lines.append(f"    if {'not ' if answer else ''}{source}: return {otherwise}")
            else:
                self.lines.append(f"    if {source} != {self.constant(answer)}: return {otherwise}")

    def joined(self, parts: Parts) -> str:
        """Return an expression for a text of some parts."""
        pieces = [self.of(part) if isinstance(part, Op) else self.constant(part) for part in parts]
        return pieces[0] if len(pieces) == 1 else f"''.join(({''.join(piece + ', ' for piece in pieces)}))"

    def function(self, arguments: str, result: str) -> Any:
        """Return the function of these lines."""
        defaults = "".join(f", {name}={name}" for name in self.constants)
        names = dict(self.constants)
        lines = [f"def fill({arguments}{defaults}):", *self.lines, f"    return {result}"]
        exec("\n".join(lines), names)  # noqa: S102  our own source
        return names["fill"]

    def of(self, op: Op) -> str:
        """Return an expression for `op`: a name, or for a question its source."""
        if op in self._known:
            return self._known[op]
        for arg in op.args:
            if isinstance(arg, Op):
                self.of(arg)
        source = self._text(*op.args) if op.name == "text" else op.code(self.constant, self._known)
        if op.name not in ("text", "call", "item", "slice", "join", "list"):
            return source
        self._known[op] = f"v{len(self._known)}"
        self.lines.append(f"    {self._known[op]} = {source}")
        return self._known[op]
