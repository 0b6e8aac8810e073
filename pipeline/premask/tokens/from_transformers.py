"""Tokenizers as `transformers` loads them: what trainers and inference servers get.

    hf, warnings = from_transformers("Qwen/Qwen3-0.6B")

Some classes of `AutoTokenizer` rebuild a tokenizer from its parts and lose added tokens that are in
`tokenizer.json` only. Then `tokenizer.json` is loaded as it is, with a warning. If the ids of texts differ,
this is a warning, too (`tokenizer_check.py`).

Cost: half a second and about 100 MB, besides the import of the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers

from ..core.errors import TokenizerError, one_line
from .tokenizer_check import Listed, first_difference, read_listed
from .transformers_library import transformers


def from_transformers(name: str) -> tuple[Any, list[str]]:
    """Return a tokenizer as an object of transformers, and warnings about it.

    Raises `TokenizerError` if there is none or it cannot be read.
    """
    library = transformers()
    try:
        hf = library.AutoTokenizer.from_pretrained(name)
    except Exception as error:  # noqa: BLE001  transformers raises whatever its parsers do
        reason = one_line(error, 300)
        where = "" if Path(name).is_dir() else "there is no directory of that name here, and "
        raise TokenizerError(
            f"tokenizer {name} cannot be loaded: {where}{type(error).__name__}: {reason}"
        ) from None
    path = file_of(name, "tokenizer.json")
    listed = None if path is None else read_listed(path)
    lost = _lost_tokens(listed, hf)
    if not lost:
        return hf, _other_ids(name, hf, path, listed)
    warning = (
        f"AutoTokenizer loses added tokens of {name} ({', '.join(lost[:5])}); tokenizer.json is used as it is"
    )
    hf = library.PreTrainedTokenizerFast.from_pretrained(name)
    lost = _lost_tokens(listed, hf)
    if lost:
        raise TokenizerError(
            f"tokenizer {name} gets other ids for added tokens ({', '.join(lost[:5])}) than its "
            "tokenizer.json lists; fix the file: their ids must be consecutive, after the vocabulary"
        )
    return hf, [warning]


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


def file_of(name: str, file: str) -> Path | None:
    """Return a file of a tokenizer: in its directory, or in the cache of the Hub (fetched if necessary)."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    found = transformers().utils.cached_file(
        name,
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
