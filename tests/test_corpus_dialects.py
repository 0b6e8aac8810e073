"""Every data file of the shared corpus: its dialect, its rows, what is kept and what is rejected for which
reason. `python tests/test_corpus_dialects.py` prints the table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from inputs import CORPUS, needs_corpus

from pipeline.contracts import REASONS
from pipeline.dialects import DIALECTS, conversations, normalize, recognize_file
from pipeline.errors import RowError, SourceError
from pipeline.files import split_name
from pipeline.inspection import inspect_source
from pipeline.plan import plan_units
from pipeline.sources import peek, read_slice

NOT_DATA = {"index.shared.json"}


class Line(NamedTuple):
    """One line of the table; `refused` is the message of a file that cannot be read."""

    file: str
    dialect: str
    rows: int
    kept: int
    conversations: int
    rejects: Counter[str]
    refused: str


def names() -> list[str]:
    """All files of the corpus whose suffix says that they hold data."""
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file())
    return [path.relative_to(CORPUS).as_posix() for path in files if _is_data(path.name)]


def _is_data(name: str) -> bool:
    return name not in NOT_DATA and split_name(name)[0] is not None


@cache
def line(name: str) -> Line:
    source = (CORPUS / name).as_posix()
    try:
        info = inspect_source(source)
        dialect = recognize_file(peek(info), source=name)
    except SourceError as error:
        return Line(name, "", 0, 0, 0, Counter(), str(error).replace(f"{CORPUS.as_posix()}/", ""))
    rows = kept = several = 0
    rejects: Counter[str] = Counter()
    for unit in plan_units([info], unit_rows=1000):
        for row in (row for piece in unit.slices for row in read_slice(piece)):
            rows += 1
            try:
                normalize(row.value, dialect)
                several += len(conversations(row.value, dialect, every=True))
                kept += 1
            except RowError as error:
                rejects[error.reason] += 1
    return Line(name, dialect, rows, kept, several, rejects, "")


def table() -> Iterator[str]:
    total: Counter[str] = Counter()
    for name in names():
        found = line(name)
        if found.refused:
            yield f"{name}\n    refused: {found.refused}"
            total["files refused"] += 1
            continue
        why = ", ".join(f"{count} {reason}" for reason, count in found.rejects.most_common())
        several = f", {found.conversations} conversations" if found.conversations != found.kept else ""
        yield f"{name}\n    {found.dialect}: {found.rows} rows, {found.kept} kept{several}; {why or 'none rejected'}"
        total.update({"files": 1, "rows": found.rows, "kept": found.kept, **found.rejects})
    yield ", ".join(f"{key}: {count}" for key, count in total.items())


if __name__ == "__main__":
    for text in table():
        sys.stdout.write(f"{text}\n")
