"""Tokenizers: loaded as trainers load them, checked, and saved beside the shards.

    tokenizer = load_tokenizer("Qwen/Qwen3-0.6B")
    tokenizer.backend.encode("Hi").ids

Trainers and inference servers load `AutoTokenizer`, so its ids are the right ones (`from_transformers.py`).
What it loads depends on the files of the tokenizer alone. So it is kept as a fact (`core/facts.py`), and the
next command with the same files loads it without `transformers`.

The files may come from a stranger. So they are checked before they are read (`tokenizer_folder.py`), and
`transformers` reads them in a process with limits of time and memory, which describes what it has loaded.

Cost: loading takes one to two seconds and about 100 MB, a tenth to half a second if it is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tokenizers

from ..core.errors import TokenizerError, one_line
from ..core.facts import are_kept, find, keep, recall
from ..core.limits import LimitError, in_watched_process
from ..core.text import visible
from .hub_names import locate
from .plain_parts import check_size
from .quick_spec import quick_spec
from .saved_files import saved_config, template_files
from .tokenizer_files import TokenizerFiles
from .tokenizer_folder import CONFIG, check_folder, check_templates

T = TypeVar("T")

os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault(
    "TOKENIZERS_PARALLELISM", "false"
)  # workers are processes; a thread pool in each is too many


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and its properties.

    variables      template variables (`bos_token` ...)
    chat_template  its own template or templates
    added          added tokens and their ids
    special        added tokens that are control tokens
    stops          strings that end generation, by the eos token and the generation config
    config         the tokenizer_config.json that is saved: without code and chat templates
    files          what it was loaded from, as JSON values; None if that is not known
    """

    name: str
    backend: tokenizers.Tokenizer = field(repr=False)
    variables: Mapping[str, str]
    chat_template: str | Mapping[str, str] | None = field(repr=False)
    added: Mapping[str, int] = field(repr=False)
    special: tuple[str, ...] = field(repr=False)
    stops: tuple[str, ...]
    warnings: tuple[str, ...]
    config: bytes = field(repr=False)
    files: list[object] | None = field(default=None, repr=False)

    @cached_property
    def hf(self) -> Any:
        """The tokenizer as an object of transformers; this may take a second."""
        from .from_transformers import from_transformers  # noqa: PLC0415  most tokenizers are known

        return from_transformers(self.name, only_cached=locate(self.name).only_cached)[0]

    @property
    def vocab_size(self) -> int:
        """Number of ids, including added tokens."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def pad_id(self) -> int:
        """The id of the pad token, else of the eos token, else 0. Padding is not trained."""
        names = (self.variables.get(name) for name in ("pad_token", "eos_token"))
        ids = (self.backend.token_to_id(name) for name in names if name)
        return next((index for index in ids if index is not None), 0)

    @cached_property
    def opening(self) -> str:
        """What the tokenizer puts before each text: mostly the string of its bos token, or nothing."""
        encoding = self.backend.encode("a")
        text = encoding.special_tokens_mask.index(0) if 0 in encoding.special_tokens_mask else 0
        return "".join(encoding.tokens[:text])

    @cached_property
    def spaces_after_opening(self) -> bool:
        """Whether a text behind `opening` needs a space at its start to have the tokens that it has alone."""
        alone = self.backend.encode("a")
        own = [
            index for index, special in zip(alone.ids, alone.special_tokens_mask, strict=True) if not special
        ]
        behind = [
            self.backend.encode(self.opening + text, add_special_tokens=False).ids[-len(own) :]
            for text in ("a", " a")
        ]
        return bool(self.opening) and behind[0] != own == behind[1]

    @cached_property
    def json(self) -> str:
        """The tokenizer in the format of tokenizer.json; it takes a tenth of a second to write."""
        return recall("json", self.files, str, self.backend.to_str)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the object of transformers, with the backend as JSON that loads fast."""
        others = {name: value for name, value in self.__dict__.items() if name not in ("hf", "_spec")}
        known = {"json": self.json, "_sha256": self.sha256()}
        return {**others, **known, "backend": self.__dict__.get("_spec", self.json)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, backend=tokenizers.Tokenizer.from_str(state["backend"]))

    def sha256(self) -> str:
        """Return the hash of the tokenizer and its template variables."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return _hash(self.json, self.variables)

    def save(self, directory: Path, chat_template: str | Mapping[str, str]) -> None:
        """Write the tokenizer with the chat template that was used, for `AutoTokenizer.from_pretrained`.

        No other file of the tokenizer is written.
        """
        files = {
            CONFIG: self.config,
            "tokenizer.json": self.json.encode(),
            **template_files(chat_template, self.name),
        }
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


# ==== Loading ====


class _Kept(msgspec.Struct):
    """A tokenizer as it is kept: what `LoadedTokenizer` has of it.

    `spec` gives the same backend as its JSON, which is a fact of its own.
    """

    spec: str
    sha256: str
    added: dict[str, int]
    vocab_size: int
    variables: dict[str, str]
    chat_template: str | dict[str, str] | None
    stops: list[str]
    warnings: list[str]
    config: bytes


def load_tokenizer(name: str) -> LoadedTokenizer:
    """Load a tokenizer from a directory or the Hub.

    Raises `TokenizerError` if there is none, if it cannot be read, or if it has no fast implementation.
    """
    where = locate(name)
    if where.is_folder:
        check_folder(Path(name), name)
    before = TokenizerFiles.of(name, only_cached=where.only_cached) if are_kept() else None
    if before is not None:
        kept = find("tokenizer", before.about(), _Kept)
        known = None if kept is None else _restored(name, kept, before.about())
        if known is not None:
            return known
    kept = _guarded(name, partial(_described, name, only_cached=where.only_cached))
    loaded = _restored(name, kept, None)
    if loaded is None:
        raise TokenizerError(f"tokenizer {name} cannot be loaded: its parts give another one when saved")
    if before is None:
        return loaded
    files = TokenizerFiles.of(name, only_cached=where.only_cached)
    if files is None or not before.are_those_of(files):
        return loaded
    loaded = replace(loaded, files=files.about())
    loaded.__dict__.update(_sha256=kept.sha256, _spec=kept.spec)
    keep("tokenizer", files.about(), kept)
    return loaded


_SECONDS = 90.0
"""CPU seconds for loading a tokenizer; a large one takes two."""


def _guarded(name: str, describe: Callable[[], T]) -> T:
    """Return what `describe` returns in a process with limits. Raises `TokenizerError` for all that it
    raises."""
    try:
        return in_watched_process(partial(_in_one_line, name, describe), "loading it", _SECONDS)
    except LimitError as error:
        raise TokenizerError(f"tokenizer {name} cannot be loaded: {error}") from None


def _in_one_line(name: str, describe: Callable[[], T]) -> T:
    try:
        return describe()
    except (TokenizerError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  transformers raises whatever its parsers do; Rust panics
        reason = visible(one_line(error, 300))
        raise TokenizerError(f"tokenizer {name} cannot be loaded: {type(error).__name__}: {reason}") from None


def _described(name: str, *, only_cached: bool) -> _Kept:
    """Load a tokenizer by transformers; return what is kept of it."""
    from .from_transformers import file_of, from_transformers  # noqa: PLC0415  most tokenizers are known

    hf, warnings = from_transformers(name, only_cached=only_cached)
    backend = getattr(hf, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise TokenizerError(
            f"tokenizer {name} has no fast implementation (no tokenizer.json); convert it first"
        )
    backend.no_truncation()
    backend.no_padding()
    check_templates(hf.chat_template, name)
    text = backend.to_str()
    check_size(backend, text, name)
    variables = {key: str(value) for key, value in hf.special_tokens_map.items()}
    own = [variables["eos_token"]] if "eos_token" in variables else []
    generation = file_of(name, "generation_config.json", only_cached=only_cached)
    stops = dict.fromkeys([*own, *_generation_stops(generation, backend.get_added_tokens_decoder())])
    kept = _Kept(
        spec=quick_spec(text),
        sha256=_hash(text, variables),
        added=_added(backend)["added"],
        vocab_size=int(backend.get_vocab_size(with_added_tokens=True)),
        variables=variables,
        chat_template=hf.chat_template,
        stops=list(stops),
        warnings=list(warnings),
        config=saved_config(hf),
    )
    msgspec.msgpack.encode(kept)  # a text that cannot be written is found here
    return kept


def _added(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    tokens = backend.get_added_tokens_decoder()
    return {
        "added": {token.content: index for index, token in tokens.items()},
        "special": tuple(token.content for token in tokens.values() if token.special),
    }


def _hash(text: str, variables: Mapping[str, str]) -> str:
    content = text + json.dumps(dict(variables), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _restored(name: str, kept: _Kept, files: list[object] | None) -> LoadedTokenizer | None:
    """Return a tokenizer that was kept; None if it is not what was written."""
    try:
        backend = tokenizers.Tokenizer.from_str(kept.spec)
    except Exception:  # noqa: BLE001  the library raises bare exceptions
        return None
    tokenizer = LoadedTokenizer(
        name=name,
        backend=backend,
        variables=kept.variables,
        chat_template=kept.chat_template,
        **_added(backend),
        stops=tuple(kept.stops),
        warnings=tuple(kept.warnings),
        config=kept.config,
        files=files,
    )
    if tokenizer.added != kept.added or tokenizer.vocab_size != kept.vocab_size:
        return None
    tokenizer.__dict__.update(_sha256=kept.sha256, _spec=kept.spec)
    return tokenizer


def _generation_stops(path: Path | None, tokens: Mapping[int, Any]) -> list[str]:
    """Return the stop tokens of the generation config of the model, if it is beside the tokenizer."""
    if path is None:
        return []
    try:
        ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError, RecursionError):
        return []
    ids = ids if isinstance(ids, list) else [ids]
    return [tokens[index].content for index in ids if type(index) is int and index in tokens]
