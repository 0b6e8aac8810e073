"""The recipe: every setting of a run, as one pydantic model, from a YAML file or from flags.

    sources: [chats/*.jsonl]
    tokenizer: Qwen/Qwen3-0.6B
    max_length: 8192
    output: out/chats

The keys of a recipe decide every byte of the output, except `output`, `engine`, `verify` and `cache`; `card`
decides those of README.md and manifest.json alone. How many workers there are depends on the machine, so
`workers` is an option of the command and not a key. The options of the command line are made from these
models (`cli/recipe_options.py`): name, type, choices, default and description.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from .comparing import Decontaminate, NearDuplicates
from .defaults import MAX_ROW_BYTES
from .quantities import count, size
from .redact import shown_urls
from .roles import ROLES
from .source_entry import DialectName, Entry, FieldMap, check_form, not_a_switch
from .text import is_encodable

COLUMNS = frozenset(
    {
        *("input_ids", "labels", "position_ids", "seq_lengths", "length", "attention_mask"),
        *("loss_weights", "assistant_masks", "completion_mask"),
    }
)
"""Columns of an output that no token column can be (`contract.py`)."""


class MixBy(Enum):
    """What shares, the temperature and the budget of a mixture count, in train and after the mask."""

    tokens = "tokens"
    trained_tokens = "trained_tokens"
    rows = "rows"


class Layout(Enum):
    """The layouts written: `packed` rows of whole samples, `unpacked` rows of one sample. Of rows with
    preferences: `preference` rows of a chosen and a rejected answer, `kto` rows of one answer and whether it
    is a good one; either of them alone."""

    packed = "packed"
    unpacked = "unpacked"
    preference = "preference"
    kto = "kto"


class TooLong(Enum):
    """What happens to a sample longer than `max_length`."""

    reject = "reject"
    truncate = "truncate"
    split = "split"


class PadRows(Enum):
    """Whether packs have any number of tokens up to `max_length`, or exactly that many, for collators that
    only stack rows. Rows of the unpacked layout are never padded."""

    none = "none"
    to_length = "to_length"


class ExtraColumn(Enum):
    """Columns that say of each token whether it is trained, for older trainers."""

    assistant_masks = "assistant_masks"
    completion_mask = "completion_mask"


class History(Enum):
    """How to train turns that the template shows differently once they are history."""

    split = "split"
    last = "last"
    as_rendered = "as-rendered"


class OpenReasoning(Enum):
    """What happens to a turn without reasoning whose prompt at inference opens a reasoning block, although
    the template shows the turn without one."""

    reject = "reject"
    compose = "compose"
    as_rendered = "as-rendered"


class OnDropped(Enum):
    """What happens to a row with text that the template does not print, in a trained turn or before one.
    Earlier reasoning that the template cuts from history is always only counted."""

    reject = "reject"
    count = "count"


class Seam(Enum):
    """Which ids the tokens at the edge of a completion have: those of inference, where the prompt and the
    completion are encoded apart, or those of the whole text, where a straddling token is not trained."""

    prompt = "prompt"
    template = "template"


class ControlTokens(Enum):
    """What happens to control-token strings in the content of a message."""

    text = "text"
    reject = "reject"
    parse = "parse"


class Mask(Enum):
    """How the trained text is found: proved by provenance and inference, or by the template's own
    `{% generation %}` tags, which are trusted."""

    provenance = "provenance"
    generation_tags = "generation-tags"


class EngineChoice(Enum):
    """What turns text into ids: the reference `tokenizers`, or `gigatoken`, which is faster and gives the
    same ids; `auto` uses it where that is proved."""

    auto = "auto"
    tokenizers = "tokenizers"
    gigatoken = "gigatoken"


class SplitBy(Enum):
    """What keeps rows together when they are assigned to splits: rows that agree in it are in one split.
    `first_user` is the text of the first user turn, ignoring case and white space; `id` the row's own id
    (rows without one use their first user turn); `conversation` all of it."""

    first_user = "first_user"
    id = "id"
    conversation = "conversation"


class Duplicates(Enum):
    """What happens to a duplicate: a row with the conversation of an earlier row."""

    keep = "keep"
    drop = "drop"


class Turns(Enum):
    """Which turns of a conversation are trained."""

    all = "all"
    last = "last"


class Train(BaseModel):
    """What is trained. A row's own flags (`train`, `weight`, `loss`) can only exclude turns.

    >>> Train(roles=["assistant", "tool"]).reasoning
    True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: list[str] = Field(
        default_factory=lambda: ["assistant"],
        min_length=1,
        description="Roles; of roles other than assistant only their own text is trained.",
    )
    turns: Turns = Field(default=Turns.all, description="All turns of these roles, or the last one.")
    reasoning: bool = Field(default=True, description="The text of a turn's reasoning field.")
    empty_reasoning: bool = Field(
        default=True, description="The empty reasoning block that the template prints without reasoning."
    )
    text: bool = Field(default=True, description="The text of a turn's content.")
    tool_calls: bool = Field(default=True, description="A turn's tool calls, with the markers around them.")
    end_of_turn: bool = Field(default=True, description="The string that ends a turn.")

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: list[str]) -> list[str]:
        unknown = [role for role in value if role not in ROLES]
        if unknown:
            raise ValueError(f"unknown role {unknown[0]}; known are {', '.join(ROLES)}")
        return value


