"""Which rows are taken, how often, and into which split: keys of rows, duplicates, repeats, the cache."""

from __future__ import annotations

import fcntl
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, premask
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.errors import RunError
from premask.core.recipe import Recipe, SplitBy
from premask.core.records import Conversation, Message
from premask.dialects import normalize, shaped_rows
from premask.dialects.openai import PLAIN
from premask.dialects.plain import plain_row
from premask.dialects.shaped import ShapedRows
from premask.output.dataset import open_dataset
from premask.review.verify import verify
from premask.running import cache as cache_module
from premask.running import shuffle as scatter
from premask.running.batches import BatchLabeller, no_samples
from premask.running.choosing import assign_splits, count_copies
from premask.running.dropped import Drop
from premask.running.duplicates import (
    HASHED,
    conversation_hash,
    count_by_source,
    duplicate_drops,
    find_duplicates,
    hashed_rows,
    shape_hash,
    shaped_keys,
    write_hashes,
)
from premask.running.run import RunResult, run

CHATS = SAMPLE / "conversations.jsonl"


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": turns, **more}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_on(out: Path, *sources: Any, **keys: Any) -> RunResult:
    values = {"sources": [each if isinstance(each, dict) else str(each) for each in sources]}
    values |= {"tokenizer": str(SAMPLE / "tokenizer"), "output": str(out), "max_length": 512}
    workers = keys.pop("workers", 1)
    return run(Recipe.model_validate(values | {"layout": ["packed", "unpacked"]} | keys), workers=workers)


def lineage_of(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(out.glob("lineage/*.parquet")) for row in pq.read_table(path).to_pylist()]


def bytes_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


# ==== Keys of rows ====

TEXTS = st.text(st.sampled_from("ab ,0\x001é\n"), max_size=4)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), TEXTS), min_size=1, max_size=4))
@settings(deadline=None)
def test_a_plain_row_has_the_hash_of_its_conversation(turns: list[tuple[str, str]]) -> None:
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    plain = plain_row(row, PLAIN)
    if plain is None:  # no answer, or an empty one
        return
    assert shape_hash(plain[0], plain[1]) == conversation_hash(normalize(row, "openai"))


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), max_size=3),
        min_size=2,
        max_size=30,
    )
)
def test_only_equal_conversations_have_one_hash(rows: list[list[tuple[str, str]]]) -> None:
    hashes = {
        tuple(row): conversation_hash(Conversation(tuple(Message(*turn) for turn in row))) for row in rows
    }
    assert len(set(hashes.values())) == len(hashes)


@pytest.mark.parametrize(
    "other",
    [
        Conversation((Message("user", "Hi"), Message("assistant", "Ho", train=False))),
        Conversation((Message("user", "Hi"), Message("assistant", "Ho", reasoning="because"))),
        Conversation((Message("user", "Hi"), Message("assistant", "Ho")), tools=({"name": "f"},)),
        Conversation((Message("user", "Hi"), Message("assistant", "Ho")), template_kwargs={"a": 1}),
        Conversation((Message("user", "Hi"), Message("assistant", "Ho", extra={"x": 1}))),
        Conversation((Message("user", "Hi"), Message("assistant", None))),
    ],
)
def test_all_that_is_trained_or_rendered_counts(other: Conversation) -> None:
    one = Conversation((Message("user", "Hi"), Message("assistant", "Ho")))

    assert conversation_hash(one) != conversation_hash(other)
    assert conversation_hash(one) == conversation_hash(Conversation(one.messages, id="7"))


FIELDS: list[dict[str, Any]] = [
    {},
    {"reasoning": "x"},
    {"name": "x"},
    {"tool_call_id": "x"},
    {"tool_calls": [{"name": "f", "arguments": {}}]},
    {"tool_calls": [{"name": "f", "arguments": {"a": 1, "b": 2}}]},
    {"tool_calls": [{"name": "f", "arguments": {"b": 2, "a": 1}}]},
    {"tool_calls": [{"name": "f", "arguments": {"a": True, "b": 2}}]},
    {"tool_calls": [{"id": "x", "name": "f", "arguments": {}}]},
    {"train": True},
    {"train": False},
    {"weight": 2},
    {"weight": 0.5},
]
BESIDE = [{}, {"tools": [{"name": "f"}]}, {"tools": [{"name": "f"}, {"name": "g"}]}, {"weight": 2}]


