"""The YAML of a recipe -> its keys: plain values only, each key once, bounded in size and depth.

    keys_of(Path("recipe.yaml"))        # {"sources": ["chats.jsonl"], "max_length": 4096}

Values are what JSON has: texts, numbers, true, false, null, lists and mappings. So a recipe is the same
when it is read back from a manifest; a date is a text. Anchors and merge keys may be used, but not to write
much by little (`_count`). Errors say the line.

Cost: a millisecond a page; a recipe has at most `MOST_BYTES`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .errors import RecipeError, cause_of, one_line
from .text import visible

MOST_BYTES = 1_000_000
"""Size of the largest recipe."""

MOST_VALUES = 200_000
"""Values of the largest recipe, with those that aliases repeat."""

MOST_LEVELS = 64
"""Levels of the deepest recipe."""

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(_PREFIX + name for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge"))


class _Loader(yaml.SafeLoader):
    """Reads plain values; a date, and a lone `=`, are texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag in _PLAIN]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def keys_of(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file. Raises `RecipeError` if it cannot be read as such."""
    text = _text(path)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            _check(path, node)
        data = None if node is None else loader.construct_document(node)
    except RecipeError:
        raise
    except RecursionError:
        raise _unreadable(path, "it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        raise _unreadable(path, _marked(error)) from None
    except yaml.YAMLError as error:
        raise _unreadable(path, visible(one_line(error, 200))) from None
    except ValueError:
        raise _unreadable(path, "a number has too many digits; write a text in quotes") from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"recipe {path} holds no keys; it must be a YAML mapping such as 'max_length: 4096'"
        )
    return {str(key): value for key, value in data.items()}


def _text(path: Path) -> str:
    """Return the text of a file; nothing but a file is opened, so that nothing is waited for."""
    try:
        about = path.stat()
        wrong = _wrong_file(about)
        data = b"" if wrong else path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist; check the path") from None
    except OSError as error:
        raise _unreadable(path, cause_of(error)) from None
    except ValueError as error:  # a name that no file can have
        raise _unreadable(path, one_line(error)) from None
    if wrong:
        raise _unreadable(path, wrong)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 text (byte {error.start})") from None


def _wrong_file(about: os.stat_result) -> str:
    """Return why something is no recipe, by its kind and size; empty if it may be one."""
    if stat.S_ISDIR(about.st_mode):
        return "it is a directory, not a file"
    if not stat.S_ISREG(about.st_mode):
        return "it is a pipe or a device, not a file"
    too_large = about.st_size > MOST_BYTES
    return "it has more than 1 MB; a recipe has settings, and names data files" if too_large else ""


def _unreadable(path: Path, why: str) -> RecipeError:
    return RecipeError(f"recipe {path} cannot be read: {why}")


def _marked(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, and where, without the text around it."""
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    what = visible(" ".join(str(error.problem or error.context or "it is not YAML").split()))[:200]
    if "'\\t'" in what:
        what = "there is a tab; write spaces"
    if "another document" in what:
        what = "a second document begins; a recipe is one"
    return f"{where}{what}"


# ==== What is checked before values are made ====


def _check(path: Path, node: yaml.Node) -> None:
    """Check tags, keys, and how much there is. Raises `RecipeError`."""
    if _count(path, node, {}, ()) > MOST_VALUES:
        raise _unreadable(path, f"its aliases stand for more than {MOST_VALUES:,} values")
    for each in _nodes(node, set()):
        if each.tag not in _PLAIN:
            tag = visible(each.tag.replace(_PREFIX, "!!"))[:80]
            raise _unreadable(path, f"{_line(each)}: the tag {tag} is not for recipes; write a plain value")
        if isinstance(each, yaml.MappingNode):
            _check_keys(path, each)


def _count(path: Path, node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Return the number of values in a node, where aliases count as often as they are written."""
    if id(node) in above:
        raise _unreadable(path, f"{_line(node)}: an alias contains itself")
    if len(above) > MOST_LEVELS:
        raise _unreadable(path, f"{_line(node)}: it is nested more than {MOST_LEVELS} levels deep")
    if id(node) not in known:
        known[id(node)] = 1 + sum(_count(path, each, known, (*above, id(node))) for each in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _nodes(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    """Yield each node once."""
    if id(node) not in seen:
        seen.add(id(node))
        yield node
        for each in _children(node):
            yield from _nodes(each, seen)


def _check_keys(path: Path, node: yaml.MappingNode) -> None:
    """Check that no key is there twice: YAML would take the last one."""
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _unreadable(path, f"{_line(key)}: a key must be a text")
        if key.tag == f"{_PREFIX}merge":
            continue
        if key.value in first:
            raise RecipeError(
                f"recipe {path}: {_line(key)}: key '{visible(key.value)[:80]}' is there twice, first on "
                f"{_line(first[key.value])}; remove one of them"
            )
        first[key.value] = key


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
