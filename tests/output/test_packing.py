"""Packing against a slow twin that places one sample at a time, and the tables against hand-made rows."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from premask.core.contract import LINEAGE_SCHEMA, ORIGIN_SCHEMA, PACKED_SCHEMA, UNPACKED_SCHEMA
from premask.core.records import SampleOrigin, Samples
from premask.core.text import storable
from premask.output.packing import PackPlan, in_seeded_order, one_each, plan_packs
from premask.output.spreading import together
from premask.output.tables import (
    Padding,
    RowFormat,
    _list_offsets,
    lineage_table,
    pack_tables,
    unpacked_table,
)
from premask.output.windows import concat_samples, cut_samples, origin_table

EXAMPLES = int(os.environ.get("PREMASK_MAX_EXAMPLES", "300"))


@dataclass
class Bin:
    """A bin of the slow twin: the room it has left, since when, and its samples."""

    room: int
    since: int
    samples: list[int] = field(default_factory=list)


def pack_table(samples: Samples, plan: PackPlan) -> pa.Table:
    """All packs, made two at a time."""
    return pa.Table.from_batches(pack_tables(samples, plan, 2))


def slow_packs(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing as the textbook has it: each sample looks at every bin."""
    bins: list[Bin] = []
    longest_first = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for clock, sample in enumerate(longest_first):
        fitting = [b for b in bins if b.room >= lengths[sample]]
        if not fitting:
            fitting = [Bin(capacity, clock)]
            bins += fitting
        best = min(fitting, key=lambda b: (b.room, b.since))
        best.samples.append(sample)
        best.room, best.since = best.room - lengths[sample], clock
    return sorted((sorted(b.samples) for b in bins), key=min)


def packs_of(plan: PackPlan) -> list[list[int]]:
    bounds = plan.offsets.tolist()
    return [plan.order[a:b].tolist() for a, b in pairwise(bounds)]


def contents(packs: list[list[int]], lengths: list[int]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(sorted(lengths[i] for i in pack)) for pack in packs)


@st.composite
def capacity_and_lengths(draw: st.DrawFn) -> tuple[int, list[int]]:
    capacity = draw(st.integers(1, 40))
    few = st.sampled_from(draw(st.lists(st.integers(1, capacity), min_size=1, max_size=4)))
    length = draw(st.sampled_from([few, st.integers(1, capacity)]))  # many equal lengths, or any
    return capacity, draw(st.lists(length, max_size=120))


@given(capacity_and_lengths())
@settings(max_examples=EXAMPLES, deadline=None)
@example((10, [5, 3, 4, 2, 2]))
@example((10, [6, 3, 3, 4, 4]))  # two bins with room 4 but other contents
@example((1, [1, 1, 1]))
def test_the_fast_plan_is_that_of_the_slow_twin(drawn: tuple[int, list[int]]) -> None:
    capacity, lengths = drawn
    fast, slow = packs_of(plan_packs(np.array(lengths), capacity)), slow_packs(lengths, capacity)

    assert len(fast) == len(slow)
    assert contents(fast, lengths) == contents(slow, lengths)
    assert fast == slow  # and not only alike: equal bins and samples are told apart in the same way


@given(capacity_and_lengths())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_plan_has_every_sample_once_and_no_pack_overflows(drawn: tuple[int, list[int]]) -> None:
    capacity, lengths = drawn
    plan = plan_packs(np.array(lengths), capacity)
    packs = packs_of(plan)

    assert sorted(plan.order.tolist()) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in pack) <= capacity for pack in packs)
    assert [pack[0] for pack in packs] == sorted(pack[0] for pack in packs)
    assert all(pack == sorted(pack) for pack in packs)
    assert plan.order.dtype == plan.offsets.dtype == np.int64


def test_a_large_plan_agrees_with_the_slow_twin() -> None:
    rng = np.random.default_rng(7)
    lengths = np.clip(rng.lognormal(4, 1, 1500).astype(np.int64), 1, 512)

    assert packs_of(plan_packs(lengths, 512)) == slow_packs(lengths.tolist(), 512)


def test_lengths_of_more_than_16_bits_agree_with_the_slow_twin() -> None:
    """Sorting takes 16 bits at a time."""
    lengths = np.random.default_rng(3).integers(1, 200_000, 400)

    assert packs_of(plan_packs(lengths, 200_000)) == slow_packs(lengths.tolist(), 200_000)


def test_no_samples_give_no_packs() -> None:
    plan = plan_packs(np.array([], dtype=np.int64), 8)

    assert (plan.order.tolist(), plan.offsets.tolist()) == ([], [0])


