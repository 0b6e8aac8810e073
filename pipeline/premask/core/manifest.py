"""The manifest of an output, as a pydantic model: what it holds, and all that decided its bytes.

    manifest = parse_manifest(Path("out/chats/manifest.json").read_bytes())
    manifest.counts.kept, manifest.splits, manifest.shards_of("packed", "train")[0].rows
    manifest.as_dict()                          # what manifest.json has, key for key

One model writes `manifest.json`, checks it when it is read back, and gives its published JSON schema. Types
are strict, numbers have bounds, and paths have the form that premask gives them, so that nothing outside the
output can be named. Cost: 10 us a shard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, TypeGuard, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    WithJsonSchema,
)

from .contract import CONTRACT_VERSION, NOT_REJECTED, REASONS, listed
from .errors import OutputError
from .recipe import OTHER_KEYS, Card, Recipe
from .records import PROOFS
from .redact import shown_url
from .strict_json import parse_json
from .text import is_encodable

LAYOUTS = ("packed", "unpacked", "preference", "kto")
"""The layouts, in the order in which one is chosen where one is enough."""

KINDS = (*LAYOUTS, "lineage", "rejects")
"""The folders that hold shards."""

PICTURES = tuple(f"pictures/{name}.svg" for name in ("lengths", "rejects", "roles"))
"""The pictures that a card can have."""

MANIFEST_BYTES = 1 << 25
"""Bytes of a manifest, at most; one of 50,000 shards has half of that."""

_MOST_VALUES = 1 << 20  # of a manifest

QUANTILES: Mapping[str, float] = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""Name in the manifest -> share of the samples that are no longer than that."""


# ==== Types of single values ====


def _this_contract(value: int) -> int:
    if value != CONTRACT_VERSION:
        raise ValueError(f"this premask reads output contract {CONTRACT_VERSION}")
    return value


def _known_reason(value: str) -> str:
    if value not in _REJECTING:
        raise ValueError("this is not a reason for which rows are rejected")
    return value


def _known_proof(value: str) -> str:
    if value not in PROOFS:
        raise ValueError("this is no way in which a mask is proved")
    return value


def _renamed_roles(value: Any) -> Any:
    """Counts by role under the names of today: `tools` was `arguments`.

    >>> _renamed_roles({"user": 3, "arguments": 2})
    {'user': 3, 'tools': 2}
    """
    return {_RENAMED.get(key, key): each for key, each in value.items()} if isinstance(value, dict) else value


def _as_written(value: dict[str, Any]) -> dict[str, Any]:
    """A recipe as a run wrote it: valid, and with nothing that would be read as something else."""
    unwritten = value.keys() & OTHER_KEYS
    if unwritten:
        raise ValueError(f"'{min(unwritten)}' does not belong here")
    written = _recipe_of(value).model_dump(mode="json", exclude=set(OTHER_KEYS))
    wrong = [key for key in value if not _agree(value[key], written[key])]
    if wrong:
        raise ValueError(f"the value of '{wrong[0]}' is not as premask writes it")
    return value


def _agree(value: Any, written: Any) -> bool:
    """Whether a value of a recipe is as premask writes it, but for keys that older versions did not have.

    >>> _agree({"turns": "all"}, {"turns": "all", "text": True}), _agree(1, True), _agree([1], [1, 2])
    (True, False, False)
    """
    if isinstance(value, dict) and isinstance(written, dict):
        return all(key in written and _agree(each, written[key]) for key, each in value.items())
    if isinstance(value, list) and isinstance(written, list):
        return len(value) == len(written) and all(map(_agree, value, written))
    if isinstance(value, str) and isinstance(written, str):
        return shown_url(value) == shown_url(written)
    return json.dumps(value) == json.dumps(written)