class Paths(Enum):
    """Which conversations are read from a row that holds several: a message tree, or a list of answers."""

    best = "best"
    all = "all"


class Repair(Enum):
    """What may be fixed in a conversation before the template sees it (`dialects/repair.py`)."""

    fix_mojibake = "fix_mojibake"
    strip_html = "strip_html"
    strip_empty_turns = "strip_empty_turns"
    drop_leading_assistant = "drop_leading_assistant"
    merge_consecutive = "merge_consecutive"
    drop_trailing_user = "drop_trailing_user"


class Card(BaseModel):
    """What the dataset card says beyond what the run knows. It changes no shard: if nothing else in the
    recipe has changed, a run rewrites README.md and manifest.json only.

    >>> Card(license="Apache-2.0", language=["en"]).shown()
    {'license': 'apache-2.0', 'language': ['en']}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    license: str | None = Field(
        default=None,
        pattern="^[A-Za-z0-9][A-Za-z0-9.+-]*$",
        description="Licence of the data by its Hub or SPDX name; written in lower case, as on the Hub.",
    )
    language: list[str] = Field(
        default_factory=list, description="Languages of the data, such as en, de, zh-Hant."
    )
    pretty_name: str | None = Field(default=None, description="Title of the dataset.")
    source_datasets: list[str] = Field(
        default_factory=list, description="Datasets that the sources come from, by their Hub names."
    )
    base_model: str | None = Field(
        default=None,
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$",
        description="Model whose tokenizer this is, by its Hub name; known if the tokenizer is given by it.",
    )
    tags: list[str] = Field(default_factory=list, description="Tags in addition to those that premask sets.")
    description: str | None = Field(default=None, description="Plain text at the top of the card.")
    example: bool = Field(default=True, description="Show a short row of the data and what is trained of it.")

    @field_validator("license")
    @classmethod
    def _in_lower_case(cls, value: str | None) -> str | None:
        return value if value is None else value.lower()

    @field_validator("language")
    @classmethod
    def _codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if not re.fullmatch("[A-Za-z]{2,12}(-[A-Za-z0-9]{2,8})*", code):
                raise ValueError(f"'{code}' is not a language code; write it like en, de or zh-Hant")
        return value

    @field_validator("pretty_name", "source_datasets", "tags")
    @classmethod
    def _one_line_each(cls, value: str | list[str] | None) -> str | list[str] | None:
        for text in [value] if isinstance(value, str) else value or []:
            if not text.strip() or not text.isprintable():
                raise ValueError("it must be one line of text, without control characters")
        return shown_urls(value) if isinstance(value, str) else value and [*map(shown_urls, value)]

    def shown(self) -> dict[str, Any]:
        """The fields that are set, as JSON values: all that a card and a manifest show."""
        return self.model_dump(mode="json", exclude_defaults=True)


OTHER_KEYS = frozenset({"output", "engine", "verify", "cache", "card"})
"""Keys that change no byte of the shards, so they are not part of a recipe's identity."""


LAYING_OUT_KEYS = ("layout", "shuffle", "pad_rows", "pad_to_multiple", "extra_columns", "pack_window")
"""Keys that decide how samples are laid out, but not which there are."""

REPACK_KEYS = ("max_length", *LAYING_OUT_KEYS, "card", "output")
"""Keys that may be others where the samples of an output are packed again."""


