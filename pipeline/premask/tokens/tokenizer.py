"""Tokenizers: loaded as trainers load them, checked, and saved beside the shards.

    tokenizer = load_tokenizer("Qwen/Qwen3-0.6B")
    tokenizer.backend.encode("Hi").ids

Trainers and inference servers load `AutoTokenizer`, so its ids are the right ones (`from_transformers.py`).
What it loads depends on the files of the tokenizer alone. So it is kept as a fact (`core/facts.py`), and the
next command with the same files loads it without `transformers`.

Cost: loading takes one to two seconds and about 100 MB, a tenth to half a second if it is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import tokenizers

from ..core.errors import TokenizerError
from ..core.facts import are_kept, find, keep, recall
from .quick_spec import quick_spec
from .tokenizer_files import TokenizerFiles, check_exists

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
    loaded         the object of transformers, if it was loaded; `hf` loads it otherwise
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
    loaded: Any = field(default=None, repr=False)
    files: list[object] | None = field(default=None, repr=False)

    @cached_property
    def hf(self) -> Any:
        """The tokenizer as an object of transformers; this may take a second."""
        from .from_transformers import from_transformers  # noqa: PLC0415  most tokenizers are known

        return from_transformers(self.name)[0] if self.loaded is None else self.loaded

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
        return recall("json", self.files, str, self.backend.to_str)

    def without_hf(self) -> LoadedTokenizer:
        """Return the same without the object of transformers: enough to encode, and fast to send."""
        light = replace(self, loaded=None)
        light.__dict__.update(json=self.json, _sha256=self.sha256())
        if "_spec" in self.__dict__:
            light.__dict__["_spec"] = self.__dict__["_spec"]
        return light

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the object of transformers, with the backend as JSON that loads fast."""
        others = {name: value for name, value in self.__dict__.items() if name not in ("hf", "_spec")}
        return {**others, "loaded": None, "backend": self.__dict__.get("_spec", self.json)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, backend=tokenizers.Tokenizer.from_str(state["backend"]))

    def sha256(self) -> str:
        """Return the hash of the tokenizer and its template variables."""
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        content = self.json + json.dumps(dict(self.variables), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, directory: Path, chat_template: str | Mapping[str, str]) -> None:
        """Write the tokenizer with the chat template that was used, for `AutoTokenizer.from_pretrained`."""
        template = chat_template if isinstance(chat_template, str) else dict(chat_template)
        about = None if self.files is None else [*self.files, template]
        files = recall("saved", about, dict[str, bytes], lambda: self._saved(template), holds=_are_inside)
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (directory / "tokenizer.json").write_text(self.json, encoding="utf-8")

    def _saved(self, chat_template: str | dict[str, str]) -> dict[str, bytes]:
        """Return the files that transformers writes, but for tokenizer.json."""
        own = self.hf.chat_template
        self.hf.chat_template = chat_template
        # transformers would write tokenizer.json again, which takes a tenth of a second; `self.json` has it
        self.hf._save_pretrained = lambda *_, **__: ()  # noqa: SLF001  without this method, it is only slower
        try:
            with tempfile.TemporaryDirectory(prefix="premask-") as folder:
                self.hf.save_pretrained(folder)
                found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
                return {str(path.relative_to(folder)): path.read_bytes() for path in found}
        finally:
            self.hf.chat_template = own
            del self.hf._save_pretrained  # noqa: SLF001


def _are_inside(files: Mapping[str, bytes]) -> bool:
    """Whether names of files stay within the folder that they are written to."""
    parts = [(Path(name).is_absolute(), Path(name).parts) for name in files]
    return all(not absolute and each and ".." not in each for absolute, each in parts)


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


def load_tokenizer(name: str) -> LoadedTokenizer:
    """Load a tokenizer from a directory or the Hub.

    Raises `TokenizerError` if there is none, if it cannot be read, or if it has no fast implementation.
    """
    check_exists(name)
    before = TokenizerFiles.of(name) if are_kept() else None
    if before is None:
        return _load(name)
    kept = find("tokenizer", before.about(), _Kept)
    known = None if kept is None else _restored(name, kept, before.about())
    if known is not None:
        return known
    loaded, files = _load(name), TokenizerFiles.of(name)
    if files is None or not before.are_those_of(files):
        return loaded
    loaded = replace(loaded, files=files.about())
    keep("tokenizer", files.about(), _kept(loaded))
    return loaded


def _load(name: str) -> LoadedTokenizer:
    from .from_transformers import from_transformers  # noqa: PLC0415  most tokenizers are known

    hf, warnings = from_transformers(name)
    backend = getattr(hf, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer):
        raise TokenizerError(
            f"tokenizer {name} has no fast implementation (no tokenizer.json); convert it first"
        )
    backend.no_truncation()
    backend.no_padding()
    variables = {key: str(value) for key, value in hf.special_tokens_map.items()}
    eos = [variables["eos_token"]] if "eos_token" in variables else []
    stops = dict.fromkeys([*eos, *_generation_stops(name, backend.get_added_tokens_decoder())])
    return LoadedTokenizer(
        name=name,
        backend=backend,
        variables=variables,
        chat_template=hf.chat_template,
        **_added(backend),
        stops=tuple(stops),
        warnings=tuple(warnings),
        loaded=hf,
    )


def _added(backend: tokenizers.Tokenizer) -> dict[str, Any]:
    tokens = backend.get_added_tokens_decoder()
    return {
        "added": {token.content: index for index, token in tokens.items()},
        "special": tuple(token.content for token in tokens.values() if token.special),
    }


def _kept(tokenizer: LoadedTokenizer) -> _Kept:
    template = tokenizer.chat_template
    return _Kept(
        spec=quick_spec(tokenizer.json),
        sha256=tokenizer.sha256(),
        added=dict(tokenizer.added),
        vocab_size=tokenizer.vocab_size,
        variables=dict(tokenizer.variables),
        chat_template=dict(template) if isinstance(template, Mapping) else template,
        stops=list(tokenizer.stops),
        warnings=list(tokenizer.warnings),
    )


def _restored(name: str, kept: _Kept, files: list[object]) -> LoadedTokenizer | None:
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
        files=files,
    )
    if tokenizer.added != kept.added or tokenizer.vocab_size != kept.vocab_size:
        return None
    tokenizer.__dict__.update(_sha256=kept.sha256, _spec=kept.spec)
    return tokenizer


def _generation_stops(name: str, tokens: Mapping[int, Any]) -> list[str]:
    """Return the stop tokens of the generation config of the model, if it is beside the tokenizer."""
    from .from_transformers import file_of  # noqa: PLC0415  most tokenizers are known

    path = file_of(name, "generation_config.json")
    if path is None:
        return []
    try:
        ids = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError):
        return []
    ids = ids if isinstance(ids, list) else [ids]
    return [tokens[index].content for index in ids if isinstance(index, int) and index in tokens]
