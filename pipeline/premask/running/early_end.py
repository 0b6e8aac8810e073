"""The early end of a run in which most rows would be refused for open reasoning.

    why = refused_at_once(work, labeller, tasks, tasks[0])      # "112 of the first 200 rows are ...", or ""

With some templates, the prompt at inference opens a block of reasoning. A row without reasoning does not fit
such a prompt, and what to do with it is for the recipe to say (key `open_reasoning`). By default it is
refused. If that would be more than half of the first rows, a run ends before any work, and names the choices.
A run that has finished units from before continues.

Cost: two renders, if the template opens no block; else a second for the first rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ..core.errors import RowError
from ..core.recipe import OpenReasoning
from ..core.records import Conversation, Message, Row
from ..dialects import Form
from ..fast.plain_batches import read_batches
from ..labeller import Labeller
from .crashes import begun_here, ended_a_run, is_done
from .inputs import Work
from .tasks import Task

REASON = "open_reasoning"
"""The reason of the rejects that are counted."""

FIRST_ROWS = 200
"""Rows that are tried before any work."""

PROBE = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
"""A conversation without reasoning."""


def refused_at_once(work: Work, labeller: Labeller, tasks: Sequence[Task], own: Task) -> str:
    """Return why a run ends before any work; empty if it does not.

    `tasks` are those of all units, and `own` is one of this process.
    """
    if labeller.recipe.open_reasoning is not OpenReasoning.reject or not _is_refused(labeller, PROBE):
        return ""
    if any(ended_a_run(task.failures) for task in tasks):
        return ""  # it may have been one of these rows
    with begun_here(own.failures):
        refused, rows = count_refused(labeller, _first_rows(work))
    if 2 * refused <= rows or any(map(is_done, tasks)):
        return ""
    return _message(refused, rows)


def count_refused(labeller: Labeller, rows: Iterator[tuple[Row, Form]]) -> tuple[int, int]:
    """Return how many of the first rows are refused for open reasoning, and how many rows were tried.

    It stops once half of `FIRST_ROWS` are not refused.
    """
    refused = others = 0
    for row, dialect in islice(rows, FIRST_ROWS):
        try:
            found, _ = labeller.read(row, dialect)
        except RowError:
            found = []
        if any(_is_refused(labeller, conversation) for conversation in found):
            refused += 1
        else:
            others += 1
        if 2 * others >= FIRST_ROWS:
            break
    return refused, refused + others


def _is_refused(labeller: Labeller, conversation: Conversation) -> bool:
    """Whether the first thing that is wrong with a conversation is open reasoning."""
    try:
        labeller.decide_together([conversation])
    except RowError as error:
        return error.reason == REASON
    except Exception:  # noqa: BLE001  a run records any error, and retries the unit
        return False
    return False


def _first_rows(work: Work) -> Iterator[tuple[Row, Form]]:
    """Yield the rows of all sources in order, each with its dialect."""
    for unit in work.units:
        for piece in unit.slices:
            dialect = work.dialects[piece.source]
            for batch in read_batches(piece, dialect, FIRST_ROWS):
                for i in range(len(batch)):
                    yield batch.row(i), dialect


def _message(refused: int, rows: int) -> str:
    return (
        f"{refused} of the first {rows} rows have turns without reasoning, but the prompt at inference opens "
        "a block of reasoning; nothing was written: set open_reasoning to compose (the block is closed at "
        "once) or as-rendered (as the template shows the turns in history), or template_kwargs such as "
        "enable_thinking: auto if the template has a mode that fits"
    )
