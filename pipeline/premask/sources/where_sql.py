"""The SQL of a condition, checked before polars reads it: only what `where_grammar` lists may be in it.

    checked   text -> the text for polars, and the path of each column in it

A recipe may come from anywhere, and polars reads far more than conditions: subqueries, functions that look
at several rows or at the clock, and texts that take it minutes. So sqlglot parses the text, and every node of
the tree and every function must be in a list. Length and nesting are bounded before that. What polars gets is
the user's own text, but for the names of nested columns: sqlglot has no dialect of polars, and would rewrite
functions.

    >>> text, columns = checked("LENGTH(meta.title) > 3 AND lang = 'en'")
    >>> text.replace(NESTED, "/"), sorted(columns.values())
    ('LENGTH("meta/title") > 3 AND lang = \\'en\\'', [('lang',), ('meta', 'title')])

Cost: 0.1 s to import sqlglot, 0.2 ms for a short condition, 0.3 s for a list of 10,000 values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from sqlglot import errors, exp
from sqlglot.tokenizer_core import Token, TokenType

from ..core.errors import RecipeError
from ..core.text import is_encodable
from .where_grammar import CLOCK, FUNCTIONS, LENGTHENING, NODES, SEVERAL_ROWS, ConditionSql

MAX_LENGTH = 200_000
"""Characters of a condition; a list of 10,000 values has room."""

MAX_DEPTH = 24
"""Levels of brackets, CASE and signs: each takes sqlglot some twenty calls, and Python allows a thousand."""

MAX_PARTS = 600
"""Columns, operators and functions: for 200 comparisons joined by OR polars takes 0.2 s, for 1000 20 s."""

MAX_GROWTH = 64
"""How many times as long as the texts of a row those may be that a condition makes of them."""

MAX_DIGITS = 38
"""Digits of a decimal number, at most."""

NESTED = "\x1f"
"""Between the keys of a nested column, where its path is made one name."""

_OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.CASE}
_CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.END}
_FOREIGN = {
    *(TokenType.SEMICOLON, TokenType.COLON, TokenType.L_BRACE, TokenType.R_BRACE, TokenType.PARAMETER),
    *(TokenType.PLACEHOLDER, TokenType.HASH, TokenType.BACKSLASH),
}
_VALUES = {TokenType.NUMBER, TokenType.STRING, TokenType.COMMA, TokenType.DASH}
_SIGNS = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.INTERVAL, TokenType.ANY}
_REPLACED = "replace(title, '-', ' ')"
_EXAMPLE = "score > 3 and lang = 'en'"


def checked(where: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The condition for polars, and its columns: name there -> the keys that lead to it.

    Raises `RecipeError` where it is no condition, or has something in it that is not allowed.
    """
    if len(where) > MAX_LENGTH:
        raise refused(where, f"it has more than {MAX_LENGTH:,} characters", "choose the rows beforehand")
    if not is_encodable(where):
        raise refused(where, "it has half of a surrogate pair in it", "leave that out")
    columns = list(_columns(where, _parsed(where)))
    if not columns:
        raise refused(where, "it names no column", f"write one, such as {_EXAMPLE}")
    return _renamed(where, columns)


def refused(where: str, what: str, fix: str) -> RecipeError:
    """The error of a condition, in one line; the key of the recipe comes before it."""
    return RecipeError(f"{shown(where)}: {what}; {fix}")


def shown(where: str) -> str:
    """A condition as errors show it: in one line, of a long one the beginning."""
    text = " ".join(where[:1000].split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]} ..."


def _too_deep(where: str) -> RecipeError:
    return refused(where, f"it is nested more than {MAX_DEPTH} levels deep", "write it flatter")


def _too_many(where: str) -> RecipeError:
    what = f"it has more than {MAX_PARTS} columns, operators and functions"
    return refused(where, what, "write alternatives as a list, such as lang in ('en', 'de')")


def _parsed(where: str) -> exp.Expr:
    try:
        tokens = ConditionSql().tokenize(where)
        _check_tokens(where, tokens)
        trees = ConditionSql().parser().parse_into(exp.Condition, tokens, where)
    except errors.TokenError:
        what = "a quote or a comment is never closed"
        raise refused(where, what, "close it; within a text a quote is written twice") from None
    except errors.ParseError as error:
        place = (error.errors[0].get("highlight") or "")[:60] if error.errors else None
        what = f"it cannot be read as SQL{f' near {place!r}' if place else ''}"
        fix = "texts go in single quotes, names that are words of SQL in double quotes"
        raise refused(where, what, fix) from None
    except RecursionError:
        raise _too_deep(where) from None
    if len(trees) != 1 or trees[0] is None:
        raise refused(where, "it is not one condition", f"write one, such as {_EXAMPLE}")
    return trees[0]


# ==== Before parsing ====