@pytest.mark.parametrize("length", [0, -3, 9])
def test_a_length_that_fits_no_pack_is_refused(length: int) -> None:
    with pytest.raises(
        ValueError, match=rf"sample 1 has {length} tokens, .* 1 to 8 \(1 such samples\); reject"
    ):
        plan_packs(np.array([8, length, 1]), 8)


def test_a_million_chat_lengths_take_the_time_of_sorting_them_and_fill_the_packs() -> None:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(6.4, 1.0, 1_000_000).astype(np.int64), 1, 8192)
    begin = time.process_time()
    lengths.tolist().sort()
    middle = time.process_time()
    plan = plan_packs(lengths, 8192)
    end = time.process_time()

    assert lengths.sum() / (8192 * (len(plan.offsets) - 1)) > 0.999
    assert end - middle < 20 * (middle - begin)  # a third of it; the slow twin would take hours


@pytest.mark.parametrize("seed", range(3))
def test_a_window_of_chat_lengths_needs_at_most_one_pack_more_than_its_tokens_fill(seed: int) -> None:
    lengths = np.clip(np.random.default_rng(seed).lognormal(6.7, 1.0, 12_600).astype(np.int64), 1, 8192)
    packs = len(plan_packs(lengths, 8192).offsets) - 1

    assert packs <= -(-int(lengths.sum()) // 8192) + 1


# ==== Tables ====

SAMPLES = Samples(
    ids=np.array([10, 11, 12, 20, 21, 30], dtype=np.int32),
    labels=np.array([-100, 11, 12, -100, 21, -100], dtype=np.int32),
    offsets=np.array([0, 3, 5, 6]),
    origin=origin_table(
        [
            SampleOrigin("a.jsonl", 0, "first", 0, (1, 3)),
            SampleOrigin("a.jsonl", 4, None, 0, (1,)),
            SampleOrigin("b.jsonl", 0, None, 1, ()),
        ]
    ),
)
PLAN = PackPlan(np.array([0, 2, 1]), np.array([0, 2, 3]))  # packs (0, 2) and (1)


def test_packs_hold_whole_samples_with_positions_that_restart() -> None:
    table = pack_table(SAMPLES, PLAN)

    assert table.schema.equals(PACKED_SCHEMA)
    assert table.to_pylist() == [
        {
            "input_ids": [10, 11, 12, 30],
            "labels": [-100, 11, 12, -100],
            "position_ids": [0, 1, 2, 0],
            "seq_lengths": [3, 1],
            "length": 4,
        },
        {
            "input_ids": [20, 21],
            "labels": [-100, 21],
            "position_ids": [0, 1],
            "seq_lengths": [2],
            "length": 2,
        },
    ]


def test_unpacked_rows_are_the_samples() -> None:
    table = unpacked_table(SAMPLES)

    assert table.schema.equals(UNPACKED_SCHEMA)
    assert table.to_pylist() == [
        {"input_ids": [10, 11, 12], "labels": [-100, 11, 12], "attention_mask": [1, 1, 1], "length": 3},
        {"input_ids": [20, 21], "labels": [-100, 21], "attention_mask": [1, 1], "length": 2},
        {"input_ids": [30], "labels": [-100], "attention_mask": [1], "length": 1},
    ]


def test_lineage_says_where_every_sample_went() -> None:
    table = lineage_table(SAMPLES, PLAN, first_pack=7, split="test")
    rows = [tuple(row.values()) for row in table.to_pylist()]

    assert table.schema.equals(LINEAGE_SCHEMA)
    assert rows == [
        (7, 0, 3, "a.jsonl", 0, "first", 0, [1, 3], "test"),
        (7, 3, 1, "b.jsonl", 0, None, 1, [], "test"),
        (8, 0, 2, "a.jsonl", 4, None, 0, [1], "test"),
    ]


@given(capacity_and_lengths())
@settings(max_examples=EXAMPLES, deadline=None)
def test_lineage_finds_every_sample_in_its_pack(drawn: tuple[int, list[int]]) -> None:
    capacity, lengths = drawn
    tokens = np.arange(sum(lengths), dtype=np.int32)
    origin = [SampleOrigin("s", i, None, 0, (1,)) for i in range(len(lengths))]
    samples = Samples(tokens, -tokens, np.cumsum([0, *lengths]), origin_table(origin))
    plan = plan_packs(np.array(lengths), capacity)
    packs = pack_table(samples, plan).to_pylist()

    for line in lineage_table(samples, plan, 0).to_pylist():
        start, end = samples.offsets[line["row"] : line["row"] + 2].tolist()
        here = slice(line["offset"], line["offset"] + line["length"])
        assert packs[line["pack"]]["input_ids"][here] == list(range(start, end))
        assert packs[line["pack"]]["labels"][here] == [-i for i in range(start, end)]
        assert packs[line["pack"]]["position_ids"][here] == list(range(end - start))


# ==== Samples as a whole, against lists of them ====

Listed = list[tuple[list[int], list[int], list[float] | None, tuple[object, ...]]]


def listed(samples: Samples) -> Listed:
    """The slow twin of samples: ids, labels, weights and origin of each."""
    origins = [tuple(row.values()) for row in samples.origin.to_pylist()]
    return [
        (
            samples.ids[a:b].tolist(),
            samples.labels[a:b].tolist(),
            None if samples.weights is None else samples.weights[a:b].tolist(),
            origin,
        )
        for (a, b), origin in zip(pairwise(samples.offsets.tolist()), origins, strict=True)
    ]


@st.composite
def some_samples(draw: st.DrawFn, *, weights: bool) -> Samples:
    lengths = draw(st.lists(st.integers(0, 5), max_size=6))
    ids = np.array(draw(st.lists(st.integers(0, 99), min_size=sum(lengths), max_size=sum(lengths))), np.int32)
    origin = [
        SampleOrigin(
            draw(st.sampled_from("ab")), row, draw(st.sampled_from([None, "x", "é"])), 0, (1,) * (n % 3)
        )
        for row, n in enumerate(lengths)
    ]
    offsets = np.cumsum([0, *lengths])
    return Samples(
        ids,
        -ids,
        offsets,
        origin_table(origin),
        {"loss_weights": (ids / 2).astype(np.float32)} if weights else {},
    )


def test_a_pad_document_fills_every_pack_up() -> None:
    """The rest of a pack is a document of its own, so that nothing has to know that it is padding."""
    (packs,) = pack_tables(SAMPLES, PLAN, 2, RowFormat(Padding(5, 7, -100), ("completion_mask",)))
    first, second = packs.to_pylist()

    assert first["input_ids"] == [10, 11, 12, 30, 7]
    assert first["labels"] == [-100, 11, 12, -100, -100]
    assert first["position_ids"] == [0, 1, 2, 0, 0]
    assert first["seq_lengths"] == [3, 1, 1]
    assert first["completion_mask"] == [0, 1, 1, 0, 0]
    assert second["position_ids"] == [0, 1, 0, 1, 2]
    assert (second["seq_lengths"], second["length"]) == ([2, 3], 5)


def test_samples_are_padded_to_multiples() -> None:
    """Pad tokens follow each sample, and positions count on over them; what fills the pack up comes last."""
    (packs,) = pack_tables(SAMPLES, PLAN, 2, RowFormat(Padding(8, 7, -100, 2), ("completion_mask",)))
    first, second = packs.to_pylist()

    assert first["input_ids"] == [10, 11, 12, 7, 30, 7, 7, 7]
    assert first["labels"] == [-100, 11, 12, -100, -100, -100, -100, -100]
    assert first["position_ids"] == [0, 1, 2, 3, 0, 1, 0, 1]
    assert (first["seq_lengths"], first["seq_lengths_padded"]) == ([3, 1, 2], [4, 2, 2])
    assert first["completion_mask"] == [0, 1, 1, 0, 0, 0, 0, 0]
    assert (second["seq_lengths"], second["seq_lengths_padded"]) == ([2, 6], [2, 6])
    assert packs.schema.names[:4] == ["input_ids", "labels", "position_ids", "seq_lengths"]


def test_lineage_counts_the_padding_of_multiples() -> None:
    table = lineage_table(SAMPLES, PLAN, 0, multiple=4)

    assert table.column("length").to_pylist() == [3, 1, 2]
    assert table.column("offset").to_pylist() == [0, 4, 0]
    assert table.column("pad_tokens").to_pylist() == [1, 3, 2]


def test_a_full_pack_gets_no_pad_document() -> None:
    (packs,) = pack_tables(SAMPLES, PLAN, 2, RowFormat(Padding(4, 0, -100)))

    assert packs.column("seq_lengths").to_pylist() == [[3, 1], [2, 2]]
    assert packs.column("length").to_pylist() == [4, 4]


@given(capacity_and_lengths())
def test_without_their_pad_documents_padded_packs_are_the_packs(drawn: tuple[int, list[int]]) -> None:
    capacity, lengths = drawn
    n = sum(lengths)
    ids = np.arange(1, n + 1, dtype=np.int32)
    origins = [SampleOrigin("a", i, None, 0, ()) for i in range(len(lengths))]
    weights = np.linspace(1, 2, n, dtype=np.float32)
    samples = Samples(ids, -ids, np.cumsum([0, *lengths]), origin_table(origins), {"loss_weights": weights})
    plan = plan_packs(np.array(lengths, dtype=np.int64), capacity)
    plain = pack_table(samples, plan).to_pylist()
    padded = pa.Table.from_batches(
        pack_tables(samples, plan, 3, RowFormat(Padding(capacity, 0, -100)))
    ).to_pylist()

    assert len(plain) == len(padded)
    for own, filled in zip(plain, padded, strict=True):
        room = capacity - own["length"]
        assert filled["length"] == len(filled["input_ids"]) == capacity
        assert filled["seq_lengths"] == own["seq_lengths"] + [room] * (room > 0)
        assert filled["input_ids"] == own["input_ids"] + [0] * room
        assert filled["labels"] == own["labels"] + [-100] * room
        assert filled["position_ids"] == own["position_ids"] + list(range(room))
        assert filled["loss_weights"] == own["loss_weights"] + [0.0] * room


@given(st.data(), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_samples_are_joined_and_cut_as_lists_are(data: st.DataObject, weights: bool) -> None:  # noqa: FBT001
    parts = data.draw(st.lists(some_samples(weights=weights), min_size=1, max_size=4))
    whole = concat_samples(parts)
    n = len(whole.offsets) - 1
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    some = cut_samples(whole, start, stop)

    assert listed(whole) == [sample for part in parts for sample in listed(part)]
    assert listed(some) == listed(whole)[start:stop]
    assert some.offsets[0] == 0
    assert not len(some.ids) or np.shares_memory(some.ids, whole.ids)
    assert whole.origin.schema.equals(ORIGIN_SCHEMA)


@given(st.data(), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_samples_are_packed_in_any_order_as_lists_are(data: st.DataObject, weights: bool) -> None:  # noqa: FBT001
    one, other = (data.draw(some_samples(weights=weights)) for _ in range(2))
    both = listed(one) + listed(other)
    order = data.draw(st.permutations(range(len(both))))
    cut = data.draw(st.integers(0, len(both)))
    plan = PackPlan(np.array(order, dtype=np.int64), np.array([0, cut, len(both)]))
    packs = pack_table(concat_samples([one, other]), plan).to_pylist()

    ordered = [both[i] for i in order]
    for pack, members in zip(packs, (ordered[:cut], ordered[cut:]), strict=True):
        assert pack["input_ids"] == [id_ for ids, *_ in members for id_ in ids]
        assert pack["labels"] == [label for _, labels, *_ in members for label in labels]
        assert pack["position_ids"] == [i for ids, *_ in members for i in range(len(ids))]
        assert pack["seq_lengths"] == [len(ids) for ids, *_ in members]
        assert pack["length"] == len(pack["input_ids"])
        assert pack.get("loss_weights") == (
            [w for _, _, ws, _ in members for w in ws or []] if weights else None
        )


def test_no_parts_are_no_samples() -> None:
    none = concat_samples([])

    assert (listed(none), none.offsets.tolist(), none.weights) == ([], [0], None)
    assert none.ids.dtype == none.labels.dtype == np.int32


def test_tables_of_no_samples_have_no_rows() -> None:
    none = Samples(np.array([], np.int32), np.array([], np.int32), np.array([0]), origin_table([]))
    plan = one_each(0)

    assert pack_table(none, plan).num_rows == unpacked_table(none).num_rows == 0
    assert lineage_table(none, plan, 0).num_rows == 0


def test_text_that_is_not_unicode_is_escaped_in_the_lineage() -> None:
    origin = [SampleOrigin("a\ud800", 0, "b\udfff", 0, ())]
    samples = Samples(
        np.array([1], np.int32), np.array([-100], np.int32), np.array([0, 1]), origin_table(origin)
    )
    row = lineage_table(samples, one_each(1), 0).to_pylist()[0]

    assert (row["source"], row["id"]) == ("a\\ud800", "b\\udfff")
    assert storable("Grüße 👋") == "Grüße 👋"


def test_too_many_tokens_for_a_list_column_are_refused_instead_of_wrapping_round() -> None:
    assert _list_offsets(np.array([0, 2**31 - 1])).dtype == np.int32
    with pytest.raises(OverflowError, match=r"2147483648 tokens in one table.*lower pack_window"):
        _list_offsets(np.array([0, 2**31]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(5, np.int32)}, "6 ids, 5 labels, offsets from 0 to 6"),
        (
            {"floats": {"loss_weights": np.zeros(7, np.float32)}},
            "6 ids, 6 labels, 7 loss_weights, offsets from 0 to 6",
        ),
        ({"offsets": np.array([0, 3, 5, 7])}, "6 ids, 6 labels, offsets from 0 to 7"),
        ({"offsets": np.array([1, 3, 5, 6])}, "offsets from 1 to 6"),
        ({"origin": SAMPLES.origin[:2]}, "3 samples, 2 origins and a plan for 3"),
        ({"offsets": np.array([0, 6])}, "1 samples, 3 origins and a plan for 3"),
    ],
)
def test_samples_that_do_not_fit_together_are_refused(change: dict[str, object], message: str) -> None:
    samples = SAMPLES._replace(**change)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=message):
        pack_table(samples, PLAN)


