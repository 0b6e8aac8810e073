"""Which arguments a chat template reads, besides the conversation.

    template = ChatTemplate("{% if enable_thinking %}<think>{% endif %}...")
    names_read(template)                            # {"enable_thinking"}
    unread(template, {"enable_thinkin": True})      # ("enable_thinkin",)
    check_arguments(template, {"enable_thinkin": True})     # RecipeError: ... did you mean enable_thinking?

A template reads a name if one of its sources looks it up: at the top, in a condition or in a macro. An
argument that no source looks up changes nothing. Its author believes that it does, so it is an error.

Cost: a few milliseconds a template, once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

from jinja2 import meta, nodes

from ..core.errors import RecipeError
from .chat_template import ChatTemplate, PlainEnvironment

T = TypeVar("T", bound=nodes.Node)

OWN = frozenset({"messages", "tools", "add_generation_prompt"})
"""What every render sets itself: an argument of this name would be overwritten."""

_TOKENS = re.compile("(bos|eos|pad|unk|sep|cls|mask)_token")
_REASONING = re.compile("think|reason|thought|cot", re.IGNORECASE)


@lru_cache(maxsize=32)
def trees_of(template: ChatTemplate) -> tuple[nodes.Template, ...]:
    """Return the syntax trees of all sources of a template."""
    return _parsed(template)


def _parsed(template: ChatTemplate) -> tuple[nodes.Template, ...]:
    environment = PlainEnvironment(template.date)
    return tuple(environment.parse(source) for source in template.sources.values())


@lru_cache(maxsize=32)
def names_read(template: ChatTemplate) -> frozenset[str]:
    """Return the names that a template looks up in its arguments.

    Names of the conversation (`OWN`) and of the environment (`namespace`, `strftime_now`) are not among them.
    """
    own = _parsed(template)  # Jinja folds constants in the trees that it searches
    found = {name for tree in own for name in meta.find_undeclared_variables(tree)}
    return frozenset(found - OWN - set(PlainEnvironment(template.date).globals))


@lru_cache(maxsize=32)
def arguments_of(template: ChatTemplate) -> tuple[str, ...]:
    """Return those of `names_read` that are meant to be given, sorted: the names that an error shows.

    Variables of the tokenizer are none. A variable that the template sets in a branch can be read without
    being set, but is no argument; unless it is set because it is missing.
    """
    own = {name for tree in trees_of(template) for name in _variables(tree)}
    tokens = {name for name in names_read(template) if _TOKENS.fullmatch(name)}
    return tuple(sorted(names_read(template) - own - tokens - {*template.variables, "documents"}))


def is_about_reasoning(name: str) -> bool:
    """Whether an argument is about reasoning, by its name.

    >>> is_about_reasoning("enable_thinking"), is_about_reasoning("add_vision_id")
    (True, False)
    """
    return bool(_REASONING.search(name))


def unread(template: ChatTemplate, kwargs: Mapping[str, object]) -> tuple[str, ...]:
    """Return the arguments that change nothing: no source reads them, or each render sets them itself."""
    return tuple(name for name in kwargs if name not in names_read(template))


def check_arguments(template: ChatTemplate, kwargs: Mapping[str, object]) -> None:
    """Check the arguments of a recipe. Raises `RecipeError` for one that changes nothing."""
    for name in unread(template, kwargs):
        if name in OWN:
            raise RecipeError(f"template_kwargs: {name} is set by each render of a conversation; remove it")
        raise RecipeError(f"template_kwargs: {template.name} never reads {name}; {_hint(template, name)}")


def _hint(template: ChatTemplate, name: str) -> str:
    """Return what a template reads instead: the nearest name, its kin, and all names."""
    names = arguments_of(template)
    if not names:
        return "it reads no arguments; remove it"
    near = difflib.get_close_matches(name, names, n=1)
    kin = [each for each in names if is_about_reasoning(each) and is_about_reasoning(name)]
    reads = f"it reads {', '.join(names)}"
    if near or kin:
        return f"did you mean {' or '.join(near or kin)}? {reads}"
    return reads


# ==== Variables of the template itself ====


def _variables(tree: nodes.Template) -> set[str]:
    """Return the names that a template sets, but for arguments that it gives a default."""
    stored = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    local = {name.name for macro in tree.find_all(nodes.Macro) for name in macro.args}
    looped = {name for loop in tree.find_all(nodes.For) for name in _names(loop.target)}
    return (stored - set(_given_defaults(tree))) | local | looped


def _given_defaults(tree: nodes.Template) -> Iterator[str]:
    """Find the arguments that a template sets where they are missing.

    `{% set a = a | default(1) %}`, `{% if a is not defined %}{% set a = 1 %}{% endif %}`.
    """
    for assign in tree.find_all(nodes.Assign):
        yield from _names(assign.target) & _doubted(assign.node)
    for branch in tree.find_all(nodes.If):
        doubted = _doubted(branch.test)
        for assign in branch.find_all(nodes.Assign):
            yield from _names(assign.target) & doubted


def _doubted(node: nodes.Node) -> set[str]:
    """Return the names that an expression takes into account as missing."""
    tests = (test for test in _of_type(node, nodes.Test) if test.name in ("defined", "undefined"))
    filters = (each for each in _of_type(node, nodes.Filter) if each.name in ("default", "d"))
    return {each.node.name for each in (*tests, *filters) if isinstance(each.node, nodes.Name)}


def _names(node: nodes.Node) -> set[str]:
    return {name.name for name in _of_type(node, nodes.Name)}


def _of_type(node: nodes.Node, kind: type[T]) -> Iterator[T]:
    """Return a node and those below it that are of a type."""
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)
