"""The recipe keys that compare the texts of rows: with those of earlier rows, and with evaluation sets.

    NearDuplicates  of `near_duplicates: {threshold: 0.8, over: conversation}`
    Decontaminate   of `decontaminate: {sets: [{path: gsm8k.jsonl, columns: [question]}]}`

Both say which text of a row is compared (`Over`).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .source_entry import Entry, Source, not_a_switch


class Over(Enum):
    """Which text of a row is compared: that of all messages but system messages and tool definitions, which
    many rows share; or only that of the messages that are trained."""

    conversation = "conversation"
    trained_text = "trained_text"


class NearDuplicates(BaseModel):
    """When a row is a near duplicate: its text shares so many runs of words with that of an earlier row.

    >>> NearDuplicates(threshold=0.8).shingle
    5
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(
        default=0.7,
        ge=0.5,
        le=1,
        description="Share of the runs of words of both rows that they have in common (Jaccard similarity).",
    )
    over: Over = Field(default=Over.conversation, description="Which text of a row is compared.")
    shingle: int = Field(default=5, ge=1, le=50, description="Words in a run.")
    min_words: int = Field(
        default=20, ge=1, le=1_000_000, description="Rows with fewer words have no near duplicates."
    )

    @field_validator("threshold", "shingle", "min_words", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return not_a_switch(value)

    @model_validator(mode="after")
    def _has_a_run(self) -> NearDuplicates:
        if self.min_words < self.shingle:
            raise ValueError(
                f"min_words is {self.min_words}, fewer than the {self.shingle} words of a shingle; raise it"
            )
        return self


_NOT_OF_A_SET = ("repeat", "share", "dialect", "fields", "map", "keep")


class Decontaminate(BaseModel):
    """When a row is contaminated: it has so many of the words of a text of an evaluation set, in runs of some
    words.

    >>> Decontaminate(sets=["gsm8k.jsonl"]).ngram
    8
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sets: list[Entry] = Field(
        min_length=1,
        description="Evaluation sets: files, patterns, URLs or Hub datasets, as in `sources`; `columns` are "
        "those whose text is compared, by default all.",
    )
    ngram: int = Field(default=8, ge=1, le=50, description="Words in a run.")
    overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Share of the words of an evaluation text that lie in runs which the row has, too.",
    )
    over: Over = Field(default=Over.conversation, description="Which text of a row is compared.")

    @field_validator("ngram", "overlap", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return not_a_switch(value)

    @field_validator("sets")
    @classmethod
    def _only_read(cls, value: list[Source]) -> list[Source]:
        given = [key for each in value for key in _NOT_OF_A_SET if key in each.model_fields_set]
        if given:
            raise ValueError(f"'{given[0]}' is for sources that are trained; leave it out")
        return value