@pytest.mark.parametrize("split_by", list(SplitBy))
def test_rows_with_a_shape_have_the_keys_of_their_conversations(split_by: SplitBy) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "", **field}, {"role": "user", "content": f"{n % 3}"}, {"role": "assistant", "content": "Ho"}], **beside}
        for n, field in enumerate(FIELDS)
        for beside in BESIDE
    ]  # fmt: skip
    shaped, slow = shaped_rows(rows, "openai"), shaped_keys(ShapedRows(), len(rows), split_by)
    for at, row in enumerate(rows):
        slow.add(at, [normalize(row, "openai")])
    fast = shaped_keys(shaped, len(rows), split_by)

    assert shaped.index == list(range(len(rows)))
    assert (fast.hashes.tolist(), fast.groups.tolist()) == (slow.hashes.tolist(), slow.groups.tolist())
    assert len({bytes(each) for each in fast.hashes}) == len(rows)
    assert len(set(fast.groups.tolist())) == (len(rows) if split_by is SplitBy.conversation else 3)


def groups_of(rows: list[dict[str, Any]], split_by: SplitBy) -> tuple[list[int], list[int]]:
    """Groups found from plain rows, and from conversations."""
    plain = ShapedRows()
    for at, row in enumerate(rows):
        found = plain_row(row, PLAIN)
        assert found is not None
        plain.add(at, found)
    fast = shaped_keys(plain, len(rows), split_by)
    slow = shaped_keys(ShapedRows(), len(rows), split_by)
    for at, row in enumerate(rows):
        slow.add(at, [normalize(row, "openai")])
    assert fast.hashes.tolist() == slow.hashes.tolist()
    assert (fast.ids, fast.known.all()) == (slow.ids, slow.known.all())
    return fast.groups.tolist(), slow.groups.tolist()


@pytest.mark.parametrize(
    ("split_by", "groups"), [("first_user", "aabb"), ("id", "abcc"), ("conversation", "abcd")]
)
def test_what_keeps_rows_together(split_by: str, groups: str) -> None:
    rows = [
        chat("How  ARE you?", "Fine", id="1"),
        chat("how are\nyou?", "Well", "And?", "No", id="2"),
        {"messages": [{"role": "system", "content": "S"}, *chat("Bye", "Bye")["messages"]]},
        chat("bye ", "Now"),
    ]
    fast, slow = groups_of(rows, SplitBy(split_by))

    assert fast == slow
    same = [[one == other for other in fast] for one in fast]
    assert same == [[one == other for other in groups] for one in groups]


# ==== Duplicates ====


@given(st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=5), st.integers(1, 20))
@settings(deadline=None, max_examples=50)
def test_duplicates_are_the_later_ones(
    tmp_path_factory: pytest.TempPathFactory, units: list[list[int]], at_once: int
) -> None:
    """Against a dictionary, however many rows are looked at together; two slices a unit."""
    folder = tmp_path_factory.mktemp("hashes")
    paths, sources, seen = [], [], dict[int, tuple[str, int]]()
    expected: list[list[tuple[int, int, str, int]]] = []
    for number, values in enumerate(units):
        parts, names, found = [], [f"{number}a", f"{number}b"], list[tuple[int, int, str, int]]()
        for piece in (0, 1):
            own = values[piece::2]
            hashes = np.array([[value * 37 % 256, *[7] * 15] for value in own], dtype=np.uint8).reshape(
                -1, 16
            )
            known = np.array([value != 6 for value in own], dtype=bool)
            parts.append(hashed_rows(piece, np.arange(len(own)) + 5, hashes, known))
            for row, value in enumerate(own):
                if value == 6:
                    continue
                if value in seen:
                    found.append((piece, row + 5, *seen[value]))
                seen.setdefault(value, (names[piece], row + 5))
        paths.append(folder / f"{number}.npy")
        write_hashes(paths[-1], parts)
        sources.append(names)
        expected.append(found)
    found_all = find_duplicates(paths, at_once)
    drops = dict(duplicate_drops(paths, sources, found_all))

    for number, wanted in enumerate(expected):
        assert drops.get(number, []) == [
            Drop(piece, row, "duplicate", f"the same conversation is row {first} of {source}")
            for piece, row, source, first in wanted
        ]
    counts = Counter(sources[unit][line[0]] for unit, lines in enumerate(expected) for line in lines)
    assert count_by_source(paths, sources, found_all) == counts
    assert np.load(paths[0]).dtype == HASHED


