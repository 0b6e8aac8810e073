"""What to give instead of data that a function in memory does not take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_HINTS = {
    "pandas": "give datasets.Dataset.from_pandas(df), or df.to_dict('records')",
    "pyarrow": "give datasets.Dataset(table), or table.to_pylist()",
    "polars": "give its collect()",
    "numpy": "give its tolist()",
}
"""Package of a type -> the way out."""


def named_with_hint(data: Any) -> str:
    """Return the type of some data, with what to give instead.

    >>> named_with_hint(iter([]))
    'list_iterator; give list(...) of it'
    """
    package = type(data).__module__.partition(".")[0]
    name = type(data).__name__
    if isinstance(data, (str, Path)):
        return f"{name}; premask.run takes files"
    if package in _HINTS:
        return f"{package} {name}; {_HINTS[package]}"
    return f"{name}; give list(...) of it" if hasattr(data, "__next__") else name
