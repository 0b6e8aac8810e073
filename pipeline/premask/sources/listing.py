"""The entries of a recipe's `sources`: which files each names, wherever they are, and what it takes of them.

    infos = inspect_sources(recipe.sources)

An entry is a path, a directory or a pattern on this machine, a URL that fsspec opens, or a dataset of the
Hub. Remote files are fetched into a cache once, or streamed where the entry says so; either way they are
inspected as local ones are, and their names are those of the URLs. Files of one entry keep their order; a
file that two entries name in the same way is read once. Web URLs are named without their credentials, so
entries that differ in these alone are refused.

Cost: that of inspection; an entry with a `limit` looks at no more files than it takes, and reads each once
more to count its rows.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..core.defaults import MAX_ROW_BYTES
from ..core.errors import RecipeError, SourceError
from ..core.recipe import Recipe
from ..core.records import Hook, Selection, SourceInfo
from ..core.redact import WEB, source_name
from ..core.source_entry import Source
from ..core.text import is_encodable
from ..core.urls import check_url, is_url
from . import hub_datasets
from .cutting import whole
from .files import check_is_file
from .formats import FORMATS, is_data, known_suffixes, without_descriptions
from .inspection import inspect_source
from .mapping import find_hook
from .reading import check_columns_exist, read_blocks
from .remote import fetch, list_url
from .saved_folders import saved_files
from .where import condition

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


_HUB_URL = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/?")


_HUB_ONLY = ("config", "split", "revision")


_WEB_URLS = tuple(f"{protocol}://" for protocol in WEB)


_COUNTED_AT_ONCE = 4096


class File(NamedTuple):
    """A file that an entry names: its name in reject log and lineage, and the place it is read from, if that
    is another one."""

    name: str
    url: str | None = None


def inspect_sources(
    sources: Sequence[Source],
    *,
    seed: int = 0,
    max_row_bytes: int = MAX_ROW_BYTES,
    salvage: bool = False,
    function: str | None = None,
) -> list[SourceInfo]:
    """Inspect all files of a recipe's `sources`, each once, in order; `seed` is that of samples, larger rows
    than `max_row_bytes` are not read. With `salvage` the whole rows of files that are cut short are taken.
    `function` makes rows of their rows (`map`), where an entry names none.

    Raises `SourceError` for what is not there or not what it should be, `RecipeError` for options that do not
    fit.
    """
    infos: list[SourceInfo] = []
    first: dict[str, int] = {}
    for number, entry in enumerate(sources):
        selection = _selection(entry, seed, function)
        left = entry.limit
        for file in _files(entry):
            if left == 0:
                break
            if _is_known(file.name, number, sources, first):
                continue
            info = inspect_source(file.name, file.url and _place(file.url, entry), salvage=salvage)
            if file.url is not None and file.url.startswith("hf://"):
                info = replace(info, version=f"commit {hub_datasets.commit_of(file.url)}")
            info = replace(info, entry=number, selection=selection, max_row_bytes=max_row_bytes)
            info = _with_delimiter(info, entry)
            if selection is not None:
                check_columns_exist(info)
            if left is not None:
                info, left = _limited(info, left)
            infos.append(info)
    return infos


def list_files(sources: Sequence[Source]) -> list[str]:
    """The names of all files that entries name, in order; nothing is opened."""
    return [file.name for entry in sources for file in _files(entry)]


def _files(entry: Source) -> Iterator[File]:
    """The files of an entry, in order."""
    hub = _HUB_URL.fullmatch(entry.path)
    if hub is not None or is_hub_id(entry.path):
        name, revision = (hub[1], hub[2]) if hub else (entry.path, None)
        for url in hub_datasets.data_files(name, entry.config, entry.split, entry.revision or revision):
            yield File(source_name(url), url)
        return
    if given := [key for key in _HUB_ONLY if getattr(entry, key) is not None]:
        raise RecipeError(
            f"sources: {entry.path}: '{given[0]}' is for datasets of the Hub (path: OWNER/NAME); leave it out"
        )
    if not is_url(entry.path):
        if entry.streaming:
            raise RecipeError(f"sources: {entry.path}: 'streaming' is for URLs and the Hub; leave it out")
        yield from (File(name) for name in find_sources([entry.path]))
        return
    check_url(entry.path, SourceError)
    if entry.path.startswith("file://"):
        yield from (File(name) for name in find_sources([entry.path.removeprefix("file://")]))
    elif entry.path.startswith("hf://"):
        yield from (File(url, hub_datasets.pinned(url)) for url in _listed(hub_datasets.list_url, entry.path))
    else:
        yield from (File(source_name(url), url) for url in _listed(list_url, entry.path))


def _listed(files_of: Callable[..., list[str]], url: str) -> list[str]:
    """URLs of the data files that a URL names."""
    return without_descriptions(files_of(url, is_data))


def is_hub_id(path: str) -> bool:
    """Whether a path that is nothing here looks like the name of a dataset, and not like that of a file."""
    is_path = path.startswith((".", "~")) or is_data(path)
    return not is_path and _HUB_ID.fullmatch(path) is not None and not Path(path).exists()


def _place(url: str, entry: Source) -> str:
    if entry.streaming:
        return url
    return hub_datasets.fetch(url) if url.startswith("hf://") else fetch(url)


def _is_known(name: str, number: int, sources: Sequence[Source], first: dict[str, int]) -> bool:
    """Whether a file was named before. Two entries that take it in two ways are an error."""
    key = name if is_url(name) else str(Path(name).absolute())
    if key not in first:
        first[key] = number
        return False
    one, other = (dict(sources[at]) for at in (first[key], number))
    if one["path"] != other["path"] and all(each["path"].startswith(_WEB_URLS) for each in (one, other)):
        raise RecipeError(
            f"sources: entries {first[key] + 1} and {number + 1} are {name} both, but for parts of the URL "
            "that are not written down, as they may be credentials; give them different paths, or name one"
        )
    different = [option for option in one if option != "path" and one[option] != other[option]]
    if different:
        raise RecipeError(
            f"sources: {name} is named by entry {first[key] + 1} and entry {number + 1}, which differ in "
            f"'{different[0]}'; name it once, or give both the same options"
        )
    return True


def _selection(entry: Source, seed: int, function: str | None) -> Selection | None:
    """What an entry takes of its rows, None if all, as they are."""
    if entry.where is not None:
        condition(entry.where)
    columns = None if entry.columns is None else tuple(entry.columns)
    seed = seed if entry.sample is not None else 0
    found = Selection(entry.where, entry.sample, seed, columns, hook_of(entry, function))
    return None if found == Selection() else found


def hook_of(entry: Source, function: str | None) -> Hook | None:
    """The function that makes rows of those of an entry: its own, else the recipe's. Raises `RecipeError`
    like `find_hook`."""
    name = entry.map or function
    return None if name is None else find_hook(name)


def _with_delimiter(info: SourceInfo, entry: Source) -> SourceInfo:
    """A file with the delimiter of its entry. Raises `RecipeError` where it is not CSV."""
    if entry.delimiter is not None and not FORMATS[info.format].has_delimiter:
        raise RecipeError(f"sources: {info.source}: 'delimiter' is for CSV and TSV; leave it out")
    return replace(info, delimiter=entry.delimiter)


def _limited(info: SourceInfo, left: int) -> tuple[SourceInfo, int]:
    """A file of which the first `left` rows are looked at, and how many are left for the files after it.

    Rows behind the limit are counted, but in a stream, which is read no further.
    """
    if FORMATS[info.format].has_footer:
        rows = info.rows or 0
        return replace(info, stop=min(left, rows), left_out=max(rows - left, 0)), max(left - rows, 0)
    stop, taken, more = info.stop, 0, 0
    streamed = info.at is not None and is_url(info.at.path)
    for block in read_blocks(whole(replace(info, selection=None)), _COUNTED_AT_ONCE):
        wanted = min(left - taken, len(block.numbers))
        taken, more = taken + wanted, more + len(block.numbers) - wanted
        if taken == left and wanted:
            stop = int(block.numbers[wanted - 1]) + 1
            if streamed:
                return replace(info, stop=stop, left_out=None), 0
    return replace(info, stop=stop, left_out=more), left - taken


def folders_of_splits(infos: Sequence[SourceInfo]) -> dict[str, list[str]]:
    """Folders of a `DatasetDict` that `save_to_disk` wrote, with the splits of each that are read, if there
    are several."""
    found: dict[str, list[str]] = {}
    for info in infos:
        split = Path(info.source).parent
        if not is_url(info.source) and (split.parent / "dataset_dict.json").is_file():
            found.setdefault(str(split.parent), []).append(split.name)
    splits = {folder: sorted({*names}) for folder, names in found.items()}
    return {folder: names for folder, names in splits.items() if len(names) > 1}


def entries_of_files(sources: Sequence[Source]) -> dict[str, int]:
    """Which entry of `sources`, by its number, names each local file that is here; of several the first."""
    found: dict[str, int] = {}
    for number, entry in enumerate(sources):
        path = entry.path.removeprefix("file://")
        if is_url(path) or is_hub_id(path):
            continue
        with suppress(SourceError, OSError, ValueError):  # somebody else may have named it
            for name in find_sources([path]):
                found.setdefault(name, number)
    return found


def inspect_again(name: str, recipe: Recipe, entries: Mapping[str, int]) -> SourceInfo:
    """Inspect a file of a finished run: as the entry of `sources` that names it says (`entries_of_files`),
    but with all its rows. Raises `SourceError` like `inspect_source`."""
    info, number = inspect_source(name, salvage=recipe.salvage), entries.get(name, 0)
    columns = recipe.sources[number].columns if name in entries else None
    selection = None if columns is None else Selection(columns=tuple(columns))
    info = replace(info, entry=number, selection=selection, max_row_bytes=recipe.max_row_bytes)
    return _with_delimiter(info, recipe.sources[number]) if name in entries else info


def find_sources(patterns: Sequence[str]) -> dict[str, int]:
    """Expand paths, directories and glob patterns (`**` too) into files, each once, in a fixed order, with
    the index of the first pattern that names them.

    The order is that of `patterns`; what one glob or directory yields is sorted. A directory means
    all files below it that have a known suffix; hidden ones are left out.

    Raises `SourceError` for a path that does not exist and a pattern or directory that yields nothing.
    """
    found: dict[str, tuple[str, int]] = {}
    for number, pattern in enumerate(patterns):
        _check_name(pattern)
        for name in _expand(pattern):
            _check_name(name)
            found.setdefault(os.path.abspath(name), (name, number))  # noqa: PTH100  # resolve() follows links
    return dict(found.values())


def _check_name(name: str) -> None:
    """Raise `SourceError` where a name is not UTF-8: no output could name the file."""
    if not is_encodable(name):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise SourceError(f"the name of {shown} is not UTF-8; rename the file")


def _expand(pattern: str) -> list[str]:
    if not pattern:
        raise SourceError("a source has an empty name; name a file, a directory or a pattern")
    if Path(pattern).is_dir():
        return _data_files(pattern)
    if Path(pattern).exists() or Path(pattern).is_symlink():
        check_is_file(pattern, Path(pattern))
        return [_posix(pattern)]
    if not glob.has_magic(pattern):
        raise SourceError(f"source '{pattern}' does not exist; check the path (looked from {Path.cwd()})")
    names = saved_files(without_descriptions(_glob(pattern)), whole=False)
    if not names:
        raise SourceError(f"pattern '{pattern}' matches no file; check it (looked from {Path.cwd()})")
    return names


def _data_files(folder: str) -> list[str]:
    names = _glob(f"{glob.escape(folder.rstrip('/'))}/**/*")
    names = saved_files(without_descriptions(name for name in names if is_data(name)))
    if not names:
        raise SourceError(f"directory '{folder}' holds no data files; known names end in {known_suffixes()}")
    return names


def _glob(pattern: str) -> list[str]:
    """Sorted files; unlike `Path.glob` it takes absolute patterns and leaves hidden files out.

    `SourceError` where something that is named like data is none: nothing is left out in silence.
    """
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    for name in names:
        if is_data(name) and not Path(name).is_dir():
            check_is_file(name, Path(name))
    return sorted(_posix(name) for name in names if Path(name).is_file())


def _posix(name: str) -> str:
    return name.replace(os.sep, "/")