def duplicates(folder: Path) -> list[Path]:
    """Two files of chats in two dialects; of seven rows four are an earlier one again, one is broken."""
    same = chat("Hi", "Ho")
    one = write(folder / "one.jsonl", [same, chat("A", "B"), {**same, "id": "again"}, {"messages": []}])
    gpt = {"conversations": [{"from": "human", "value": "A"}, {"from": "gpt", "value": "B"}]}
    question, answer = same["messages"]
    flagged = {"messages": [question, {**answer, "train": True}]}
    return [one, write(folder / "two.jsonl", [gpt, same, flagged, flagged])]


@pytest.mark.parametrize(("workers", "unit_rows"), [(1, None), (2, 1), (1, 2)])
def test_duplicates_are_dropped_and_listed(tmp_path: Path, workers: int, unit_rows: int | None) -> None:
    sources = duplicates(tmp_path)
    result = run_on(
        tmp_path / "out", *sources, duplicates="drop", workers=workers, unit_rows=unit_rows, verify=1
    )
    one, two = result.manifest["inputs"]

    assert {(Path(each["source"]).name, each["row"]) for each in lineage_of(tmp_path / "out")} == {
        ("one.jsonl", 0), ("one.jsonl", 1), ("two.jsonl", 2),
    }  # fmt: skip
    assert [one[key] for key in ("rows", "kept", "dropped", "duplicates", "rejected")] == [
        4, 2, 1, 1, {"no_messages": 1},
    ]  # fmt: skip
    assert [two[key] for key in ("rows", "kept", "dropped", "duplicates", "rejected")] == [4, 1, 3, 3, {}]
    lines = [
        line
        for path in sorted((tmp_path / "out/rejects").iterdir())
        for line in pq.read_table(path).to_pylist()
        if line["reason"] == "duplicate"
    ]
    assert [(Path(line["source"]).name, line["row"], line["id"], line["original"]) for line in lines] == [
        ("one.jsonl", 2, "again", None), ("two.jsonl", 0, None, None),
        ("two.jsonl", 1, None, None), ("two.jsonl", 3, None, None),
    ]  # fmt: skip
    assert [line["detail"] for line in lines] == [
        f"the same conversation is row {row} of {source}"
        for row, source in [(0, sources[0]), (1, sources[0]), (0, sources[0]), (2, sources[1])]
    ]
    assert verify(str(tmp_path / "out"), full=True).findings == ()


def test_duplicates_are_shown_with_the_rejects_and_not_exported(tmp_path: Path) -> None:
    run_on(tmp_path / "out", *duplicates(tmp_path), duplicates="drop")
    shown = premask("rejects", tmp_path / "out")
    assert "4 duplicate: the conversation is that of an earlier row" in shown.out
    assert f"the same conversation is row 0 of {tmp_path / 'one.jsonl'}" in shown.out
    assert shown.out.rstrip().endswith("1 rows rejected, 4 skipped as duplicates")
    found = json.loads(premask("rejects", tmp_path / "out", "--format", "json").out)
    assert (found["rejected"], found["by_reason"]["duplicate"]["rows"]) == (1, 4)
    assert premask("rejects", tmp_path / "out", "--reason", "duplicate").code == 0
    assert premask("rejects", tmp_path / "out", "--export", tmp_path / "mend.jsonl").code == 0
    assert (tmp_path / "mend.jsonl").read_text() == '{"messages": []}\n'


