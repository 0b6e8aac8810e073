"""The tokenizer as `AutoTokenizer` loads it, against its `tokenizer.json` by itself.

    listed = read_listed(path)                    the parts of tokenizer.json, without vocabulary and merges
    found = first_difference(backend, path, listed)
    found.text, found.loaded, found.listed        a text, its ids by AutoTokenizer and by tokenizer.json

`AutoTokenizer` rebuilds some tokenizers from their class (`GPT2Tokenizer`, `Qwen2Tokenizer`), with the cuts
of that class and not those of the file. Then digits, blanks or other scripts get other ids.

Cost: reading takes 20 ms, comparing the parts under a millisecond. Only if the parts differ are texts encoded
(a few ms), and only if their ids or the model differ is the whole file loaded (a second).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import tokenizers

from .probe_texts import DIGITS, WORDS

_TEXTS = (
    *(
        "650841823",
        "  four    blanks",
        "請問 12,345",
        "def f(x):\n\treturn  x+1\n",
        "I'll don't WE'VE",
        "\n\n\n",
    ),
    *("🙂👍🏽", "a" * 40, "cafe\u0301", " leading", "trailing  "),
    *WORDS,
    *DIGITS,
)


class ListedModel(msgspec.Struct):
    """The model in tokenizer.json, without vocabulary and merges."""

    type: Any = None
    unk_token: Any = None
    continuing_subword_prefix: Any = None
    end_of_word_suffix: Any = None
    fuse_unk: Any = None
    byte_fallback: Any = None
    ignore_merges: Any = None


class Listed(msgspec.Struct):
    """The parts of tokenizer.json that are read; a typed reader skips the rest in a tenth of the time."""

    added_tokens: list[dict[str, Any]] | None = None
    normalizer: Any = None
    pre_tokenizer: Any = None
    model: ListedModel | None = None


class Difference(NamedTuple):
    """A text, and its ids by the loaded tokenizer and by tokenizer.json alone."""

    text: str
    loaded: list[int]
    listed: list[int]


def read_listed(path: Path) -> Listed:
    """Return the parts of a tokenizer.json. Raises `msgspec.DecodeError` if they cannot be read."""
    return msgspec.json.decode(path.read_bytes(), type=Listed)


def first_difference(backend: tokenizers.Tokenizer, path: Path, listed: Listed) -> Difference | None:
    """Return the first text with other ids than `path` gives alone; None if there is none."""
    changed = _changed_tokens(backend, listed)
    texts = [*_TEXTS, *(f"a {token}  b{token}\n{token}" for token in changed)]
    if not changed and _same_model(backend, listed) and _same_cuts(backend, listed):
        return None
    alone = tokenizers.Tokenizer.from_file(str(path))
    for each in (backend, alone):
        each.no_truncation()
        each.no_padding()
    pairs = zip(texts, _ids(backend, texts), _ids(alone, texts), strict=True)
    return next((Difference(*each) for each in pairs if each[1] != each[2]), None)


def _ids(backend: tokenizers.Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [each.ids for each in backend.encode_batch(list(texts), add_special_tokens=False)]


def _changed_tokens(backend: tokenizers.Tokenizer, listed: Listed) -> list[str]:
    """Return the added tokens that the loaded tokenizer looks for in another way."""
    loaded = backend.get_added_tokens_decoder()
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return [
        str(token["content"])
        for token in listed.added_tokens or []
        if (own := loaded.get(token["id"])) is not None
        and any(token.get(flag, getattr(own, flag)) != getattr(own, flag) for flag in flags)
    ]


def _same_model(backend: tokenizers.Tokenizer, listed: Listed) -> bool:
    """Whether the model has the kind and the options that the file lists; null, false and "" are the same."""
    model, own = listed.model or ListedModel(), backend.model
    options = [name for name in ListedModel.__struct_fields__ if name != "type"]
    pairs = [(getattr(model, name), getattr(own, name, None)) for name in options if hasattr(own, name)]
    same = all((listed_value or None) == (value or None) for listed_value, value in pairs)
    return model.type in (None, type(own).__name__) and same


def _same_cuts(backend: tokenizers.Tokenizer, listed: Listed) -> bool:
    """Whether texts are normalized and cut as the file lists it, by structure or else by the ids of texts."""
    own = [_state(each) for each in (backend.normalizer, backend.pre_tokenizer)]
    if own == [listed.normalizer, listed.pre_tokenizer]:
        return True
    by_list = tokenizers.Tokenizer(backend.model)  # shares the vocabulary
    by_own = tokenizers.Tokenizer(backend.model)
    parts = _parts(listed.normalizer, listed.pre_tokenizer)
    if parts is None:
        return False
    _set_parts(by_list, parts.normalizer, parts.pre_tokenizer)
    _set_parts(by_own, backend.normalizer, backend.pre_tokenizer)
    return _ids(by_list, _TEXTS) == _ids(by_own, _TEXTS)


def _state(part: Any) -> Any:
    return None if part is None else json.loads(part.__getstate__())


def _set_parts(backend: tokenizers.Tokenizer, normalizer: Any, pre_tokenizer: Any) -> None:
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer


def _parts(normalizer: Any, pre_tokenizer: Any) -> tokenizers.Tokenizer | None:
    """Return a tokenizer with these parts and no vocabulary; None if they cannot be read."""
    spec = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(spec))
    except Exception:  # noqa: BLE001  the library raises bare exceptions
        return None