# ==== Copies of a row, and samples of one row ====


def pack_numbers(plan: PackPlan) -> np.ndarray:
    numbers = np.empty(len(plan.order), dtype=np.int64)
    numbers[plan.order] = np.repeat(np.arange(len(plan.offsets) - 1), np.diff(plan.offsets))
    return numbers


def chat_lengths(n: int) -> np.ndarray:
    lengths = np.exp(np.random.default_rng(0).normal(6.3, 0.9, n)).astype(np.int64)
    return np.clip(lengths, 20, 8192)


@pytest.mark.parametrize("shuffled", [False, True])
def test_copies_of_a_row_are_in_different_packs_and_there_are_no_more_packs(*, shuffled: bool) -> None:
    rows = np.repeat(np.arange(4000), 3)
    order = np.random.default_rng(1).permutation(len(rows)) if shuffled else np.arange(len(rows))
    rows, lengths = rows[order], np.repeat(chat_lengths(4000), 3)[order]
    plain, spread = plan_packs(lengths, 8192), plan_packs(lengths, 8192, rows)
    assert len(spread.offsets) == len(plain.offsets)
    assert len(together(pack_numbers(plain), rows)) > 3000
    assert len(together(pack_numbers(spread), rows)) == 0


def test_samples_of_one_row_are_in_different_packs_whatever_their_lengths() -> None:
    turns = np.random.default_rng(2).integers(1, 8, 3000)
    rows = np.repeat(np.arange(3000), turns)
    lengths = chat_lengths(len(rows)) // 4 + 1
    plain, spread = plan_packs(lengths, 4096), plan_packs(lengths, 4096, rows)
    assert len(spread.offsets) == len(plain.offsets)
    assert len(together(pack_numbers(plain), rows)) > 0
    assert len(together(pack_numbers(spread), rows)) == 0