def test_duplicates_are_kept_but_counted(tmp_path: Path) -> None:
    result = run_on(tmp_path / "out", *duplicates(tmp_path), unit_rows=2)
    counts = result.manifest["counts"]

    assert [counts[key] for key in ("rows", "kept", "rejected", "duplicates", "dropped")] == [8, 7, 1, 4, 0]
    assert [each["duplicates"] for each in result.manifest["inputs"]] == [1, 3]
    assert verify(str(tmp_path / "out"), full=True).findings == ()


def test_a_duplicate_of_a_row_that_is_rejected_is_a_duplicate(tmp_path: Path) -> None:
    long = chat("Hi", "word " * 2000)
    source = write(tmp_path / "a.jsonl", [long, long, chat("Hi", "Ho")])
    result = run_on(tmp_path / "out", source, duplicates="drop")

    (account,) = result.manifest["inputs"]
    assert (account["kept"], account["dropped"], account["rejected"]) == (1, 1, {"too_long": 1})


# ==== Splits ====


def test_shares_hold_about_and_rows_move_little() -> None:
    groups = np.random.default_rng(1).integers(0, 2**63, 50_000).astype(np.uint64)
    shares = {"test": 0.05, "validation": 0.1}
    splits = assign_splits(groups, shares, seed=3)

    assert np.bincount(splits) / len(groups) == pytest.approx([0.85, 0.05, 0.1], abs=0.01)
    assert (assign_splits(groups[::-1], shares, seed=3)[::-1] == splits).all()
    assert (assign_splits(groups, shares, seed=4) == splits).mean() < 0.9
    more = assign_splits(groups, {"test": 0.06, "validation": 0.1}, seed=3)
    assert (more[splits == 1] == 1).all()


@pytest.mark.parametrize("layout", [["packed"], ["unpacked"], ["packed", "unpacked"]])
def test_an_output_with_splits(tmp_path: Path, layout: list[str]) -> None:
    result = run_on(
        tmp_path / "out", CHATS, splits={"validation": 0.2, "test": 0.1}, layout=layout, unit_rows=120
    )
    dataset, out = open_dataset(tmp_path / "out"), tmp_path / "out"
    assert dataset.manifest.as_dict() == result.manifest
    assert dataset.splits == ["train", "test", "validation"]
    assert verify(str(out), full=True).findings == ()
    counts = result.manifest["counts"]
    for key in ("samples", "tokens", "trained_tokens", "packs"):
        assert counts[key] == sum(each[key] for each in counts["splits"].values())
    for name in layout:
        loaded = load_dataset(str(out), name, cache_dir=str(tmp_path / "cache"))
        assert {split: len(rows) for split, rows in loaded.items()} == {
            split: sum(shard.rows for shard in dataset.shards(name, split)) for split in counts["splits"]
        }
        for split, rows in loaded.items():
            streamed = load_dataset(str(out), name, split=split, streaming=True)
            assert [row["input_ids"] for row in streamed] == [list(row) for row in rows["input_ids"]]
            tokens = [token for row in rows["input_ids"] for token in row]
            assert len(tokens) == counts["splits"][split]["tokens"]
    for line in lineage_of(out):
        assert line["split"] in counts["splits"]
    for split in counts["splits"]:
        own = [line for line in lineage_of(out) if line["split"] == split]
        assert {line["pack"] for line in own} == set(
            range(sum(shard.rows for shard in dataset.shards(layout[0], split)))
        )
        assert len(own) == counts["splits"][split]["samples"]