class Recipe(BaseModel):
    """Every setting of a run; the command line has an option for each.

    >>> Recipe(sources=["a.jsonl"], tokenizer="tok", output="out").max_length
    4096
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: list[Entry] = Field(
        min_length=1,
        description="Input files and glob patterns, in order; each a path, or a mapping with more settings.",
    )
    dialect: DialectName = Field(default=DialectName.auto, description="Conversation format of the sources.")
    fields: FieldMap | None = Field(
        default=None,
        description="Where rows of no known format have what: messages, role, content, roles; or user, "
        "assistant; and system, tools, id.",
    )
    paths: Paths = Field(
        default=Paths.best,
        description="Which conversations of a row that holds several (trees, lists of answers) are read.",
    )
    repair: list[Repair] = Field(
        default_factory=list,
        description="What is fixed in conversations before the template sees them.",
    )
    max_row_bytes: int = Field(
        default=MAX_ROW_BYTES,
        ge=1,
        le=1_000_000_000,
        description="Bytes of the largest row that is read, such as 64MB; larger ones are rejected.",
    )
    salvage: bool = Field(
        default=False,
        description="Read the whole rows of JSON and JSONL files that are cut short; report the loss.",
    )
    map: str | None = Field(
        default=None,
        description="Function that makes rows of rows before they are read, as MODULE:FUNCTION; it runs only "
        "with --allow-map.",
    )
    tokenizer: str = Field(description="Directory or Hub id of the tokenizer.")
    chat_template: str | None = Field(
        default=None,
        description="Jinja file, or name of a built-in template, instead of the tokenizer's own.",
    )
    template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the chat template, such as enable_thinking: false."
    )
    date: datetime.date = Field(
        default=datetime.date(2025, 1, 1), description="The current date, for templates that print one."
    )
    max_length: int = Field(
        default=4096,
        ge=2,
        lt=2**31,
        description="Maximum tokens of a pack, and so of a sample; 4k is 4000, and 4Ki is 4096.",
    )
    too_long: TooLong = Field(default=TooLong.reject, description="What happens to longer samples.")
    history: History = Field(
        default=History.split,
        description="How to train turns that the template shows differently as history.",
    )
    mask: Mask = Field(
        default=Mask.provenance,
        description="How the trained text is found: proved, or by the template's tags.",
    )
    open_reasoning: OpenReasoning = Field(
        default=OpenReasoning.reject,
        description="What happens to turns without reasoning behind a prompt that opens a reasoning block.",
    )
    on_dropped: OnDropped = Field(
        default=OnDropped.reject,
        description="What happens to rows with text that the template does not print.",
    )
    seam: Seam = Field(
        default=Seam.prompt,
        description="Ids at the edge of a completion: as at inference, or as the whole text gives them.",
    )
    train: Train = Field(default_factory=Train, description="What is trained: roles, turns, parts of a turn.")
    leave_out: list[str] = Field(
        default_factory=list,
        description="Strings that the template prints inside completions and that are not trained.",
    )
    append_eos: bool = Field(
        default=False,
        description="End samples with eos where the template ends no turn (Alpaca, Falcon styles).",
    )
    loss_weights: bool | Literal["per_sample"] = Field(
        default=False,
        description="Write a column with the loss weights of rows, messages and parts; per_sample divides "
        "them by the trained tokens of each sample.",
    )
    end_of_turn: list[str] = Field(
        default_factory=list,
        description="Strings that end an assistant turn, instead of those found by probing.",
    )
    control_tokens: ControlTokens = Field(
        default=ControlTokens.text, description="How control-token strings in message content are encoded."
    )
    keep: str | None = Field(
        default=None,
        description="Only rows for which this SQL expression over their tokens, roles and turns is true.",
    )
    duplicates: Duplicates = Field(
        default=Duplicates.keep,
        description="What happens to rows with the conversation of an earlier row; always counted.",
    )
    near_duplicates: NearDuplicates | None = Field(
        default=None,
        description="Leave out rows whose text is nearly that of an earlier row: threshold, over, shingle, "
        "min_words.",
    )
    decontaminate: Decontaminate | None = Field(
        default=None,
        description="Leave out rows that share text with evaluation sets: sets, ngram, overlap, over.",
    )
    mix_by: MixBy = Field(
        default=MixBy.tokens, description="What the shares of sources, temperature and budget count."
    )
    budget: int | None = Field(
        default=None,
        ge=1,
        description="Size of the train split, such as 20M tokens; rows are left out by a hash until it fits.",
    )
    temperature: float | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Gives each source a share by its size to the power of 1/T: 1 as they are, high values "
        "even.",
    )
    max_repeat: float = Field(
        default=4.0,
        ge=1,
        le=1000,
        description="How often a row is used at most, to reach a share or with a temperature.",
    )
    splits: dict[str, float] = Field(
        default_factory=dict,
        description="Splits in addition to train, and the share of rows that each gets.",
    )
    split_by: SplitBy = Field(
        default=SplitBy.first_user, description="Rows that agree in this are in the same split."
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Seed of splits, upsampling, sampling and the order if shuffled.",
    )
    layout: list[Layout] = Field(
        default_factory=lambda: [Layout.packed], min_length=1, description="Layouts to write."
    )
    shuffle: bool = Field(
        default=False,
        description="Pack samples in a random order over the whole input, which the seed decides.",
    )
    pad_rows: PadRows = Field(
        default=PadRows.none,
        description="Whether packs are filled up to max_length with a document of pad tokens.",
    )
    pad_to_multiple: int | None = Field(
        default=None,
        ge=2,
        description="Number of which the length of each sample in a pack is made a multiple with pad tokens, "
        "for context and sequence parallelism.",
    )
    extra_columns: list[ExtraColumn] = Field(
        default_factory=list,
        description="Columns that repeat the labels as a mask, for older trainers.",
    )
    token_columns: list[str] = Field(
        default_factory=list,
        description="Columns with a number of each token that rows of tokens bring; logprobs unless given, "
        "if the dialect trajectory is named.",
    )
    pack_window: int = Field(
        default=16_000_000,
        ge=1,
        description="Tokens packed together at a time, such as 16M; bounds the memory of a worker.",
    )
    unit_rows: int | None = Field(
        default=None,
        ge=1,
        description="About how many input rows a unit of work has, such as 10k; unless given, as many as "
        "have 48 MB of text. One unit makes one shard.",
    )
    engine: EngineChoice = Field(
        default=EngineChoice.auto,
        description="What turns text into ids; auto is gigatoken where proved.",
    )
    verify: float = Field(
        default=0.002,
        ge=0,
        le=1,
        description="Share of rows that are rendered and encoded again by the reference and compared; for "
        "one in eight of them the mask is decided again as well.",
    )
    cache: str | None = Field(
        default=None,
        description="Directory that keeps tokenized rows, so that runs with other splits, repeats or layouts "
        "need not tokenize them again.",
    )
    card: Card = Field(
        default_factory=Card,
        description="Fields of the dataset card: license, language, pretty_name, source_datasets, "
        "base_model, tags, description, example.",
    )
    output: str = Field(description="Directory to write, or the URL of a folder in a store.")

    @field_validator("seed", "verify", "temperature", "max_repeat", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return not_a_switch(value)

    @field_validator("max_length", "pad_to_multiple", "pack_window", "unit_rows", "budget", mode="before")
    @classmethod
    def _counts(cls, value: Any) -> Any:
        return count(not_a_switch(value))

    @field_validator("max_row_bytes", mode="before")
    @classmethod
    def _sizes(cls, value: Any) -> Any:
        return size(not_a_switch(value))

    @field_validator("date", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        is_day = isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value.strip())
        if not (is_day or type(value) is datetime.date):
            raise PydanticCustomError("date_type", "a date")  # a number would be one, in seconds since 1970
        return value

    @field_validator("tokenizer", "chat_template", "cache", "output")
    @classmethod
    def _no_empty_name(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("it is empty; write a path or a name")
        if value is not None and ("\0" in value or not is_encodable(value)):
            raise ValueError("no file can have this name, or it is not UTF-8; write another one")
        return value

    @field_validator("output")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if not value.strip("/.") or value.endswith(("/..", "/.")):
            raise ValueError(f"'{value:.80}' names no folder of its own; write a path such as out/chats")
        return value

    @field_validator("template_kwargs")
    @classmethod
    def _json(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, each in value.items():
            try:
                same = json.loads(json.dumps(each, allow_nan=False)) == each
            except (TypeError, ValueError, RecursionError):
                same = False
            if not same:
                raise ValueError(
                    f"the value of '{name:.80}' is none that JSON has; write text, numbers or lists"
                )
        return value

    @field_validator("end_of_turn")
    @classmethod
    def _no_empty_end(cls, value: list[str]) -> list[str]:
        if any(not end for end in value):
            raise ValueError("an end of turn must not be empty")
        return value

    @field_validator("splits")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for name, share in value.items():
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", name) or name in {"train", "all", "rejects"}:
                raise ValueError(f"'{name}' cannot be the name of a split; write it like validation or test")
            if not 0 < share < 1:
                raise ValueError(f"the share of {name} is {share:g}; it must be between 0 and 1")
        if sum(value.values()) >= 1:
            raise ValueError("the shares add up to 1 or more; the rest is train, which needs some")
        return dict(sorted(value.items()))  # which rows are in which depends on the order

    @model_validator(mode="after")
    def _one_way(self) -> Recipe:
        check_form(self.dialect, self.fields)
        return self

    @model_validator(mode="after")
    def _preferences_alone(self) -> Recipe:
        name = self.preferences
        if name is not None and (wrong := self._not_for_preferences()):
            raise ValueError(f"layout {name} {wrong}")
        return self

    def _not_for_preferences(self) -> str:
        """Say what the layouts of preferences cannot have; empty if all is well."""
        dialects = {each.dialect or self.dialect for each in self.sources}
        named = dialects - {DialectName.auto, DialectName.preference, DialectName.kto}
        no_meaning = {
            "loss_weights": bool(self.loss_weights),
            "extra_columns": bool(self.extra_columns),
            "pad_rows: to_length": self.pad_rows is PadRows.to_length,
            "too_long: split": self.too_long is TooLong.split,
            "paths: all": self.paths is Paths.all,
            "fields": any(each is not None for each in (self.fields, *(one.fields for one in self.sources))),
            **{f"dialect: {each.value}": True for each in sorted(named, key=lambda each: each.value)},
        }
        if len(self.layout) > 1:
            return "is written alone, since a rejected answer is not to be learnt: use a run for each layout"
        wrong = next((key for key, there in no_meaning.items() if there), None)
        return "" if wrong is None else f"has no use for {wrong}; leave it out"

    @property
    def preferences(self) -> str | None:
        """The layout of preferences that is written; None if rows are conversations to learn."""
        found = (each.value for each in self.layout if each in (Layout.preference, Layout.kto))
        return next(found, None)

    @property
    def together(self) -> int:
        """How many samples, one after another, are never parted: the two of a pair."""
        return 2 if Layout.preference in self.layout else 1

    @model_validator(mode="after")
    def _one_mixture(self) -> Recipe:
        asked = [entry for entry in self.sources if entry.share is not None]
        if asked and self.temperature is not None:
            raise ValueError("'temperature' gives every source a share, and so does 'share'; leave one out")
        for entry in asked if self.temperature is None else self.sources:
            if entry.repeat != 1:
                key = "share" if asked else "temperature"
                raise ValueError(f"'{key}' says how often rows are used, and so does 'repeat'; leave one out")
        total = math.fsum(entry.share or 0.0 for entry in asked)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of the sources add up to {total:g}; they must not exceed 1")
        if asked and (len(asked) == len(self.sources)) != (total > 1 - 1e-9):
            has = "no source is left for the rest" if total < 1 else "nothing is left for the other sources"
            raise ValueError(f"the shares of the sources add up to {total:g}, and {has}")
        return self

    @property
    def mixes(self) -> bool:
        """Whether rows are chosen by how many there are of all sources."""
        shares = any(entry.share is not None for entry in self.sources)
        return shares or self.budget is not None or self.temperature is not None

    @model_validator(mode="after")
    def _multiples(self) -> Recipe:
        number = self.pad_to_multiple
        if number is not None and self.max_length % number:
            raise ValueError(
                f"max_length is {self.max_length}, which is no multiple of pad_to_multiple {number}; "
                f"such as {max(number, self.max_length // number * number)} is one"
            )
        if number is not None and Layout.packed not in self.layout:
            raise ValueError("pad_to_multiple pads samples in packs, but layout has no packed; add it")
        return self

    @field_validator("token_columns")
    @classmethod
    def _names_of_columns(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or name in COLUMNS:
                raise ValueError(f"'{name:.80}' cannot be a token column; write a name such as logprobs")
        return value

    @model_validator(mode="after")
    def _of_trajectories(self) -> Recipe:
        names = {self.dialect, *(entry.dialect for entry in self.sources)}
        if "token_columns" not in self.model_fields_set and DialectName.trajectory in names:
            self.__dict__["token_columns"] = ["logprobs"]
        return self

    @field_validator("layout", "extra_columns", "repair", "token_columns")
    @classmethod
    def _no_duplicates(cls, value: list[Any]) -> list[Any]:
        if len(set(value)) != len(value):
            raise ValueError("a name is in the list twice")
        return value

    @property
    def compares(self) -> list[str]:
        """The settings for which all rows are compared with each other before any is labelled."""
        drop = ["duplicates: drop"] if self.duplicates is Duplicates.drop else []
        return [*drop, *(["near_duplicates"] if self.near_duplicates is not None else [])]

    @property
    def scans(self) -> bool:
        """Whether rows are looked at before any is labelled."""
        return bool(self.compares) or self.decontaminate is not None

    def identity(self) -> str:
        """Return the sha256 of all that decides the bytes of the shards: every key but `OTHER_KEYS`."""
        data = self.model_dump(mode="json", exclude=set(OTHER_KEYS))
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
