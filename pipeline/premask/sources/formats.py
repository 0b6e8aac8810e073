"""The formats that are read, and which of them a file name promises."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .arrow_files import ARROW
from .blocks import Format
from .csv_files import CSV
from .files import COMPRESSIONS, suffixes
from .json_array import JSON
from .json_values import JSON_VALUES, JSON_WRAPPED
from .jsonl import JSONL
from .parquet import PARQUET

FORMATS: Mapping[str, Format] = {
    each.name: each for each in (JSONL, JSON, JSON_VALUES, JSON_WRAPPED, CSV, PARQUET, ARROW)
}
"""Name, as in `SourceInfo.format` -> format."""

_BY_SUFFIX = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}


def split_name(name: str) -> tuple[Format | None, str | None]:
    """Format and compression that a file name promises; a format of None when it promises none.

    >>> form, compression = split_name("chats/A.JSONL.gz")
    >>> form.name, compression, split_name("chats/notes.txt")
    ('jsonl', 'gzip', (None, None))
    """
    suffix, packed = suffixes(name)
    form = _BY_SUFFIX.get(suffix)
    return (None, None) if packed and form and form.magic else (form, COMPRESSIONS.get(packed))


def is_data(name: str) -> bool:
    """Whether a file name promises a format that is read."""
    return split_name(name)[0] is not None


def known_suffixes() -> str:
    """The suffixes that files may have, for error texts."""
    alone = " and ".join(suffix for suffix, form in _BY_SUFFIX.items() if form.magic)
    return f"{', '.join(_BY_SUFFIX)}, each but {alone} also with {' or '.join(COMPRESSIONS)}"


_BESIDE_ARROW = ("state.json", "dataset_info.json")


def without_descriptions(names: Iterable[str]) -> list[str]:
    """Names of files without those that describe the Arrow files beside them: `save_to_disk` of `datasets`
    writes them.

    >>> without_descriptions(["a/data.arrow", "a/state.json", "b/state.json"])
    ['a/data.arrow', 'b/state.json']
    """
    files = list(names)
    folders = {name.rpartition("/")[0] for name in files if split_name(name)[0] is ARROW}
    left_out = {f"{folder}/{name}".lstrip("/") for folder in folders for name in _BESIDE_ARROW}
    left_out |= {f"{folder.rpartition('/')[0]}/dataset_dict.json".lstrip("/") for folder in folders}
    return [name for name in files if name.lstrip("/") not in left_out]