def test_no_first_question_stands_on_both_sides(tmp_path: Path) -> None:
    rows = [chat(f"Question {i // 3}", f"Answer {i}", id=str(i)) for i in range(300)]
    source = write(tmp_path / "a.jsonl", rows)
    run_on(tmp_path / "out", source, splits={"validation": 0.3})
    split_of = {int(line["id"]): line["split"] for line in lineage_of(tmp_path / "out")}

    assert len(split_of) == 300
    assert all(split_of[i] == split_of[3 * (i // 3)] for i in split_of)
    assert 0.2 < np.mean([split == "validation" for split in split_of.values()]) < 0.4
    run_on(tmp_path / "by_id", source, splits={"validation": 0.3}, split_by="id")
    by_id = {int(line["id"]): line["split"] for line in lineage_of(tmp_path / "by_id")}
    assert any(by_id[i] != by_id[3 * (i // 3)] for i in by_id)


def test_a_split_that_gets_no_rows_is_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [chat("Hi", "Ho")])
    seen, group = set(), np.array(groups_of([chat("Hi", "Ho")], SplitBy.first_user)[0], dtype=np.uint64)
    for seed in range(8):
        out = tmp_path / str(seed)
        keys = {"splits": {"validation": 0.5}, "seed": seed}
        if assign_splits(group, keys["splits"], seed)[0]:
            seen.add("train")
            with pytest.raises(
                RunError, match="no row is in train, all are in validation; lower their shares"
            ):
                run_on(out, source, **keys)
            continue
        result = run_on(out, source, **keys)
        seen.add("validation")
        assert verify(str(out), full=True).findings == ()
        loaded = load_dataset(str(out), "packed", cache_dir=str(tmp_path / "cache"))
        assert {split: len(rows) for split, rows in loaded.items()} == {"train": 1}
        assert [each for each in result.warnings if "split validation has no rows" in each]
    assert seen == {"train", "validation"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.1}, "'train' cannot be the name of a split"),
        ({"a-b": 0.1}, "'a-b' cannot be the name of a split"),
        ({"validation": 0}, "the share of validation is 0; it must be between 0 and 1"),
        ({"validation": 0.6, "test": 0.4}, "the shares add up to 1 or more"),
    ],
)
def test_splits_that_cannot_be(splits: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(sources=["a"], tokenizer="t", output="o", splits=splits)


def test_the_order_of_splits_changes_nothing() -> None:
    one, other = (
        Recipe(sources=["a"], tokenizer="t", output="o", splits=splits)
        for splits in ({"validation": 0.1, "test": 0.2}, {"test": 0.2, "validation": 0.1})
    )
    assert list(one.splits) == list(other.splits)
    assert one.identity() == other.identity()


# ==== Repeats ====


@given(st.floats(0, 5), st.integers(0, 99))
def test_copies_are_the_number_rounded_down_or_up(repeat: float, seed: int) -> None:
    copies = count_copies("a.jsonl", np.arange(100), repeat, seed)

    assert set(copies.tolist()) <= {int(repeat), int(repeat) + 1}
    assert (copies == count_copies("a.jsonl", np.arange(50, 100), repeat, seed).tolist()[0]).any()
    assert copies[50:].tolist() == count_copies("a.jsonl", np.arange(50, 100), repeat, seed).tolist()


def test_rows_that_are_repeated_and_left_out(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [chat(f"Q{i}", f"A{i}") for i in range(200)])
    two = write(tmp_path / "two.jsonl", [chat(f"R{i}", f"B{i}") for i in range(200)])
    result = run_on(
        tmp_path / "out",
        {"path": str(one), "repeat": 2.5},
        {"path": str(two), "repeat": 0.25},
        splits={"validation": 0.2},
        unit_rows=130,
    )
    first, second = result.manifest["inputs"]
    assert (first["kept"], first["left_out"]) == (200, {})
    assert second["kept"] + second["left_out"]["repeat"] == 200
    assert 25 < second["kept"] < 75
    times = Counter(
        (Path(line["source"]).name, line["row"], line["split"]) for line in lineage_of(tmp_path / "out")
    )
    assert {n for (name, _, split), n in times.items() if (name, split) == ("one.jsonl", "train")} == {2, 3}
    assert {n for (_, _, split), n in times.items() if split == "validation"} == {1}
    counts = result.manifest["counts"]
    assert counts["samples"] == times.total()
    assert sum(counts["tokens_by_role"].values()) == counts["tokens"]
    assert sum(counts["trained_by_role"].values()) == counts["trained_tokens"]
    assert verify(str(tmp_path / "out"), full=True).findings == ()


# ==== The cache ====


def test_runs_that_only_choose_otherwise_take_rows_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"cache": str(tmp_path / "cache"), "unit_rows": 100, "verify": 0.2}
    twin = write(tmp_path / "twin.jsonl", [json.loads(line) for line in CHATS.read_text().splitlines()[:2]])
    first = run_on(tmp_path / "first", CHATS, twin, **keys)
    run_on(tmp_path / "fresh", CHATS, twin, **{**keys, "cache": None})
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "fresh")
    other = {"splits": {"validation": 0.1}, "duplicates": "drop", "seed": 5, "layout": ["packed"]}
    mixed = [{"path": str(CHATS), "repeat": 1.5}, {"path": str(twin)}]
    expected = run_on(tmp_path / "expected", *mixed, **{**keys, **other, "cache": None})

    monkeypatch.setattr(BatchLabeller, "parts", mock.Mock(side_effect=RunError("a row was labelled again")))
    again = run_on(tmp_path / "again", *mixed, **keys, **other)
    assert bytes_of(tmp_path / "again") == bytes_of(tmp_path / "expected")
    assert again.manifest["counts"] == expected.manifest["counts"]
    assert first.manifest["counts"]["rejected"] > 0
    with pytest.raises(RunError, match="labelled again"):
        run_on(tmp_path / "longer", CHATS, twin, **keys, too_long="truncate")


def test_a_cache_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    keys = {"cache": str(tmp_path / "cache")}
    run_on(tmp_path / "one", CHATS, **keys)
    (kept,) = (tmp_path / "cache").rglob("*.arrow")
    good = kept.read_bytes()
    third = len(good) // 3
    torn = good[:third] + bytes(third) + good[2 * third :]  # as a disk that lost its power may have it
    for number, bad in enumerate((b"", b"nothing", good[:-20], good[: len(good) // 2], torn)):
        kept.write_bytes(bad)
        run_on(tmp_path / f"again{number}", CHATS, **keys)
        assert bytes_of(tmp_path / f"again{number}") == bytes_of(tmp_path / "one")
        assert kept.read_bytes() == good
    assert [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".arrow"]


def test_what_a_killed_process_left_in_the_cache_is_removed(tmp_path: Path) -> None:
    """But not what another process is writing, which holds a lock on it."""
    keys = {"cache": str(tmp_path / "cache")}
    run_on(tmp_path / "one", CHATS, **keys)
    (kept,) = (tmp_path / "cache").rglob("*.arrow")
    left, held = (kept.with_name(f".{kept.stem}.{name}") for name in ("left", "held"))
    left.write_bytes(b"half")
    kept.unlink()
    with held.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run_on(tmp_path / "two", CHATS, **keys)

    assert sorted(path.name for path in kept.parent.iterdir()) == sorted([held.name, kept.name])


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    done = premask(
        "run",
        CHATS,
        "--tokenizer",
        SAMPLE / "tokenizer",
        "--output",
        tmp_path / "out",
        "--cache",
        tmp_path / "cache",
    )
    assert done.code == 2
    assert done.err.startswith(f"premask: cache: {tmp_path / 'cache'} is a file; ")


def test_a_cache_that_other_users_can_write_is_not_used(tmp_path: Path) -> None:
    """They could put rows there with a mask of their own."""
    keys = {"cache": str(tmp_path / "cache")}
    run_on(tmp_path / "first", CHATS, **keys)
    (kept,) = (tmp_path / "cache").rglob("*.arrow")
    kept.chmod(0o666)
    with mock.patch.object(cache_module, "read_rows") as read:
        run_on(tmp_path / "second", CHATS, **keys)
    assert not read.called
    assert kept.stat().st_mode & 0o777 == 0o600

    (tmp_path / "cache").chmod(0o777)
    done = premask(
        "run",
        CHATS,
        "--tokenizer",
        SAMPLE / "tokenizer",
        "--output",
        tmp_path / "out",
        "--cache",
        tmp_path / "cache",
    )
    assert done.code == 2
    assert f"other users can write to {tmp_path / 'cache'}; run 'chmod go-w" in done.err


def test_the_name_of_a_cached_slice_tells_all_that_decides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache_module.code_hash()
    assert len(before) == 64
    with pytest.raises(ValueError, match="only rows with keys"):
        cache_module.as_row(no_samples([], np.arange(0)))
    assert pa.ipc is not None


# ==== Shuffling ====


def order_of(out: Path, split: str = "train") -> list[tuple[str, int, int]]:
    """The samples of a split as they stand in its unpacked shards."""
    rows = [
        row for path in sorted(out.glob(f"unpacked/{split}-*")) for row in pq.read_table(path).to_pylist()
    ]
    lines = [line for line in lineage_of(out) if line["split"] == split]
    places = {tuple(pack_samples(out, line)): line for line in lines}
    found = [places[tuple(row["input_ids"])] for row in rows]
    return [(Path(line["source"]).name, line["row"], line["sample"]) for line in found]


def pack_samples(out: Path, line: dict[str, Any]) -> list[int]:
    packs = packs_of(out, line["split"])
    return packs[line["pack"]][line["offset"] : line["offset"] + line["length"]]


@cache
def packs_of(out: Path, split: str) -> list[list[int]]:
    files = sorted(out.glob(f"packed/{split}-*"))
    return [row for path in files for row in pq.read_table(path).column("input_ids").to_pylist()]


def test_a_shuffled_output_has_the_same_samples_in_another_order(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [chat(f"Q{i}", f"A{i}") for i in range(300)])
    two = write(tmp_path / "two.jsonl", [chat(f"R{i}", f"B{i}") for i in range(200)])
    keys = {"splits": {"validation": 0.2}, "unit_rows": 60}
    plain = run_on(tmp_path / "plain", one, two, **keys)
    shuffled = run_on(tmp_path / "out", one, two, **keys, shuffle=True)
    assert verify(str(tmp_path / "out")).findings == ()
    assert verify(str(tmp_path / "out"), full=True).findings == ()
    for split in ("train", "validation"):
        before, after = (order_of(tmp_path / name, split) for name in ("plain", "out"))
        assert sorted(before) == sorted(after)
        assert before == sorted(before)
        place = {each: i for i, each in enumerate(before)}
        ranks = [place[each] for each in after]
        chance = 1 / np.sqrt(len(ranks))  # the deviation of a correlation that is there by chance
        assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 5 * chance
    for name in ("rows", "kept", "samples", "tokens", "trained_tokens", "tokens_by_role", "splits"):
        before, after = (result.manifest["counts"][name] for result in (plain, shuffled))
        if name == "splits":
            before, after = ({s: c["tokens"] for s, c in each.items()} for each in (before, after))
        assert before == after, name


def test_the_order_of_a_shuffle_depends_on_nothing_but_seed_and_input(tmp_path: Path) -> None:
    keys = {"shuffle": True, "layout": ["packed", "unpacked"], "duplicates": "drop"}
    source = {"path": str(CHATS), "repeat": 1.7}
    run_on(tmp_path / "one", source, **keys, unit_rows=40)
    run_on(tmp_path / "two", source, **keys, unit_rows=40, workers=2)
    run_on(tmp_path / "windows", source, **keys, unit_rows=40, pack_window=5000)
    run_on(tmp_path / "units", source, **keys, unit_rows=1000)
    run_on(tmp_path / "seed", source, **keys, unit_rows=40, seed=1)

    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    samples = {
        name: [
            row
            for path in sorted((tmp_path / name).glob("unpacked/*"))
            for row in pq.read_table(path).to_pylist()
        ]
        for name in ("one", "windows", "units", "seed")
    }
    assert samples["one"] == samples["windows"] == samples["units"]
    assert samples["one"] != samples["seed"]
    assert verify(str(tmp_path / "windows"), full=True).findings == ()


def test_a_shuffle_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"shuffle": True, "unit_rows": 60}
    run_on(tmp_path / "whole", CHATS, **keys)
    done = []

    def stop(*arguments: Any, **more: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(scatter.pack_bucket(*arguments, **more))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr("premask.running.run.pack_bucket", stop)
        with pytest.raises(KeyboardInterrupt):
            run_on(tmp_path / "out", CHATS, **keys)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(BatchLabeller, "parts", lambda *_: pytest.fail("a row was labelled again"))
    run_on(tmp_path / "out", CHATS, **keys)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
