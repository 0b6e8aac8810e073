"""The values that a chat template knows of an argument: the constants that it compares it with.

    template = ChatTemplate("{% set b = reasoning_effort or 'low' %}{% if b in ['low', 'high'] %}...")
    compared_values(template, "reasoning_effort")       # ["low", "high"]

A variable that is set from the argument counts like it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import nodes

from .chat_template import ChatTemplate
from .template_arguments import trees_of


def compared_values(template: ChatTemplate, name: str, *, itself: bool = False) -> list[Any]:
    """Return the strings, numbers and truth values that a template compares an argument with, in its order.

    With `itself`, variables that are set from it do not count.
    """
    trees = trees_of(template)
    return [value for tree in trees for value in _compared(tree, {name} if itself else _set_from(tree, name))]


def _compared(tree: nodes.Template, names: set[str]) -> Iterator[Any]:
    for compare in tree.find_all(nodes.Compare):
        sides = (compare.expr, *(operand.expr for operand in compare.ops))
        if any(_keys(side) & names for side in sides):
            values = [value for side in sides for value in _constants(side)]
            yield from (value for value in values if isinstance(value, (str, int)) and value != "")


def _constants(node: nodes.Expr) -> Sequence[Any]:
    """Return the value of a constant expression, or the items of a constant list."""
    try:
        value = node.as_const()
    except nodes.Impossible:
        return ()
    return value if isinstance(value, (list, tuple)) else (value,)


def _set_from(tree: nodes.Template, name: str) -> set[str]:
    """Return an argument and the variables that a template sets from it, directly or by another one."""
    found = {name}
    assigns = list(tree.find_all(nodes.Assign))
    for _ in assigns:
        more = {
            key
            for assign in assigns
            if (key := _key(assign.target)) is not None and found & _keys(assign.node)
        }
        if more <= found:
            break
        found |= more
    return found


def _keys(node: nodes.Node) -> set[str]:
    below = {_key(each) for each in (node, *node.find_all(nodes.Expr))}
    return {each for each in below if each is not None}


def _key(node: nodes.Node) -> str | None:
    """Return a variable as text: `name`, or `namespace.name`."""
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.NSRef):
        return f"{node.name}.{node.attr}"
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    return None
