"""Finished outputs from Python: opened, checked, compared.

result = open_output("out/chats")               # premask.open; also "org/name" on the Hub
verify(result).ok, diff("out/before", result)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..output.dataset import open_dataset
from ..review.locate import locate
from .result import Result

if TYPE_CHECKING:
    from ..review.diff import Difference
    from ..review.verify import Report

Named = str | Path | Result
"""An output: its directory, its name on the Hub, or what `run` and `open` returned."""


def open_output(output: str | Path, *, revision: str | None = None) -> Result:
    """Return a finished output: a directory that `premask run` has written, or `org/name` on the Hub, which
    is fetched first; `revision` is its branch, tag or commit there.

    Raises `OutputError` if there is none, or if its manifest is not valid. Shards are read when they are
    asked for.
    """
    place = locate(_name(output), revision)
    return Result(place, open_dataset(place).manifest.as_dict())


def verify(output: Named, *, revision: str | None = None, full: bool = False) -> Report:
    """Return what `premask verify` finds of an output; `ok` says whether all is well, and `findings` what is
    not. `print` shows both.

    `full` has every row whose source is on this machine processed again, not only those of some packs.
    Raises `OutputError` if there is no output that can be checked.
    """
    from ..review.verify import verify as verify_output  # noqa: PLC0415  others need no checks

    return verify_output(_name(output), revision=revision, full=full)


def diff(before: Named, after: Named) -> Difference:
    """Return how two outputs differ: rows, tokens, masks and settings. `equal` says whether they do not;
    `print` shows the rest. Raises `OutputError` if one cannot be read.
    """
    from ..review.diff import compare  # noqa: PLC0415  others need no polars

    return compare(locate(_name(before)), locate(_name(after)))


def _name(output: Named) -> str:
    """Return an output as a command names it. Raises `TypeError` for what is none."""
    if isinstance(output, Result):
        return str(output.output)
    if not isinstance(output, (str, Path)):
        raise TypeError(f"an output is a path, org/name or a Result, not {type(output).__name__}")
    return str(output)
