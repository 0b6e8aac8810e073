"""Tokenizers as `transformers` loads them: what trainers and inference servers get.

    hf, warnings = from_transformers("Qwen/Qwen3-0.6B")

No code of a tokenizer runs. If it names a class of its own (`auto_map`), its tokenizer.json is loaded without
it, with a warning.

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
from .tokenizer_folder import CONFIG, check_config, check_folder, read_object
from .transformers_library import transformers


def from_transformers(name: str, *, only_cached: bool = False) -> tuple[Any, list[str]]:
    """Return a tokenizer as an object of transformers, and warnings about it.

    With `only_cached`, the Hub is not asked. Raises `TokenizerError` if there is none or it cannot be read.
    """
    path, about = (file_of(name, each, only_cached=only_cached) for each in ("tokenizer.json", CONFIG))
    for file in (path, about):
        if file is not None:
            check_folder(file.parent, name)
    config = {} if about is None else read_object(about, name)
    check_config(config, name)
    hf, warnings = _by_class(name, path, own_code=bool(config.get("auto_map")), only_cached=only_cached)
    listed = None if path is None else read_listed(path)
    lost = _lost_tokens(listed, hf)
    if not lost:
        return hf, [*warnings, *_other_ids(name, hf, path, listed)]
    warning = (
        f"AutoTokenizer loses added tokens of {name} ({', '.join(lost[:5])}); tokenizer.json is used as it is"
    )
    hf = _as_it_is(name, only_cached=only_cached)
    lost = _lost_tokens(listed, hf)
    if lost:
        raise TokenizerError(
            f"tokenizer {name} gets other ids for added tokens ({', '.join(lost[:5])}) than its "
            "tokenizer.json lists; fix the file: their ids must be consecutive, after the vocabulary"
        )
    return hf, [*warnings, warning]


def _by_class(name: str, path: Path | None, *, own_code: bool, only_cached: bool) -> tuple[Any, list[str]]:
    """Return what `AutoTokenizer` loads; if that needs code of the tokenizer, its tokenizer.json as it is."""
    auto = transformers().AutoTokenizer
    try:
        return auto.from_pretrained(name, trust_remote_code=False, local_files_only=only_cached), []
    except Exception as error:
        if not own_code:
            raise
        if path is None:
            raise TokenizerError(
                f"tokenizer {name} needs code of its own (auto_map), which is never run, and has no "
                f"tokenizer.json; convert it first ({one_line(error, 100)})"
            ) from None
    warning = (
        f"tokenizer {name} names a class of its own (auto_map); its code is not run, tokenizer.json is used "
        "as it is. If trainers load the class (trust_remote_code), compare the ids"
    )
    return _as_it_is(name, only_cached=only_cached), [warning]


def _as_it_is(name: str, *, only_cached: bool) -> Any:
    fast = transformers().PreTrainedTokenizerFast
    return fast.from_pretrained(name, trust_remote_code=False, local_files_only=only_cached)


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


def file_of(name: str, file: str, *, only_cached: bool = False) -> Path | None:
    """Return a file of a tokenizer: in its directory, or in the cache of the Hub (fetched if necessary)."""
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    found = transformers().utils.cached_file(
        name,
        file,
        local_files_only=only_cached,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if found is None else Path(found)
