"""One entry of a recipe's `sources`: where the rows are, which of them are taken, and how they are read.

    Source     files, a pattern, a URL or a Hub dataset, with all that may be said of it
    FieldMap   for rows of no known format: which column or path holds what
    DialectName  the formats that are known

A recipe may write a source as a string; that is its path.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from .quantities import count
from .redact import shown_url
from .roles import CALL_ROLE, ROLES


class DialectName(Enum):
    """The format of the sources; `auto` looks at each file, and takes none for documents or trajectories."""

    auto = "auto"
    preference = "preference"
    kto = "kto"
    toolbench = "toolbench"
    trees = "trees"
    chatgpt = "chatgpt"
    gemini = "gemini"
    responses = "responses"
    speakers = "speakers"
    sharegpt = "sharegpt"
    anthropic = "anthropic"
    openai = "openai"
    statements = "statements"
    pairs = "pairs"
    bfcl = "bfcl"
    dolly = "dolly"
    alpaca = "alpaca"
    prompt_completion = "prompt_completion"
    question_answer = "question_answer"
    transcript = "transcript"
    document = "document"
    tokens = "tokens"
    trajectory = "trajectory"


def split_path(path: str) -> list[str | int]:
    """Return the steps of a path of `fields`: names of keys and places in lists. Raises `ValueError` if it is
    not a path.

    >>> split_path("answers[0].text")
    ['answers', 0, 'text']
    """
    steps: list[str | int] = []
    for part in path.split("."):
        found = re.fullmatch(r"([^\[\]]*)((?:\[-?\d+\])*)", part)
        if found is None or not (found[1] or (found[2] and not steps)):
            raise ValueError(
                f"'{path}' is not a path; write names joined by dots, such as data.turns[0].text"
            )
        steps += [found[1]] if found[1] else []
        steps += [int(place) for place in re.findall(r"-?\d+", found[2])]
    return steps


def not_a_switch(value: Any) -> Any:
    """Return the value of a key for numbers. Raises `ValueError` for true and false, read as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"write a number, not {str(value).lower()}")  # noqa: TRY004  pydantic's way
    return value


