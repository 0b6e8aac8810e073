"""Where a tokenizer is: a directory, a copy in the cache of the Hub, or the Hub. One quick question, at most.

    found = locate("Qwen/Qwen3-0.6B")
    found.is_folder, found.only_cached

The clients of the Hub ask again and again if nobody answers, for a minute in all. So it is asked once before,
for one file, with a time limit that also holds for the look-up of its address.

Cost: nothing for a directory, one request for a name of the Hub.
"""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..core.errors import TokenizerError, one_line
from .tokenizer_folder import CONFIG

_SECONDS = 4.0
_MOST_ENTRIES = 2000
_NO_ANSWER = f"it does not answer within {_SECONDS:g} seconds"


class Located(NamedTuple):
    """Where a tokenizer is.

    is_folder    whether its name is that of a directory
    only_cached  whether only the cache of the Hub may be used: the Hub cannot be reached
    """

    is_folder: bool
    only_cached: bool = False


def locate(name: str) -> Located:
    """Find out where a tokenizer is. Raises `TokenizerError` if it is nowhere, or cannot be fetched now."""
    path = Path(name)
    if "\0" in name or not name.strip():
        raise TokenizerError(f"tokenizer {name!r} is no name; give a directory or a name of the Hub")
    if path.is_dir():
        return Located(is_folder=True)
    if path.exists():
        raise TokenizerError(f"tokenizer {name} is a file; give its directory")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        hint = _near(path) or "check the path"
        raise TokenizerError(f"tokenizer directory {name} does not exist; {hint}")
    return _on_the_hub(name)


def hub_name(name: str) -> str:
    """Return the name on the Hub of a tokenizer that can be loaded, also of a folder in the Hub's cache;
    empty for any other folder.

    >>> hub_name("Qwen/Qwen3-0.6B"), hub_name("/cache/models--Qwen--Qwen3-0.6B/snapshots/c1899de289a0")
    ('Qwen/Qwen3-0.6B', 'Qwen/Qwen3-0.6B')
    """
    if found := _CACHED.search(name):
        return found[1].replace("--", "/", 1)
    path = Path(name)
    return "" if path.is_dir() or path.is_absolute() or not _NAME.fullmatch(name) else name


_CACHED = re.compile(r"(?:^|/)models--([A-Za-z0-9][\w.-]*)/snapshots/[0-9a-f]+/?$")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def _on_the_hub(name: str) -> Located:
    from huggingface_hub import constants, errors, utils  # noqa: PLC0415  most tokenizers are local

    try:
        utils.validate_repo_id(name)
    except errors.HFValidationError:
        raise _missing(name, "it is no name of the Hub") from None
    problem = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else _asked(lambda: _head(name))
    if not problem:
        return Located(is_folder=False)
    if problem == _NOT_THERE:
        raise _missing(name, "the Hub has no repository of that name, or it is private (then set HF_TOKEN)")
    if _is_cached(name):
        return Located(is_folder=False, only_cached=True)
    raise _missing(name, f"the Hub cannot be used ({problem}) and its cache has no copy")


_NOT_THERE = "not there"


def _missing(name: str, why: str) -> TokenizerError:
    hint = _near(Path(name)) or "check the name"
    return TokenizerError(f"tokenizer {name} cannot be loaded: there is no such directory, and {why}; {hint}")


def _head(name: str) -> str:
    """Ask for a file of a repository; return what is wrong, empty if the Hub may be used."""
    from huggingface_hub import hf_hub_url, utils  # noqa: PLC0415  most tokenizers are local

    response = utils.get_session().head(
        hf_hub_url(name, CONFIG),
        headers=utils.build_hf_headers(),
        timeout=_SECONDS,
        follow_redirects=False,
    )
    status, code = response.status_code, response.headers.get("X-Error-Code", "")
    if code == "GatedRepo":
        return "the repository is gated: ask for access there, and set HF_TOKEN"
    if code == "RepoNotFound" or status == 401:
        return _NOT_THERE
    if status == 404 or status < 400:  # 404: the repository has no such file
        return ""
    return f"it answers with status {status}"


def _asked(ask: Callable[[], str]) -> str:
    """Return what `ask` returns, or why it returns nothing in time; it is not waited for any longer."""
    found = [_NO_ANSWER]

    def work() -> None:
        try:
            found[0] = ask()
        except Exception as error:  # noqa: BLE001  each client of the web has errors of its own
            timed_out = "Timeout" in type(error).__name__
            found[0] = _NO_ANSWER if timed_out else one_line(error, 100)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found[0]


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  most tokenizers are local

    files = ("tokenizer.json", CONFIG)
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _near(path: Path) -> str:
    """Return a hint at a directory with a similar name; empty if there is none."""
    try:
        beside = [each for each in islice(path.parent.iterdir(), _MOST_ENTRIES) if each.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, [each.name for each in beside], n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""
