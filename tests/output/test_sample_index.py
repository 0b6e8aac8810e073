"""The index of samples: the same samples in the same order as reading all of them, and each of them alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, premask
from premask.core.errors import OutputError
from premask.output.dataset import Dataset, open_dataset
from premask.output.read_samples import read_row, read_samples
from premask.output.sample_index import NOT_COUNTED, read_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample in two splits and shards of several row groups."""
    out = tmp_path_factory.mktemp("index") / "out"
    words = [
        "--max-length",
        512,
        "--too-long",
        "split",
        "--unit-rows",
        150,
        "--splits",
        "test=0.2",
        "--workers",
        1,
    ]
    done = premask("run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--output", out, *words)
    assert done.code == 0, done.err
    for shard in sorted((out / "packed").iterdir()):
        table = pq.read_table(shard)
        pq.write_table(table, shard, row_group_size=3, compression="gzip")
    return out


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return open_dataset(folder)


def test_each_sample_is_the_one_that_is_read_in_order(dataset: Dataset) -> None:
    index, number = read_index(dataset), 0
    assert set(index.trained.tolist()) == {NOT_COUNTED}
    for batch in read_samples(dataset):
        index.count_trained(batch)
        for i, origin in enumerate(batch.origin.to_pylist()):
            place = index.place(number)
            assert (place.split, place.row) == (batch.split, batch.row[i])
            assert (index.length[number], index.trained[number]) == (batch.length[i], batch.trained[i])
            assert (index.names[index.source[number]], index.row[number]) == (origin["source"], origin["row"])
            if number % 50 == 0:
                own, at = index.read(number)
                assert all(map(np.array_equal, own.tokens(at), batch.tokens(i)))
                assert own.origin.slice(at, 1).to_pylist() == [origin]
            number += 1

    assert index.is_counted
    assert number == len(index) > 300
    assert list(index.splits) == ["train", "test"]
    assert index.ids().to_pylist() == [line["id"] for line in index.lines(np.arange(number))]


def test_heads_and_lines_come_in_the_order_in_which_they_are_asked_for(dataset: Dataset) -> None:
    index = read_index(dataset)
    numbers = np.array([len(index) - 1, 3, 200, 3, 0])
    samples = [batch.tokens(i)[0] for batch, i in map(index.read, numbers.tolist())]

    assert [head.tolist() for head in index.heads(numbers, 7)] == [ids[:7].tolist() for ids in samples]
    assert [line["row"] for line in index.lines(numbers)] == index.row[numbers].tolist()
    assert index.heads(np.zeros(0, dtype=np.int64), 7) == []


def test_a_row_with_its_lines_known_is_the_same(dataset: Dataset) -> None:
    index = read_index(dataset)
    first, stop = index.rows("test")[2:4] - index.splits["test"].start
    known, found = read_row(dataset, "test", 2, range(first, stop)), read_row(dataset, "test", 2)

    assert known.origin.equals(found.origin)
    assert np.array_equal(known.ids, found.ids)
    with pytest.raises(OutputError, match="do not fit together"):
        read_row(dataset, "test", 2, range(first + 1, stop))


def test_samples_of_one_row(dataset: Dataset) -> None:
    index = read_index(dataset)
    several = next(i for i in range(len(index)) if len(index.of_row(i)) > 1)
    lines = index.lines(np.array(index.of_row(several)))

    assert {(line["source"], line["row"]) for line in lines} == {(lines[0]["source"], lines[0]["row"])}
    assert sorted(line["sample"] for line in lines) == list(range(len(lines)))


def test_only_the_row_groups_of_the_rows_are_read(dataset: Dataset) -> None:
    """The others may even be damaged."""
    (first, *_) = dataset.shards("packed", "train")
    path = dataset.root / first.path
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = path.read_bytes()
    start = group.dictionary_page_offset or group.data_page_offset
    damaged = content[: start + 60] + b"\xff" * 600 + content[start + 660 :]
    path.write_bytes(damaged)
    try:
        ((numbers, batch),) = dataset.rows(first, np.array([1, 2]), ["input_ids"])
        assert (numbers.tolist(), batch.num_rows) == ([1, 2], 2)
        with pytest.raises(OutputError, match="cannot be read"):
            list(dataset.rows(first, np.array([1, 4]), ["input_ids"]))
    finally:
        path.write_bytes(content)


def test_samples_that_do_not_fit(dataset: Dataset) -> None:
    index, batch = read_index(dataset), next(read_samples(dataset))
    with pytest.raises(OutputError, match="do not fit together"):
        index.count_trained(batch._replace(length=batch.length + 1))
