"""What data is like, before there is a recipe for it: its files and their formats, and what some rows hold.

    found = survey(recipe, has_tokenizer=True)
    found.sample.lengths, found.sample.rejected

Of each file, rows from its beginning and its middle are looked at, `SAMPLE_ROWS` of all files together. With
a tokenizer they go through the stages of a run.

Cost: that of `inspection.py` and `recognize_file` for all files, and about a second for the sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import RowError, SourceError
from ..core.recipe import Layout, Recipe, Repair
from ..core.records import Conversation, Row, SourceInfo
from ..dialects import Form, conversations
from ..dialects.common import check_learnable
from ..dialects.repair import repair, turn_repairs
from ..labeller import Labeller
from ..running.duplicates import conversation_hash
from ..running.forecast import rows_of_files
from ..running.inputs import Work, find_dialect, look_at
from ..sources.reading import peek

SAMPLE_ROWS, LEAST_ROWS = 512, 4
"""Rows that are looked at: of all files, and at least of each."""


@dataclass(frozen=True)
class FileFound:
    """A file: its properties, its dialect, and its rows, counted or estimated."""

    info: SourceInfo
    dialect: str
    rows: int
    counted: bool


@dataclass
class Sample:
    """What some rows hold: numbers of rows, but for `characters` (of the longest conversation) and `lengths`
    (tokens of each sample; none without a tokenizer). `tools` and `reasoning` are of rows that are kept.
    `repairs` are rows by what makes user and assistant take turns. `rejected` are rows by reason, `details`
    what the first of each reason says."""

    rows: int = 0
    tools: int = 0
    reasoning: int = 0
    html: int = 0
    duplicates: int = 0
    characters: int = 0
    repairs: Counter[tuple[str, ...]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    proofs: Counter[str] = field(default_factory=Counter)
    lengths: list[int] = field(default_factory=list)

    @property
    def none_kept(self) -> bool:
        """Whether rows were looked at, and all of them are rejected."""
        return 0 < self.rows == self.rejected.total()

    def reject(self, error: RowError) -> None:
        """Count a rejected row."""
        self.rejected[error.reason] += 1
        self.details.setdefault(error.reason, error.detail)


@dataclass(frozen=True)
class Survey:
    """What was found: the recipe that was tried, its files, what some rows hold, and warnings."""

    recipe: Recipe
    files: Sequence[FileFound]
    sample: Sample
    warnings: Sequence[str]


def survey(recipe: Recipe, *, has_tokenizer: bool) -> Survey:
    """Look at the sources of a recipe. A file that is cut short is read with `salvage`, and files of
    preferences alone with the layout that is theirs; the recipe that is returned says so.

    Raises what `run` raises for wrong files, a wrong tokenizer or a wrong template.
    """
    work = _with_salvage(recipe)
    rows = rows_of_files(work)
    files = [
        FileFound(info, str(work.dialects[info.source]), *rows.get(info.source, (0, True)))
        for info in work.infos
    ]
    names = {file.dialect for file in files}
    if len(names) == 1 and names <= {Layout.preference.value, Layout.kto.value}:
        layout = [Layout(names.pop())]
        work = work._replace(recipe=work.recipe.model_copy(update={"layout": layout}))
    sample = _sample(work, Labeller(work.recipe) if has_tokenizer else None)
    return Survey(work.recipe, files, sample, work.warnings)


def _with_salvage(recipe: Recipe) -> Work:
    """Look at files; if one of them is cut short, at its whole rows."""
    try:
        return look_at(recipe)
    except SourceError as error:
        try:
            return look_at(recipe.model_copy(update={"salvage": True}))
        except SourceError:
            raise error from None


def _sample(work: Work, labeller: Labeller | None) -> Sample:
    found, seen = Sample(), set[bytes]()
    count = max(LEAST_ROWS, SAMPLE_ROWS // max(1, len(work.infos)))
    for info in work.infos[:SAMPLE_ROWS]:
        values = peek(info, count)
        form = find_dialect(info, work.recipe, values)
        for number, value in enumerate(values):
            found.rows += 1
            try:
                read = _look(found, seen, value, form)
                if labeller is not None:
                    _measure(found, labeller, Row(info.source, number, value), form)
            except RowError as error:
                found.reject(error)
                continue
            found.tools += any(_has_tools(each) for each in read)
            found.reasoning += any(message.reasoning for each in read for message in each.messages)
    return found


def _look(found: Sample, seen: set[bytes], value: Any, form: Form) -> Sequence[Conversation]:
    """Return the conversations of a row, and count what may be done to them. Raises `RowError`."""
    read = conversations(value, form)
    for each in read:
        check_learnable(each)
    found.html += any(repair(each, [Repair.strip_html])[1] for each in read)
    found.characters = max(found.characters, *(sum(map(len, _texts(each))) for each in read))
    if names := next(filter(None, (turn_repairs(each.messages) for each in read)), None):
        found.repairs[tuple(names)] += 1
    key = b"".join(map(conversation_hash, read))
    found.duplicates += key in seen
    seen.add(key)
    return read


def _has_tools(conversation: Conversation) -> bool:
    return bool(conversation.tools) or any(message.tool_calls for message in conversation.messages)


def _texts(conversation: Conversation) -> Iterator[str]:
    yield conversation.document or ""
    for message in conversation.messages:
        yield from (message.content or "", message.reasoning or "")


def _measure(found: Sample, labeller: Labeller, row: Row, form: Form) -> None:
    """Take a row through the stages of a run. Raises `RowError`."""
    read, _ = labeller.read(row, form)
    for sample in labeller.together(read):
        found.lengths.append(len(sample.ids))
        found.proofs[sample.sample.proof] += 1