def _recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe with these settings; what changes no shard is as by default."""
    return Recipe.model_validate({**settings, "output": "-"})


_RENAMED = {"arguments": "tools"}
_REJECTING = [reason for reason in REASONS if reason not in NOT_REJECTED]
_TOKENIZER_PATH = r"^tokenizer/([^./\x00-\x1f][^/\x00-\x1f]*/)?[^./\x00-\x1f][^/\x00-\x1f]*$"
_SHARD_PATH = (
    r"^(packed|unpacked|preference|kto|rejects|lineage)/[A-Za-z0-9_.]+-[0-9]{5,}-of-[0-9]{5,}\.parquet$"
)

Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""Numbers of things; as large as an int64 holds."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.]*$")]
Reason = Annotated[str, AfterValidator(_known_reason), WithJsonSchema({"type": "string", "enum": _REJECTING})]
Reasons = dict[Reason, Annotated[Count, Field(ge=1)]]
LeftOut = Annotated[
    dict[str, Annotated[Count, Field(ge=1)]],
    Field(description="Rows that settings of their source leave out, by the setting."),
]
ByRole = Annotated[dict[str, Count], BeforeValidator(_renamed_roles)]
Fill = Annotated[
    Annotated[float, Field(ge=0, le=1)] | None,
    Field(description="Tokens as a share of the packs' room; null without packs."),
]
Proof = Annotated[str, AfterValidator(_known_proof), WithJsonSchema({"type": "string", "enum": list(PROOFS)})]
Settings = Annotated[dict[str, Any], AfterValidator(_as_written)]
"""The recipe without `OTHER_KEYS`, as JSON values. Keys that older versions did not have may be missing."""


_Plain = str | bool | Count | list[str] | None
_Number = Count | dict[str, Count] | dict[str, dict[str, Count]]
_Listed = TypeVar("_Listed")
_Items = Annotated[list[_Listed], FailFast()]
"""Many things; what is wrong with the first wrong one is enough to know."""


# ==== The parts ====


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Open(BaseModel):
    """A part to which more keys may be added."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Salvaged(_Part):
    """Where a damaged file ends, whose whole rows were read (recipe key `salvage`)."""

    row: Count = Field(description="The row within which the file ends, counted from 0.")
    byte: Count = Field(description="The byte from which on it was not read, decompressed.")
    lost: Count = Field(description="Bytes that were not read, decompressed.")


class Mapped(_Part):
    """The function that made rows of the rows of a file (recipe key `map`)."""

    function: str = Field(description="As MODULE:FUNCTION.")
    sha256: Sha256 = Field(description="Hash of the file of its module.")


class Input(_Part):
    """A source, and what became of its rows: rows = kept + dropped + all rejected + all left out."""

    source: str
    bytes: Count
    sha256: Sha256 | None = Field(description="Null if the source was streamed.")
    version: str = Field(default="", description="The file's version as the store or the Hub reports it.")
    salvaged: Salvaged | None = Field(default=None, description="Only of a damaged file.")
    map: Mapped | None = Field(default=None, description="Only where a function made its rows.")
    rows: Count
    kept: Count
    dropped: Count
    duplicates: Count = Field(description="Rows that equal an earlier one, dropped or kept.")
    rejected: Reasons
    left_out: LeftOut
    used: Count | None = Field(
        default=None, description="Kept rows, as often as they are used; older versions do not have it."
    )
    tokens: Count | None = Field(
        default=None, description="Tokens of its samples, as often as they are used."
    )
    trained_tokens: Count | None = Field(default=None, description="Those of them that are trained.")

    @property
    def listed(self) -> dict[str, int]:
        """Lines that the reject log has of it, by reason."""
        duplicates = {"duplicate": self.dropped} if self.dropped else {}
        return {**self.rejected, **duplicates, **listed(self.left_out)}

    def identity(self) -> dict[str, Any]:
        """What was known of it before the run."""
        keys = {"source", "bytes", "sha256", "version", "salvaged", "map"}
        return self.model_dump(mode="json", include=keys, exclude_unset=True)


class EvaluationSet(_Part):
    """An evaluation set that rows were compared with (recipe key `decontaminate`)."""

    source: str
    bytes: Count
    sha256: Sha256 | None = Field(description="Null if it was streamed.")
    version: str = Field(default="", description="The file's version as the store or the Hub reports it.")
    texts: Count = Field(description="Texts that rows were compared with.")
    too_short: Count = Field(description="Texts with fewer words than `ngram`, which were not.")


class Tokenizer(_Open):
    """The tokenizer that made the ids; it is in the output as `tokenizer/`."""

    __pydantic_extra__: dict[str, _Plain] = Field(init=False)

    name: str
    sha256: Sha256
    vocab_size: Count


