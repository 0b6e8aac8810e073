"""The early end of a run in which most rows would be refused for open reasoning.

    why = refused_at_once(work, labeller, tasks, tasks[0])      # "112 of the first 200 rows are ...", or ""

With some templates, the prompt at inference opens a block of reasoning. A row without reasoning does not fit
such a prompt, and what to do with it is for the recipe to say (key `open_reasoning`). By default it is
refused. If that would be more than half of the first rows, a run ends before any work, and names the choices.
A run that has finished units from before continues.

Cost: a few renders, if the template opens no block; else a second for the first rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from ..core.errors import RecipeError, RowError
from ..core.recipe import OpenReasoning
from ..core.records import Conversation, Message, Row
from ..dialects import Form
from ..fast.plain_batches import read_batches
from ..labeller import Labeller
from ..masking.reasoning_modes import AUTO, find_mode
from ..masking.template_arguments import arguments_of, is_about_reasoning
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
    return _message(refused, rows, fitting_arguments(labeller))


def count_refused(labeller: Labeller, rows: Iterator[tuple[Row, Form]]) -> tuple[int, int]:
    """Return how many of the first rows are refused for open reasoning, and how many rows were tried.

    It stops once half of `FIRST_ROWS` are not refused.
    """
    refused = others = 0
    for row, dialect in islice(rows, FIRST_ROWS):
        try:
            found, _ = labeller.read(row, dialect)
        except Exception:  # noqa: BLE001  a row that cannot be read, for whatever reason: a run records it
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
    return _refusal(labeller, conversation) == REASON


def _refusal(labeller: Labeller, conversation: Conversation) -> str:
    """Return why a conversation is refused; empty if it is not."""
    try:
        labeller.decide_together([conversation])
    except RowError as error:
        return error.reason
    except Exception:  # noqa: BLE001  a run records any error, and retries the unit
        return "crashed"
    return ""


def _first_rows(work: Work) -> Iterator[tuple[Row, Form]]:
    """Yield the rows of all sources in order, each with its dialect."""
    for unit in work.units:
        for piece in unit.slices:
            dialect = work.dialects[piece.source]
            for batch in read_batches(piece, dialect, FIRST_ROWS):
                for i in range(len(batch)):
                    yield batch.row(i), dialect


def fitting_arguments(labeller: Labeller) -> list[str]:
    """Return the template arguments that have a mode in which the prompt opens no block of reasoning."""
    template, kwargs = labeller.template, labeller.recipe.template_kwargs
    names = [name for name in arguments_of(template) if is_about_reasoning(name)]
    return [name for name in names if kwargs.get(name) != AUTO and _has_fitting_mode(labeller, name)]


def _has_fitting_mode(labeller: Labeller, name: str) -> bool:
    try:
        mode = find_mode(labeller.template, name, renders=labeller.renders, decides=labeller.decide)
    except RecipeError:
        return False
    probe = replace(PROBE, template_kwargs={name: mode.value(reasoning=False)})
    return not _refusal(labeller, probe)


def _message(refused: int, rows: int, arguments: Sequence[str]) -> str:
    modes = "".join(f", or template_kwargs to {{{name}: {AUTO}}}" for name in arguments)
    return (
        f"{refused} of the first {rows} rows have turns without reasoning, but the prompt at inference opens "
        "a block of reasoning; nothing was written: set open_reasoning to compose (the turn closes the block "
        "at once) or as-rendered (the turn is trained as the template shows it in history, behind another "
        f"prompt than inference shows){modes}{' (each row gets the mode that fits)' if modes else ''}"
    )
