"""The recipe keys that compare the texts of rows: with those of earlier rows, and with evaluation sets.

near_duplicates: {threshold: 0.8, over: conversation}
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .source_entry import not_a_switch


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
