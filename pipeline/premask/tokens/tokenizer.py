"""Tokenizers: loaded as trainers load them, checked, and saved beside the shards.

    tokenizer = load_tokenizer("Qwen/Qwen3-0.6B")
    tokenizer.backend.encode("Hi").ids

Trainers and inference servers load `AutoTokenizer`, so its ids are the right ones. Some of its classes
rebuild a tokenizer from its parts and lose added tokens that are in `tokenizer.json` only. Then
`tokenizer.json` is loaded as it is, with a warning. If the ids of texts differ, this is a warning, too
(`tokenizer_check.py`).

Cost: loading takes one to two seconds and about 100 MB.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..core.errors import TokenizerError, one_line
from .tokenizer_check import Listed, first_difference, read_listed

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
    """

    name: str
    hf: Any = field(repr=False)
    backend: tokenizers.Tokenizer = field(repr=False)
    variables: Mapping[str, str]
    chat_template: str | Mapping[str, str] | None = field(repr=False)
    added: Mapping[str, int] = field(repr=False)
    special: tuple[str, ...] = field(repr=False)
    stops: tuple[str, ...]
    warnings: tuple[str, ...]

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
    def json(self) -> str:
        """The tokenizer in the format of tokenizer.json; it takes a tenth of a second to write."""
        return self.backend.to_str()

    def without_hf(self) -> LoadedTokenizer:
        """Return the same without the object of transformers: enough to encode, and fast to send."""
        light = replace(self, hf=None)
        light.__dict__["json"] = self.json
        return light

    def sha256(self) -> str:
        """Return the hash of the tokenizer and its template variables."""
        content = self.json + json.dumps(dict(self.variables), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, directory: Path, chat_template: str | Mapping[str, str]) -> None:
        """Write the tokenizer with the chat template that was used, for `AutoTokenizer.from_pretrained`."""
        own = self.hf.chat_template
        self.hf.chat_template = chat_template if isinstance(chat_template, str) else dict(chat_template)
        # transformers would write tokenizer.json again, which takes a tenth of a second; `self.json` has it
        self.hf._save_pretrained = lambda *_, **__: ()  # noqa: SLF001  without this method, it is only slower
        try:
            self.hf.save_pretrained(str(directory))
        finally:
            self.hf.chat_template = own
            del self.hf._save_pretrained  # noqa: SLF001
        (directory / "tokenizer.json").write_text(self.json, encoding="utf-8")


def load_tokenizer(name: str) -> LoadedTokenizer:
    """Load a tokenizer from a directory or the Hub.

    Raises `TokenizerError` if there is none, if it cannot be read, or if it has no fast implementation.
    """
    hf, warnings = _load(name)
    backend = getattr(hf, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise TokenizerError(
            f"tokenizer {name} has no fast implementation (no tokenizer.json); convert it first"
        )
    backend.no_truncation()
    backend.no_padding()
    tokens = backend.get_added_tokens_decoder()
    variables = {key: str(value) for key, value in hf.special_tokens_map.items()}
    eos = [variables["eos_token"]] if "eos_token" in variables else []
    stops = dict.fromkeys([*eos, *_generation_stops(name, tokens)])
    return LoadedTokenizer(
        name=name,
        hf=hf,
        backend=backend,
        variables=variables,
        chat_template=hf.chat_template,
        added={token.content: index for index, token in tokens.items()},
        special=tuple(token.content for token in tokens.values() if token.special),
        stops=tuple(stops),
        warnings=tuple(warnings),
    )


def _load(name: str) -> tuple[Any, list[str]]:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: PLC0415  a second to import

    _check_exists(name)
    try:
        hf = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # noqa: BLE001  transformers raises whatever its parsers do
        reason = one_line(error, 300)
        where = "" if Path(name).is_dir() else "there is no directory of that name here, and "
        raise TokenizerError(
            f"tokenizer {name} cannot be loaded: {where}{type(error).__name__}: {reason}"
        ) from None
    path = _file_of(name, "tokenizer.json")
    listed = None if path is None else read_listed(path)
    lost = _lost_tokens(listed, hf)
    if not lost:
        return hf, _other_ids(name, hf, path, listed)
    warning = (
        f"AutoTokenizer loses added tokens of {name} ({', '.join(lost[:5])}); tokenizer.json is used as it is"
    )
    hf = PreTrainedTokenizerFast.from_pretrained(name)
    lost = _lost_tokens(listed, hf)
    if lost:
        raise TokenizerError(
            f"tokenizer {name} gets other ids for added tokens ({', '.join(lost[:5])}) than its "
            "tokenizer.json lists; fix the file: their ids must be consecutive, after the vocabulary"
        )
    return hf, [warning]


def _check_exists(name: str) -> None:
    path = Path(name)
    if path.is_file():
        raise TokenizerError(f"tokenizer {name} is a file; give its directory")
    looks_local = path.is_absolute() or name.startswith(".") or name.count("/") > 1
    if looks_local and not path.is_dir():
        raise TokenizerError(f"tokenizer directory {name} does not exist; check the path")


def _lost_tokens(listed: Listed | None, hf: Any) -> list[str]:
    """Return the added tokens of tokenizer.json that the loaded tokenizer does not have under the same id."""
    tokens = listed.added_tokens or [] if listed else []
    known = {token.content: index for index, token in hf.added_tokens_decoder.items()}
    return [token["content"] for token in tokens if known.get(token["content"]) != token["id"]]


def _other_ids(name: str, hf: Any, path: Path | None, listed: Listed | None) -> list[str]:
    """Return the warning about a tokenizer whose class gives other ids than its tokenizer.json."""
    backend = getattr(hf, "backend_tokenizer", None)
    if path is None or listed is None or not isinstance(backend, tokenizers.Tokenizer):
        return []
    found = first_difference(backend, path, listed)
    if found is None:
        return []
    warning = (
        f"AutoTokenizer loads {name} as {type(hf).__name__}, which gives other ids than its tokenizer.json: "
        f"{found.text[:40]!r} is {_shown(found.loaded)}, by the file {_shown(found.listed)}; the ids of "
        f"{type(hf).__name__} are used, as trainers do. If the file is right, set tokenizer_class in "
        "tokenizer_config.json to PreTrainedTokenizerFast; some models only lack their config.json beside it"
    )
    return [warning]


def _shown(ids: Sequence[int]) -> str:
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"{list(ids[:8])}{more}"


def _generation_stops(name: str, tokens: Mapping[int, Any]) -> list[str]:
    """Return the stop tokens of the generation config of the model, if it is beside the tokenizer."""
    path = _file_of(name, "generation_config.json")
    if path is None:
        return []
    try:
        ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError):
        return []
    ids = ids if isinstance(ids, list) else [ids]
    return [tokens[index].content for index in ids if isinstance(index, int) and index in tokens]


def _file_of(name: str, file: str) -> Path | None:
    """Return a file of a tokenizer: in its directory, or in the cache of the Hub (fetched if necessary)."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    from transformers.utils import cached_file  # noqa: PLC0415  a second to import

    found = cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