def _check_tokens(where: str, tokens: Sequence[Token]) -> None:
    """Refuse what is nested too deeply, and functions of the clock and of several rows, with the reason."""
    depth = signs = 0
    if sum(token.token_type not in _VALUES for token in tokens) > 5 * MAX_PARTS:
        raise _too_many(where)
    kinds = [TokenType.COMMA, *(token.token_type for token in tokens), TokenType.COMMA]
    for token, before, kind, after in zip(tokens, kinds, kinds[1:], kinds[2:], strict=False):
        depth += (kind in _OPENING) - (kind in _CLOSING)
        signs = signs + 1 if kind in _SIGNS else 0
        if depth + signs > MAX_DEPTH:
            raise _too_deep(where)
        if kind in _FOREIGN:
            raise refused(where, f"it has a {token.text[:60]} in it", f"leave it out, as in {_EXAMPLE}")
        if kind == TokenType.VAR and TokenType.DOT not in (before, after):
            name = token.text.lower()
            if name in CLOCK:
                raise refused(where, f"{token.text} is another one in each run", "write the time itself")
            if name in SEVERAL_ROWS and after == TokenType.L_PAREN:
                what = f"{token.text} looks at more than one row"
                raise refused(where, what, "each row must decide by itself")


# ==== The tree ====


def _columns(where: str, tree: exp.Expr) -> Iterator[exp.Expr]:
    """The columns of a condition (`Column`, or `Dot` for a longer path), all else checked on the way."""
    parts = growth = 0
    waiting: list[tuple[exp.Expr, int]] = [(tree, 0)]
    while waiting:
        node, factor = waiting.pop()
        is_column = isinstance(node, (exp.Column, exp.Dot))
        parts += is_column or isinstance(node, (exp.Binary, exp.Unary, exp.Func, exp.In, exp.Between))
        if parts > MAX_PARTS:
            raise _too_many(where)
        if is_column:
            growth += factor
            yield node
        else:
            _check_node(where, node)
            factor = _factor(where, node, factor)
            waiting += [(each, factor) for each in node.iter_expressions(reverse=True)]
        if max(growth, factor) > MAX_GROWTH:
            what = f"it makes texts more than {MAX_GROWTH} times as long as those of the row"
            raise refused(where, what, "join fewer columns, replace by shorter texts")


def _factor(where: str, node: exp.Expr, factor: int) -> int:
    """How many times as long texts may become in the functions around a part of the condition; 0 outside of
    those that join or replace texts."""
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    if isinstance(node, exp.DPipe) or name in {"concat", "concat_ws"}:
        return max(factor, 1)
    if name not in LENGTHENING:
        return factor
    text = node.expressions[-1]
    if not isinstance(text, exp.Literal):
        raise refused(where, f"what {name} writes is no text", f"write it in quotes, as in {_REPLACED}")
    return max(factor, 1) * (len(text.name) + 1)


def _check_node(where: str, node: exp.Expr) -> None:
    if isinstance(node, exp.DataType) and isinstance(node.parent, exp.DataType):
        if isinstance(node.parent.parent, exp.DataType):
            raise refused(where, "it has a type of lists of lists", "cast to a list of single values")
        return
    if isinstance(node, exp.DataTypeParam) and not 0 <= _number(node.name) <= MAX_DIGITS:
        raise refused(where, f"a type has a parameter beyond {MAX_DIGITS}", "leave it out")
    if isinstance(node, NODES):
        return
    if not isinstance(node, exp.Anonymous):
        raise refused(where, f"it has a part of SQL that conditions may not use ({node.key})", "leave it out")
    name = node.name.lower()
    if name not in FUNCTIONS:
        name = shown(name[:60])
        near = difflib.get_close_matches(name, FUNCTIONS, n=1)
        fix = (
            f"did you mean {near[0]}?" if near else "use functions of single values, such as length or lower"
        )
        raise refused(where, f"{name} is no function that conditions may use", fix)
    if not node.expressions and name != "pi":
        raise refused(where, f"{name} is given no value", f"write {name}(score)")


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else -1


def _path(where: str, node: exp.Expr) -> list[exp.Identifier]:
    """The names that lead to a column."""
    found = list[exp.Expr]()
    while isinstance(node, exp.Dot):
        found.insert(0, node.expression)
        node = node.this
    found[:0] = node.parts if isinstance(node, exp.Column) else [node]
    names = [part for part in found if isinstance(part, exp.Identifier) and "end" in part.meta]
    if len(names) < len(found):
        fix = "write paths such as meta.lang, names that are words of SQL in double quotes"
        raise refused(where, "a path has something in it that is no name", fix)
    return names


def _renamed(where: str, columns: Sequence[exp.Expr]) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The text with one name for each path of several keys, and the path of each name."""
    paths = dict[str, tuple[str, ...]]()
    pieces, at = [], 0
    for parts in sorted((_path(where, column) for column in columns), key=_start):
        keys = tuple(part.name for part in parts)
        name = NESTED.join(keys)
        paths[name] = keys
        if len(parts) > 1:
            escaped = name.replace('"', '""')
            pieces += [where[at : _start(parts)], f'"{escaped}"']
            at = parts[-1].meta["end"] + 1
    return "".join([*pieces, where[at:]]), paths


def _start(parts: Sequence[exp.Identifier]) -> int:
    return int(parts[0].meta["start"])
