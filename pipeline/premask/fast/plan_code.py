"""The code of a render plan: a function that checks the conditions of a row and puts its texts together.

    fill = compiled([("<user>", Op("text", (0,)))], {Op("text", (0,)): 0}, answers={})
    fill(["Hi"])            # (("<user>Hi",), ("Hi",)); None if the answers are others

Cost: making one takes about a millisecond; filling a row takes about 1 us a message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..masking.symbolic import Answers, Op
from .plan_conditions import Parts


def compiled(
    texts: Sequence[Parts], slots: Mapping[Op, int], answers: Answers
) -> Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]:
    """Return a function that checks the conditions of a plan and puts texts into its slots.

    Its source contains no text of a row or template: constants are its default arguments.
    """
    code = _Code()
    for question, answer in answers.items():
        source = code.of(question)
        if isinstance(answer, bool):
            code.lines.append(f"    if {'not ' if answer else ''}{source}: return None")
        else:
            code.lines.append(f"    if {source} != {code.constant(answer)}: return None")
    filled = "".join(code.of(op) + ", " for op in slots)
    joined = []
    for parts in texts:
        pieces = [code.of(part) if isinstance(part, Op) else code.constant(part) for part in parts]
        joined.append(f"''.join(({''.join(piece + ', ' for piece in pieces)})), ")
    result = f"    return ({''.join(joined)}), ({filled})"
    defaults = "".join(f", {name}={name}" for name in code.constants)
    names = dict(code.constants)
    exec("\n".join([f"def fill(texts{defaults}):", *code.lines, result]), names)  # noqa: S102  our own source
    return names["fill"]  # type: ignore[no-any-return]


class _Code:
    """Lines of Python that name strings and lists, so that shared ones are computed once."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self._known: dict[Op, str] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def of(self, op: Op) -> str:
        """Return an expression for `op`: a name, or for a question its source."""
        if op in self._known:
            return self._known[op]
        for arg in op.args:
            if isinstance(arg, Op):
                self.of(arg)
        source = f"texts[{op.args[0]}]" if op.name == "text" else op.code(self.constant, self._known)
        if op.name not in ("text", "call", "item", "slice", "join"):
            return source
        self._known[op] = f"v{len(self._known)}"
        self.lines.append(f"    {self._known[op]} = {source}")
        return self._known[op]
