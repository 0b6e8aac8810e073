"""Folders that `save_to_disk` of `datasets` wrote: their `state.json` says which Arrow files hold their rows.

    {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], ...}

Others beside them, such as the `cache-*.arrow` that `Dataset.map` leaves there, hold the same rows again.

Cost: the read of one small file a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import SourceError
from ..core.strict_json import parse_json

_STATE, _ARROW = "state.json", ".arrow"


def saved_files(names: Sequence[str], *, whole: bool = True) -> list[str]:
    """Files without the Arrow files that their folder does not name as its data.

    Raises `SourceError` where a file of a folder is missing (if folders are read as a `whole`), or where the
    folder selects rows by indices.
    """
    folders = {name.rpartition("/")[0] for name in names if name.endswith(_ARROW)}
    listed = {folder: found for folder in sorted(folders) if (found := _listed(folder)) is not None}
    for folder, files in listed.items():
        missing = [file for file in files if whole and not (Path(folder) / file).is_file()]
        if missing:
            raise SourceError(
                f"{folder} has no {missing[0]}, which its {_STATE} names; copy the folder again, or name its "
                "files one by one"
            )
    return [name for name in names if _is_listed(name, listed)]


def _is_listed(name: str, listed: dict[str, list[str]]) -> bool:
    folder, _, file = name.rpartition("/")
    return not name.endswith(_ARROW) or folder not in listed or file in listed[folder]


def _listed(folder: str) -> list[str] | None:
    """The data files of a folder, by its state; None if it has none."""
    state = _state(Path(folder) / _STATE)
    if any(held for key, held in state.items() if key.startswith("_indices")):
        raise SourceError(
            f"{folder} selects its rows by indices; save it again: load_from_disk(...).flatten_indices()"
            ".save_to_disk(...)"
        )
    files = state.get("_data_files")
    entries = files if isinstance(files, list) else []
    named = [each.get("filename") for each in entries if isinstance(each, dict)]
    return [each for each in named if isinstance(each, str)] or None


def _state(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