class Template(_Open):
    """The chat template; `turn_ends` are the strings that end a turn."""

    __pydantic_extra__: dict[str, _Plain] = Field(init=False)

    sha256: Sha256
    name: str = ""
    turn_ends: list[str] = []


class SplitCounts(_Part):
    """What was written of one split."""

    samples: Count
    tokens: Count
    trained_tokens: Count
    packs: Count
    fill: Fill


class ChartBar(_Part):
    """Samples of `from` to `to` tokens; bars go by powers of two."""

    from_: Count = Field(alias="from")
    to: Count
    samples: Count


class Lengths(_Part):
    """Tokens of the samples: the length that such a share of the samples does not exceed, mean, histogram."""

    min: Count
    p10: Count
    median: Count
    p90: Count
    p99: Count
    max: Count
    mean: float = Field(ge=0)
    histogram: _Items[ChartBar]


class Counts(_Open):
    """What was read and written: rows = kept + rejected + dropped + all left out."""

    __pydantic_extra__: dict[str, _Number] = Field(init=False)

    rows: Count
    kept: Count
    rejected: Count
    duplicates: Count
    dropped: Count
    samples: Count
    tokens: Count
    trained_tokens: Count
    packs: Count
    rejected_by_reason: Reasons
    left_out: LeftOut
    fill: Fill
    splits: dict[SplitName, SplitCounts]
    lengths: Lengths | None
    tokens_by_role: ByRole = {}
    trained_by_role: ByRole = {}
    samples_by_proof: dict[Proof, Count] = Field(
        default={}, description="Texts by how their mask was proved, before those too long were cut."
    )
    dropped_fields: dict[str, Count] = Field(
        default={}, description="Fields of messages that the template does not print, by the field."
    )
    turns_left_out: dict[str, Count] = Field(
        default={}, description="Turns that carry no loss: empty ones, and those that no prompt leads to."
    )
    turns_behind_another_prompt: Count = Field(
        default=0, description="Turns that are trained behind another prompt than inference shows."
    )
    unclosed_reasoning: Count = Field(
        default=0,
        description="Trained turns that open a block of reasoning and never close it: answers cut short.",
    )
    contaminated_by_set: dict[str, Count] = Field(
        default={},
        description="Rows that share text with an evaluation set, by the set they share most with.",
    )
    template_modes: dict[str, dict[str, Count]] = Field(
        default={}, description="Conversations by the value that was chosen for each argument set to auto."
    )

    @property
    def listed(self) -> int:
        """Lines that the reject log has: rejected rows, duplicates, and rows that were not kept."""
        return self.rejected + self.dropped + sum(listed(self.left_out).values())


class EngineUsed(_Part):
    """What encoded the texts; it changes no byte of the shards."""

    name: Literal["tokenizers", "gigatoken"]
    reason: str = Field(description="Why it is not gigatoken, or not the fast path.")
    rows_verified: Count = Field(description="Rows that the reference did again.")
    samples_by_reference: Count = Field(description="Samples that the reference encoded, row by row.")


class Shard(_Part):
    """A Parquet file. `tokens` is 0 for rejects and lineage."""

    path: str = Field(pattern=_SHARD_PATH, description="Relative to the output.")
    rows: Count
    tokens: Count
    bytes: Count
    raw_bytes: Count = Field(description="Size once decompressed.")
    sha256: Sha256
    unit: Count | None = Field(
        default=None,
        description="Number of the unit that wrote it, or of the bucket, which follow the units.",
    )

    @property
    def kind(self) -> str:
        """Its folder, one of `KINDS`."""
        return self.path.partition("/")[0]


class ListedFile(_Part):
    """A file of an output that is no shard."""

    path: str = Field(description="Relative to the output.")
    bytes: Count
    sha256: Sha256


class ChartFile(ListedFile):
    """A picture of the dataset card."""

    path: str = Field(
        pattern=rf"^({'|'.join(map(re.escape, PICTURES))})$", description="Relative to the output."
    )


class TokenizerFile(ListedFile):
    """A file of the tokenizer, or a chat template of it."""

    path: str = Field(pattern=_TOKENIZER_PATH, description="Relative to the output.")


