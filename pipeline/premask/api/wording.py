"""Errors in the words of Python: arguments instead of options, and no names of temporary files.

with in_python({"premask-x1/template-12ab.jinja": "given as text"}):
    Labeller(recipe)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..core.errors import PremaskError

_SWITCHES = ("overwrite", "allow-map")
_OPTION = re.compile(r"(?<![\w-])(?<!premask run )--([a-z][a-z-]*[a-z])")


@contextmanager
def in_python(names: Mapping[str, str] | None = None) -> Iterator[None]:
    """Give errors of the `with` block other words; `names` are those to be shown in place of paths."""
    try:
        yield
    except PremaskError as error:
        error.args = tuple(_worded(each, names or {}) for each in error.args)
        raise


def _worded(text: object, names: Mapping[str, str]) -> object:
    """Return a message with arguments in place of options.

    >>> _worded("choose another --output, or pass --overwrite to replace it", {})
    'choose another output, or pass overwrite=True to replace it'
    """
    if not isinstance(text, str):
        return text
    for path, name in names.items():
        text = text.replace(path, name)
    return _OPTION.sub(_argument, text)


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return f"{name}=True" if option[1] in _SWITCHES else name
