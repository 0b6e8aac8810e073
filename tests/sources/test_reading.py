"""Files -> rows, whatever their format: none is lost, and what changes meanwhile is noticed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from inputs import CORPUS, needs_corpus, read_units, rows_of, write
from premask.core.errors import SourceError
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice


def test_files_that_change_during_the_run_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    info = inspect_source(write(path, "{}\n" * 10))
    path.write_text("{}\n" * 5)

    with pytest.raises(SourceError, match=r"a.jsonl was changed while the run read it; start again"):
        plan_units([info], unit_rows=3)
    with pytest.raises(SourceError, match="was changed while the run read it"):
        list(read_slice(whole(info)))

    path.write_bytes(b"{}\n\xff\n")
    with pytest.raises(SourceError, match="not UTF-8: byte 0 of line 2: invalid start byte"):
        list(read_slice(whole(info)._replace(at=None)))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz"])
def test_a_file_that_grows_while_it_is_read_is_noticed(tmp_path: Path, name: str) -> None:
    text = "[{}, {}]" if name == "a.json" else "{}\n" * 1000
    path = tmp_path / name
    write(path, gzip.compress(text.encode()) if name.endswith(".gz") else text.replace("{}", "1"))
    rows = read_slice(whole(inspect_source(path.as_posix())))
    next(rows)
    with path.open("ab") as file:
        file.write(b" ")

    with pytest.raises(SourceError, match=f"{name} was changed while the run read it"):
        list(rows)


def test_peek_looks_at_the_start_and_the_middle(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", "".join(f'{{"n": {n}}}\n' for n in range(100, 200)))
    info = inspect_source(source)
    values = [row.value for row in read_slice(whole(info))]

    assert peek(info) == values
    assert peek(info, 10) == [*values[:5], *values[51:56]]


def test_peek_leaves_out_what_does_not_parse_and_stops_at_its_limit(tmp_path: Path) -> None:
    assert peek(inspect_source(write(tmp_path / "a.jsonl", "{oops\n{}\n"))) == [{}]
    assert peek(inspect_source(write(tmp_path / "a.csv", "a\n" + "x\n" * 9)), 3) == [{"a": "x"}] * 3


def corpus() -> list[Path]:
    return sorted(path for path in CORPUS.rglob("*") if path.is_file())


@needs_corpus
def test_every_corpus_file_is_read_or_refused() -> None:
    """Any real file gives rows or one SourceError, and cutting it loses nothing."""
    read = 0
    for path in corpus():
        try:
            info = inspect_source(path.as_posix())
        except SourceError:
            continue
        rows = list(read_slice(whole(info)))
        read += 1

        assert rows
        assert all(row.error is None for row in rows)
        if info.rows is not None:
            assert len(read_units([info], 97)) == len(rows)
    assert read > 100


@needs_corpus
@pytest.mark.parametrize(
    ("name", "form", "rows"),
    [
        ("gorilla/data/BFCL_v4_irrelevance.json", "jsonl", 240),
        ("gorilla/data/BFCL_v4_format_sensitivity.json", "json", 1),
        ("axolotl-fixtures/conversation.json", "json", 1),
        ("llamafactory/v1_multimodal_demo.jsonl", "jsonl", 24),
        ("open-assistant/history/en_100_message.jsonl.gz", "jsonl", 100),
        ("open-assistant/history/cocktail_recipes.parquet", "parquet", 875),
        ("alpaca-cleaned-ext/gsm_8k/gsm_8k_train.json", "json", 7473),
    ],
)
def test_corpus_files_hold_what_the_corpus_index_says(name: str, form: str, rows: int) -> None:
    source = (CORPUS / name).as_posix()

    assert inspect_source(source).format == form
    assert len(rows_of(source)) == rows