class MixedSource(_Part):
    """A source of a mixture, in train: its share as asked and as got, and how often its rows are used on
    average. `of_` is before the names of what is there, each row once."""

    source: str
    asked: float = Field(ge=0, le=1)
    got: float = Field(ge=0, le=1)
    repeat: float = Field(ge=0)
    rows: Count
    of_rows: Count
    tokens: Count
    of_tokens: Count
    trained_tokens: Count
    of_trained_tokens: Count


class Mixture(_Part):
    """The shares of sources in train, by rows, tokens or trained tokens; `got` is the size of all of them."""

    by: Literal["rows", "tokens", "trained_tokens"]
    budget: Count | None
    got: Count
    sources: _Items[MixedSource]


class RepackedFrom(_Part):
    """The output that `premask repack` read: hashes of its manifest.json, and of what had made it."""

    manifest_sha256: Sha256
    run_key: Sha256


class UnitSetAside(_Part):
    """A unit with skipped rows."""

    unit: Count
    rows: Count = Field(description="Rows of the unit that are in the reject log as crashed.")
    error: str


# ==== The whole ====


class Manifest(_Part):
    """What an output holds, and all that decided its bytes."""

    contract: Annotated[
        int, AfterValidator(_this_contract), WithJsonSchema({"const": CONTRACT_VERSION, "type": "integer"})
    ]
    premask: str = Field(description="Version of the program.")
    run_key: Sha256 = Field(description="Hash of all that decides the bytes of the shards.")
    recipe: Settings
    inputs: _Items[Input]
    tokenizer: Tokenizer
    template: Template
    versions: dict[str, str]
    evaluation_sets: _Items[EvaluationSet] = Field(
        default=[], description="The evaluation sets that rows were compared with."
    )
    counts: Counts
    engine: EngineUsed
    card: Card = Field(description="What the recipe sets of the dataset card; it changes no shard.")
    mixture: Mixture | None = Field(
        default=None, description="Only with a share, a budget or a temperature in the recipe."
    )
    shards: _Items[Shard]
    pictures: _Items[ChartFile] = []
    tokenizer_files: _Items[TokenizerFile] = Field(
        default=[], description="The files of `tokenizer/`; manifests of older versions do not list them."
    )
    rejects_left_out: bool = Field(
        default=False, description="The reject log was left out by a push; its counts are here."
    )
    set_aside: _Items[UnitSetAside] = []
    units: Count | None = Field(
        default=None,
        description="Number of units, and of buckets if shuffled; older versions do not have it.",
    )
    repacked_from: RepackedFrom | None = Field(
        default=None, description="The output whose samples were packed again, if any were."
    )

    def as_dict(self) -> dict[str, Any]:
        """The manifest as JSON values, with the keys that it was made of."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def identity(self) -> dict[str, Any]:
        """The part that was known before the run, of which `run_key` is the hash, as JSON values."""
        keys = {"contract", "premask", "recipe", "tokenizer", "template", "versions", "evaluation_sets"}
        known = self.model_dump(mode="json", include=keys, exclude_unset=True)
        return {**known, "inputs": [each.identity() for each in self.inputs]}

    @cached_property
    def settings(self) -> Recipe:
        """The recipe as a model; keys that change no shard are as by default."""
        return _recipe_of(self.recipe)

    @cached_property
    def listed(self) -> list[tuple[str, int, str]]:
        """Path, size in bytes and sha256 of all files that are listed."""
        small: list[ListedFile] = [*self.pictures, *self.tokenizer_files]
        shards = [(each.path, each.bytes, each.sha256) for each in self.shards]
        return [*shards, *((each.path, each.bytes, each.sha256) for each in small)]

    @property
    def layouts(self) -> list[str]:
        """The layouts that were written, `packed` first."""
        return [layout for layout in LAYOUTS if layout in self.recipe["layout"]]

    @property
    def splits(self) -> list[str]:
        """The splits that the output has; one of the recipe that got no rows is not there."""
        others = self.settings.splits
        return ["train", *(split for split in others if self.shards_of(self.layouts[0], split))]

    def shards_of(self, kind: str, split: str | None = None) -> list[Shard]:
        """The shards of one kind (`KINDS`), in order; those of one split if it is named. The reject log
        belongs to no split."""
        stem = f"{kind}/" if split is None else f"{kind}/{split}-"
        return [shard for shard in self.shards if shard.path.startswith(stem)]


class ManifestError(OutputError):
    """A manifest that premask does not write: the first thing that is wrong (`what`), and how many are."""

    def __init__(self, what: str, count: int = 1, path: str = "manifest.json") -> None:
        again = "fetch the output again, or write it again with premask run --overwrite"
        super().__init__(f"{path} is not what premask writes: {what}; {again}")
        self.what, self.count = what, count


def is_manifest(content: str | bytes) -> bool:
    """Whether a file is a manifest of premask, valid or not.

    >>> is_manifest('{"files": []}')
    False
    """
    try:
        return _looks_right(_values_of(content))
    except ValueError:
        return False


def _values_of(content: str | bytes) -> object:
    """The JSON values of a manifest; `ValueError` if it is no JSON, or not one of a manifest's size."""
    text = content.decode() if isinstance(content, bytes) else content
    if len(text) > MANIFEST_BYTES or sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise ValueError("it is too large")
    data = parse_json(text)
    if "\\u" in text and not is_encodable(json.dumps(data, ensure_ascii=False)):
        raise ValueError("it has half of a surrogate pair")
    return data