def test_rows_that_leave_no_choice_stay_together() -> None:
    lengths, rows = np.full(50, 100), np.zeros(50, dtype=np.int64)
    plan = plan_packs(lengths, 1000, rows)
    assert packs_of(plan) == packs_of(plan_packs(lengths, 1000))
    assert len(together(pack_numbers(plan), rows)) == 45


@given(capacity_and_lengths(), st.integers(1, 9))
@settings(max_examples=EXAMPLES, deadline=None)
def test_spread_packs_hold_each_sample_once_and_are_never_too_full(
    case: tuple[int, list[int]], rows: int
) -> None:
    capacity, some = case
    lengths, numbers = np.array(some, dtype=np.int64), np.arange(len(some)) % rows
    plain, plan = plan_packs(lengths, capacity), plan_packs(lengths, capacity, numbers)
    assert sorted(plan.order.tolist()) == list(range(len(some)))
    assert all(sum(some[i] for i in pack) <= capacity for pack in packs_of(plan))
    assert all(pack == sorted(pack) for pack in packs_of(plan))
    assert len(plan.offsets) <= len(plain.offsets)
    assert len(together(pack_numbers(plan), numbers)) <= len(numbers)


def test_packs_in_seeded_order_are_the_same_packs_and_not_sorted_by_their_fill() -> None:
    lengths = chat_lengths(5000)
    plan = plan_packs(lengths, 8192)
    some, other = in_seeded_order(plan, 1), in_seeded_order(plan, 2)
    assert sorted(packs_of(some)) == sorted(packs_of(plan)) == sorted(packs_of(other))
    assert packs_of(some) != packs_of(other)
    sizes = [np.diff(each.offsets) for each in (plan, some)]
    sizes_by_place = [abs(np.corrcoef(np.arange(len(each)), each)[0, 1]) for each in sizes]
    assert sizes_by_place[0] > 0.3
    assert sizes_by_place[1] < 0.15


def test_equal_lengths_come_into_packs_in_the_order_in_which_they_are_given() -> None:
    plan = plan_packs(np.full(6, 4), 8)
    assert packs_of(plan) == [[0, 1], [2, 3], [4, 5]]  # that of a shuffle, whose samples come in its order
