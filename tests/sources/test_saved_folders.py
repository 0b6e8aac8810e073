"""Folders of `save_to_disk`: exactly the rows that they name."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from premask.core.errors import SourceError
from premask.core.source_entry import Source
from premask.sources.listing import find_sources, inspect_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    datasets.Dataset.from_dict({"text": list("abcd")}).save_to_disk(tmp_path / "a", num_shards=2)
    datasets.load_from_disk(tmp_path / "a").map(lambda row: {"n": row["text"]})
    return tmp_path / "a"


def test_the_cache_of_a_map_is_not_read(folder: Path) -> None:
    assert [*folder.glob("cache-*.arrow")]
    for path in (str(folder), f"{folder}/*.arrow"):
        assert [info.rows for info in inspect_sources([Source(path=path)])] == [2, 2]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(SourceError, match=r"has no data-00001-of-00002\.arrow, which its state\.json names"):
        find_sources([str(folder)])


def test_a_pattern_may_name_some_of_the_files(folder: Path) -> None:
    assert [Path(name).name for name in find_sources([f"{folder}/data-00001*"])] == [
        "data-00001-of-00002.arrow"
    ]


def test_rows_that_indices_select_are_refused(folder: Path) -> None:
    state = folder / "state.json"
    state.write_text(state.read_text().replace("{", '{"_indices_files": [{"filename": "i.arrow"}],', 1))
    with pytest.raises(SourceError, match="flatten_indices"):
        find_sources([str(folder)])


@pytest.mark.parametrize("state", ["{}", "[]", "x", '{"_data_files": 3}'])
def test_a_state_that_names_no_files_says_nothing(folder: Path, state: str) -> None:
    (folder / "state.json").write_text(state)
    assert len(find_sources([str(folder)])) == 3