def _looks_right(data: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(data, dict) and {"contract", "recipe", "shards"} <= data.keys()


def parse_manifest(content: str | bytes) -> Manifest:
    """Return the manifest that a file holds.

    Raises `ValueError` if it is not JSON, `OutputError` if it is no manifest of premask
    or of another output contract, and `ManifestError` if a value is not one that premask writes.
    """
    data = _values_of(content)
    if not _looks_right(data):
        raise OutputError("it is no manifest of premask; check the path")
    if data["contract"] != CONTRACT_VERSION:
        raise OutputError(
            f"it is of output contract {data['contract']!s:.20}, this premask reads {CONTRACT_VERSION}; "
            "use the version of premask that wrote it"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        what = f"at {place}: {' '.join(first['msg'].split())[:200]}, but it is {first['input']!r:.60}"
        raise ManifestError(what, error.error_count()) from None


# ==== Lengths ====


def count_padding(samples_of: Mapping[int, int], multiple: int | None) -> dict[str, int]:
    """Return the count of pad tokens that follow samples, given how many samples have each length; nothing if
    lengths are not made multiples of a number.

    >>> count_padding({5: 2, 8: 1}, 8), count_padding({5: 2}, None)
    ({'pad_tokens': 6}, {})
    """
    if multiple is None:
        return {}
    return {"pad_tokens": sum(-length % multiple * count for length, count in samples_of.items())}


def describe_lengths(samples_of: Mapping[int, int]) -> dict[str, Any] | None:
    """Describe lengths in tokens, given how many samples have each; None if there are none.

    A quantile is the smallest length that so large a share of the samples does not exceed. The histogram
    counts by powers of two. Costs a sort of the distinct lengths.

    >>> found = describe_lengths({1: 3, 2: 1, 6: 1})
    >>> found["min"], found["median"], found["max"], found["mean"]
    (1, 1, 6, 2.2)
    >>> [tuple(bar.values()) for bar in found["histogram"]]  # from, to, samples
    [(1, 1, 3), (2, 3, 1), (4, 7, 1)]
    """
    if not samples_of:
        return None
    lengths = np.array(sorted(samples_of), dtype=np.int64)
    counts = np.array([samples_of[length] for length in lengths.tolist()], dtype=np.int64)
    ends, total = np.cumsum(counts), int(counts.sum())
    places = {name: min(max(int(np.ceil(share * total)), 1), total) for name, share in QUANTILES.items()}
    found: dict[str, Any] = {name: int(lengths[np.searchsorted(ends, at)]) for name, at in places.items()}
    bits = np.array([length.bit_length() for length in lengths.tolist()])
    found["mean"] = round(int((lengths * counts).sum()) / total, 2)
    found["histogram"] = [
        {"from": 2 ** (bit - 1), "to": 2**bit - 1, "samples": int(counts[bits == bit].sum())}
        for bit in range(int(bits[0]), int(bits[-1]) + 1)
    ]
    return found