class FieldMap(BaseModel):
    """Where the rows of a source have what: either a list of turns, or question and answer in columns. Its
    values are paths, such as `data.turns[0].text`.

    >>> FieldMap(user="question", assistant="answers[0].text").user
    'question'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: str | None = Field(default=None, description="Path of the list of turns.")
    role: str | None = Field(default=None, description="Path of who speaks within a turn; default: role.")
    content: str | None = Field(default=None, description="Path of the text within a turn; default: content.")
    roles: dict[str, str] | None = Field(
        default=None,
        description="Names of speakers -> user, assistant, system, developer, tool, or tool_call (calls in "
        "JSON).",
    )
    system: str | None = Field(default=None, description="Path of the system text beside the turns.")
    user: str | None = Field(
        default=None, description="Path of the question, where there is no list of turns."
    )
    assistant: str | None = Field(default=None, description="Path of the answer, or of a list of answers.")
    reasoning: str | None = Field(
        default=None, description="Path of the answer's reasoning; with messages, within a turn."
    )
    tools: str | None = Field(default=None, description="Path of the list of tools.")
    id: str | None = Field(default=None, description="Path of the row's id.")

    @field_validator("messages", "role", "content", "system", "user", "assistant", "reasoning", "tools", "id")
    @classmethod
    def _a_path(cls, value: str | None) -> str | None:
        if value is not None:
            split_path(value)
        return value

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, role in (value or {}).items():
            if role not in (*ROLES, CALL_ROLE):
                known = ", ".join((*ROLES, CALL_ROLE))
                raise ValueError(f"'{role}' (of {name}) is not a role; known are {known}")
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> FieldMap:
        if (self.messages is None) == (self.assistant is None):
            raise ValueError("name either 'messages', or 'assistant' (and 'user')")
        wrong = ("user",) if self.messages is not None else ("role", "content", "roles")
        if given := [key for key in wrong if getattr(self, key) is not None]:
            other = "messages" if self.messages is not None else "assistant"
            raise ValueError(f"'{given[0]}' does not go with '{other}'")
        return self

    def paths(self) -> list[tuple[str, str]]:
        """Return the keys that are paths, each with its path; those of a turn come last."""
        keys = ("messages", "system", "user", "assistant", "tools", "id", "role", "content", "reasoning")
        return [(key, path) for key in keys if (path := getattr(self, key)) is not None]


class Source(BaseModel):
    """One entry of `sources`: files, a pattern, a URL or a dataset of the Hub, and what is taken of it.

    >>> Source(path="a.jsonl").model_dump(), Source(path="a.jsonl", limit=5).model_dump()
    ('a.jsonl', {'path': 'a.jsonl', 'limit': 5})
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        description="File, directory, glob pattern, URL, or Hub dataset as OWNER/NAME.", repr=False
    )
    config: str | None = Field(default=None, description="Configuration of a Hub dataset.")
    split: str | None = Field(
        default=None, description="Split of a Hub dataset; by default train, or the only one there is."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit of a Hub dataset.")
    streaming: bool = Field(
        default=False, description="Read URLs and Hub datasets through the network, without a local copy."
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="Only the first rows of the files, so many of all together, such as 20k.",
    )
    where: str | None = Field(
        default=None, description="Only rows for which this SQL expression over their columns is true."
    )
    sample: float | None = Field(
        default=None, gt=0, le=1, description="A share of the rows, chosen by a hash of seed, file and row."
    )
    columns: list[str] | None = Field(
        default=None, min_length=1, description="Only these columns of each row are read."
    )
    delimiter: str | None = Field(
        default=None,
        description="What separates the cells of CSV, such as ';' or 'tab'; default: what its header shows.",
    )
    map: str | None = Field(
        default=None,
        description="Function that makes rows of its rows, as MODULE:FUNCTION; default: the recipe's.",
    )
    keep: str | None = Field(
        default=None, description="Only rows for which this is true of their tokens; default: the recipe's."
    )
    repeat: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="How often its samples are used (upsampling): 2 is twice, 0.5 one row in two, chosen by "
        "the seed.",
    )
    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Its share of the train split, in mix_by: rows are left out or repeated to reach it.",
    )
    dialect: DialectName | None = Field(
        default=None, description="Conversation format; default: the recipe's."
    )
    fields: FieldMap | None = Field(
        default=None, description="Where its rows have what; default: the recipe's."
    )

    @field_validator("limit", mode="before")
    @classmethod
    def _counts(cls, value: Any) -> Any:
        return count(not_a_switch(value))

    @field_validator("delimiter")
    @classmethod
    def _one_sign(cls, value: str | None) -> str | None:
        sign = "\t" if value in ("tab", "\\t") else value
        if sign is not None and (len(sign) != 1 or sign in '"\r\n \ufeff' or sign.isalnum()):
            raise ValueError("write one sign, such as ';' or '|', or the word tab")
        return sign

    @field_validator("sample", "repeat", "share", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return not_a_switch(value)

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """What is set, as recipes write it: just the path if that is all. As JSON, which is written and
        shown, a URL is without its credentials."""
        data: dict[str, Any] = handler(self)
        plain: dict[str, Any] = handler(Source.model_construct(path=self.path))
        changed = {key: value for key, value in data.items() if key == "path" or value != plain[key]}
        if info.mode == "json":
            changed["path"] = shown_url(self.path)
        return changed["path"] if len(changed) == 1 else changed

    @model_validator(mode="after")
    def _one_way(self) -> Source:
        check_form(self.dialect, self.fields)
        return self


def check_form(dialect: DialectName | None, fields: FieldMap | None) -> None:
    """Raise `ValueError` where both a dialect and a field map say how rows are read."""
    if fields is not None and dialect not in (None, DialectName.auto):
        raise ValueError("'fields' says how rows are read, and so does 'dialect'; leave one of them out")


def _entry(value: Any) -> Any:
    """An entry of `sources` that is a string as a mapping with that path."""
    if not isinstance(value, (str, dict, Source)):
        raise ValueError("it is neither a path nor a mapping with a 'path'")  # noqa: TRY004  pydantic's way
    return {"path": value} if isinstance(value, str) else value


Entry = Annotated[Source, BeforeValidator(_entry, json_schema_input_type=str | Source)]
"""What a list of sources holds."""
