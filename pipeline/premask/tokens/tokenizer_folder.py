"""What a tokenizer folder may hold, checked before anything of it is read: it may come from a stranger.

    check_folder(Path("models/qwen3"), "models/qwen3")       # raises TokenizerError, with one line
    check_templates(template, "models/qwen3")

Only regular files are read. A link may lead to a file of the same folder, or to where the cache of the Hub
keeps its files; another one could bring any file of this machine into an output. Files of model weights are
not looked at, because no tokenizer reads them. Sizes are bounded, because the libraries read whole files.

Cost: 10 us a file, and a millisecond for `tokenizer_config.json`.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import TokenizerError
from ..core.text import is_encodable, kind, visible

WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".npz", ".ot"}
"""Endings of files that a model may have beside its tokenizer, and that no tokenizer reads."""

TEMPLATE_FOLDERS = ("additional_chat_templates", "chat_templates")
CONFIG = "tokenizer_config.json"

_READ = {".json", ".jinja", ".model", ".tiktoken", ".txt"}
_MOST_BYTES = 256 << 20
_MOST_BYTES_OF = {
    CONFIG: 16 << 20,
    **dict.fromkeys(("special_tokens_map.json", "added_tokens.json", "config.json"), 16 << 20),
    **dict.fromkeys(("generation_config.json", "chat_template.jinja", "chat_template.json"), 1 << 20),
}
_MOST_FILES = 10_000
_MOST_TEMPLATES, _MOST_TEMPLATE_BYTES = 64, 1 << 20
_TEMPLATE_NAME = re.compile(r"(?!\.)[\w.+-]{1,64}", re.ASCII)


_OF_A_TOKENIZER = re.compile(r"token|vocab|merges|tekken|spiece|sentencepiece|\.model$", re.IGNORECASE)
"""Names of files of which at least one is in the folder of any tokenizer."""


def check_folder(folder: Path, name: str) -> None:
    """Raise `TokenizerError` if a folder holds what must not be read, or no tokenizer; `name` names it."""
    for number, path in enumerate(files_in(folder)):
        if number == _MOST_FILES:
            raise TokenizerError(f"tokenizer {name} has more than {_MOST_FILES:,} files; remove the others")
        problem = _problem(path, folder)
        if problem:
            where = visible(str(path.relative_to(folder)))
            raise TokenizerError(f"tokenizer {name} cannot be used: {where} {problem}")
    names = sorted(path.name for path in folder.iterdir())
    if not any(_OF_A_TOKENIZER.search(each) for each in names):
        has = ", ".join(visible(each) for each in names[:5]) or "nothing"
        raise TokenizerError(
            f"tokenizer {name} cannot be loaded: the folder has no tokenizer.json; it has {has}"
        )


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files that a tokenizer may read, whatever they are: no folders, no weights of a model."""
    for each in (folder, *(folder / name for name in TEMPLATE_FOLDERS)):
        if each.is_dir():
            yield from (path for path in each.iterdir() if not (path.is_dir() or path.suffix in WEIGHTS))


def _problem(path: Path, folder: Path) -> str:
    """Return what is wrong with a file; empty if it may be read."""
    try:
        about, target = path.stat(), path.resolve(strict=True)
    except (OSError, RuntimeError):  # a link to itself
        return "is a link that leads nowhere; replace it by the file"
    if not stat.S_ISREG(about.st_mode):
        return "is no regular file; remove it"
    if path.is_symlink() and not any(target.is_relative_to(each) for each in _own_folders(folder)):
        return "is a link that leads out of the folder; replace it by the file"
    most = _MOST_BYTES_OF.get(path.name, _MOST_BYTES)
    if path.suffix in _READ and about.st_size > most:
        return f"has {about.st_size >> 20:,} MB, more than {most >> 20} MB; it is not what its name says"
    return ""


def _own_folders(folder: Path) -> list[Path]:
    """Return where the files of a folder may be. In the cache of the Hub, `snapshots` link to `blobs`;
    the tokenizer of an output is a folder in a snapshot."""
    whole = folder.resolve()
    snapshots = [each.parent for each in (whole, whole.parent) if each.parent.name == "snapshots"]
    return [whole, *(each.parent / "blobs" for each in snapshots)]


# ==== What is in the files ====


def read_object(path: Path, name: str) -> dict[str, Any]:
    """Return the JSON object of a file that was checked; empty if there is no file.

    Raises `TokenizerError` if it holds something else.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else visible(str(error))
        raise TokenizerError(f"tokenizer {name} cannot be loaded: {path.name}: {reason[:200]}") from None
    if not isinstance(value, dict):
        detail = f"{path.name} holds {_a(kind(value))}, not an object"
        raise TokenizerError(f"tokenizer {name} cannot be loaded: {detail}")
    return value


def check_config(config: Mapping[str, Any], name: str) -> None:
    """Raise `TokenizerError` if the chat templates in a tokenizer_config.json are none."""
    template = config.get("chat_template")
    if isinstance(template, list):
        template = dict(_named_template(each, name) for each in template)
    check_templates(template, name)


def _named_template(entry: object, name: str) -> tuple[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "template" not in entry:
        raise _refused(name, "an entry of its list is no object with 'name' and 'template'")
    return entry["name"], entry["template"]


def check_templates(template: object, name: str) -> None:
    """Raise `TokenizerError` unless `template` is a text, texts by name, or None.

    The names are those of files in an output.
    """
    if template is None:
        return
    if isinstance(template, str):
        template = {"default": template}
    if not isinstance(template, dict):
        raise _refused(name, f"it is {_a(kind(template))}, not a text or texts by name")
    if len(template) > _MOST_TEMPLATES:
        raise _refused(name, f"there are {len(template):,}, more than {_MOST_TEMPLATES}")
    for own, text in template.items():
        _check_template(own, text, name)


def _check_template(own: object, text: object, name: str) -> None:
    if not isinstance(own, str) or not _TEMPLATE_NAME.fullmatch(own):
        shown = visible(str(own)[:40])
        raise _refused(name, f"the name {shown!r} is none; use letters, digits, '.', '-', '_' and '+'")
    if not isinstance(text, str):
        raise _refused(name, f"{own!r} is {_a(kind(text))}, not a text")
    if not is_encodable(text):
        raise _refused(name, f"{own!r} has half of a surrogate pair")
    if len(text) > _MOST_TEMPLATE_BYTES:
        raise _refused(name, f"{own!r} has more than {_MOST_TEMPLATE_BYTES >> 20} MB")


def _refused(name: str, why: str) -> TokenizerError:
    return TokenizerError(f"the chat template of tokenizer {name} cannot be used: {why}; fix {CONFIG}")


def _a(word: str) -> str:
    """Return a word with its article.

    >>> _a("array"), _a("number")
    ('an array', 'a number')
    """
    return word if word == "null" else f"a{'n' * (word[0] in 'aeiou')} {word}"
