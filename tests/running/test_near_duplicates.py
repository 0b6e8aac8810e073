"""Near duplicates: planted copies with small changes are found, other rows are not, and who is out does not depend on
how the work is cut."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, premask
from premask.core.comparing import NearDuplicates
from premask.core.errors import OutputError, RecipeError
from premask.core.recipe import Recipe
from premask.review.verify import verify
from premask.running.near_duplicates import (
    NearRows,
    Signed,
    Signer,
    bands_of,
    check_installed,
    find_near,
    jaccard,
    write_signatures,
)
from premask.running.ranks import Share, finish_slices, run_slice
from premask.running.run import RunResult, run

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def text(rng: random.Random, count: int = 200) -> list[str]:
    return [rng.choice(WORDS) for _ in range(count)]


def edited(rng: random.Random, words: list[str], share: float) -> list[str]:
    """Replace, remove or double a share of the words, at least one."""
    found = list(words)
    for _ in range(max(1, round(share * len(words)))):
        at = rng.randrange(len(found))
        found[at : at + 1] = rng.choice([[rng.choice(WORDS)], [], [found[at], rng.choice(WORDS)]])
    return found


def near(
    tmp_path: Path, rows: list[str], settings: NearDuplicates | None = None, out: tuple[int, ...] = ()
) -> dict[int, int]:
    """Return the near duplicates among rows, which are in two units, and the rows that they are near."""
    settings = settings or NearDuplicates()
    signer, paths, half = Signer(settings), [tmp_path / "a", tmp_path / "b"], len(rows) // 2
    for path, own in zip(paths, (range(half), range(half, len(rows))), strict=True):
        cuts = [own[:3], own[3:]]
        batches = [signer.rows(0, [*cut], [[rows[at]] for at in cut]) for cut in cuts]
        write_signatures(path, signer.schema, batches)
    signed = Signed(paths)
    found = find_near(signed, settings, np.isin(signed.row, out))
    return dict(zip(signed.row[found.place].tolist(), signed.row[found.first].tolist(), strict=True))


@pytest.mark.parametrize(
    ("share", "threshold", "least", "most"),
    [(0.01, 0.7, 0.99, 1), (0.05, 0.5, 0.97, 1), (0.05, 0.9, 0, 0.01), (0.2, 0.5, 0, 0.01)],
)
def test_planted_copies(tmp_path: Path, share: float, threshold: float, least: float, most: float) -> None:
    rng = random.Random(7)  # noqa: S311
    originals = [text(rng) for _ in range(300)]
    copies = [edited(rng, each, share) for each in originals]
    found = near(
        tmp_path, [" ".join(each) for each in (*originals, *copies)], NearDuplicates(threshold=threshold)
    )

    assert least <= len(found) / 300 <= most
    assert all(copy - 300 == original for copy, original in found.items()), "no other row is near"


def test_rows_with_much_in_common_are_decided_by_the_real_similarity(tmp_path: Path) -> None:
    """Pairs from far below the threshold to far above it: those that are found are exactly those above it, but for
    the one in a hundred that may have no band in common."""
    rng = random.Random(3)  # noqa: S311
    rows: list[str] = []
    for _ in range(400):
        words = text(rng, 120)
        same = rng.randrange(40, 120)
        rows += [" ".join(words), " ".join([*words[:same], *text(rng, 120 - same)])]
    settings = NearDuplicates(threshold=0.6)
    sets = (
        Signer(settings).rows(0, [*range(800)], [[row] for row in rows]).column("shingles").values.to_numpy()
    )
    sets = sets.reshape(800, -1)
    real = {2 * at + 1 for at in range(400) if jaccard(sets[2 * at], sets[2 * at + 1]) >= 0.6}
    found = set(near(tmp_path, rows, settings))

    assert 100 < len(real) < 300
    assert found <= real
    assert len(found) >= 0.98 * len(real)


def test_a_row_is_compared_with_rows_that_are_kept(tmp_path: Path) -> None:
    """In a chain each row is near the one before. The third is near the second only, which is out; so it stays."""
    rng = random.Random(5)  # noqa: S311
    words, more = text(rng, 100), text(rng, 60)
    chain = [" ".join([*words, *more][at : at + 100]) for at in (0, 14, 28, 42)]
    alone = " ".join(text(rng, 100))

    assert near(tmp_path, [chain[0], alone, *chain[1:]], NearDuplicates()) == {2: 0, 4: 3}


def test_of_equal_rows_the_first_stays_and_rows_that_are_out_are_no_originals(tmp_path: Path) -> None:
    rng = random.Random(5)  # noqa: S311
    words = " ".join(text(rng))
    rows = [words, words, words.upper(), f"{words}."]

    assert near(tmp_path, rows) == {1: 0, 2: 0, 3: 0}
    assert near(tmp_path, rows, out=(0, 2)) == {3: 1}


def test_short_rows_are_not_compared(tmp_path: Path) -> None:
    rows = ["Yes.", "Yes.", "", "one two three four five", "one two three four five"]

    assert near(tmp_path, rows) == {}
    assert near(tmp_path, rows, NearDuplicates(min_words=5)) == {4: 3}
    assert near(tmp_path, rows, NearDuplicates(min_words=1, shingle=1)) == {1: 0, 4: 3}


def test_many_rows_that_are_alike_are_compared_with_few(tmp_path: Path) -> None:
    """500 rows share half of their text, so most of them have bands in common, and none is near another."""
    rng = random.Random(5)  # noqa: S311
    common = text(rng, 100)
    rows = [" ".join([*common, *text(rng, 60)]) for _ in range(500)]
    with mock.patch("premask.running.near_duplicates.jaccard", wraps=jaccard) as compare:
        found = near(tmp_path, rows, NearDuplicates(threshold=0.6))

    assert found == {}
    assert compare.call_count <= 500 * 32


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_rows_at_the_threshold_are_compared(threshold: float) -> None:
    bands, width = bands_of(threshold)

    assert bands * width <= 128
    assert 1 - (1 - threshold**width) ** bands >= 0.99


def test_signatures_are_the_same_everywhere(tmp_path: Path) -> None:
    """Also where rows are signed one by one, and with every version of rensa that the project allows."""
    words = [text(random.Random(at)) for at in range(40)]  # noqa: S311
    signer = Signer(NearDuplicates())
    whole = signer.rows(2, [*range(40)], [[" ".join(each)] for each in words])
    single = [
        signer.rows(2, [at], [[" ".join(each[:90]), " ".join(each[90:])]]) for at, each in enumerate(words)
    ]

    assert pa.Table.from_batches([whole]) == pa.Table.from_batches(single).combine_chunks()
    assert whole.column("bands").flatten()[0].as_py() == 8588041284978879495


@pytest.mark.parametrize("cut", [0, 40, 200, -400, -20])
def test_signatures_that_were_changed(tmp_path: Path, cut: int) -> None:
    path, signer = tmp_path / "work/hashes/a", Signer(NearDuplicates())
    path.parent.mkdir(parents=True)
    write_signatures(path, signer.schema, [signer.rows(0, [1], [[" ".join(WORDS)]])])
    path.write_bytes(path.read_bytes()[:cut])

    with pytest.raises(OutputError, match="was changed and cannot be read"):
        Signed([path])


def test_nothing_to_compare(tmp_path: Path) -> None:
    write_signatures(tmp_path / "a", Signer(NearDuplicates()).schema, [])
    found: NearRows = find_near(Signed([tmp_path / "a"]), NearDuplicates(), np.zeros(0, bool))

    assert len(found.place) == 0


# ==== Runs ====


def chat(*texts: str) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": each} for i, each in enumerate(texts)]
    return {"messages": [{"role": "system", "content": " ".join(WORDS[:300])}, *turns]}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 rows, each with a copy in which one word differs, far from it; and a first row that is an exact copy."""
    rng, path = random.Random(1), tmp_path_factory.mktemp("chats") / "chats.jsonl"  # noqa: S311
    rows = [(text(rng, 20), text(rng, 60)) for _ in range(90)]
    copies = [(question, [*answer[:30], "other", *answer[31:]]) for question, answer in rows]
    lines = [json.dumps(chat(" ".join(q), " ".join(a))) for q, a in (*rows, *copies)]
    path.write_text("\n".join([*lines, lines[0]]), encoding="utf-8")
    return path


def recipe_of(out: Path, chats: Path, **keys: Any) -> Recipe:
    values = {"sources": [str(chats)], "tokenizer": str(SAMPLE / "tokenizer"), "output": str(out)}
    return Recipe.model_validate(values | {"near_duplicates": {}, "unit_rows": 40} | keys)


def bytes_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, chats: Path) -> RunResult:
    return run(recipe_of(tmp_path_factory.mktemp("plain") / "out", chats))


def test_a_run_leaves_near_duplicates_out_and_says_which(plain: RunResult, chats: Path) -> None:
    out = Path(plain.output)
    log = [row for path in sorted(out.glob("rejects/*")) for row in pq.read_table(path).to_pylist()]
    (source,) = plain.manifest["inputs"]

    assert source["rejected"] == {"near_duplicate": 91}
    assert (source["kept"], source["dropped"], source["duplicates"]) == (90, 0, 1)
    assert [row["row"] for row in log] == [*range(90, 181)]
    assert {row["reason"] for row in log} == {"near_duplicate"}
    assert log[3]["detail"] == f"88% of its runs of words are those of row 3 of {chats}"
    assert log[-1]["detail"] == f"100% of its runs of words are those of row 0 of {chats}"
    assert verify(str(out), full=True).findings == ()


def test_a_duplicate_is_one_first(tmp_path: Path, chats: Path) -> None:
    manifest = run(recipe_of(tmp_path / "out", chats, duplicates="drop")).manifest

    assert manifest["counts"]["rejected_by_reason"] == {"near_duplicate": 90}
    assert manifest["counts"]["dropped"] == 1


def test_the_compared_text_may_be_what_is_trained(tmp_path: Path, chats: Path) -> None:
    keys = {"near_duplicates": {"over": "trained_text", "threshold": 0.9}}

    assert run(recipe_of(tmp_path / "out", chats, **keys)).manifest["counts"]["kept"] == 180


def test_workers_and_a_cache_change_nothing(tmp_path: Path, chats: Path, plain: RunResult) -> None:
    run(recipe_of(tmp_path / "out", chats, cache=str(tmp_path / "cache")), workers=2)
    run(recipe_of(tmp_path / "cached", chats, cache=str(tmp_path / "cache")))

    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "cached") == bytes_of(Path(plain.output))


def test_ranks_change_nothing(tmp_path: Path, chats: Path, plain: RunResult) -> None:
    """The first waits for the signatures of the other; here they are of a run that was stopped."""
    for rank in (1, 0, 1):
        try:
            run_slice(recipe_of(tmp_path / "out", chats), Share(rank, 2, wait_s=0))
        except Exception as error:  # noqa: BLE001
            assert "the row hashes of rank 0 are missing" in str(error)  # noqa: PT017
    finish_slices(tmp_path / "out")

    assert bytes_of(tmp_path / "out") == bytes_of(Path(plain.output))


def test_without_the_library_there_is_one_clear_line(tmp_path: Path) -> None:
    with mock.patch.dict(sys.modules, {"rensa": None}):
        check_installed(None)
        with pytest.raises(
            RecipeError, match=r"near_duplicates needs rensa; pip install 'premask\[near-duplicates\]'"
        ):
            check_installed(NearDuplicates())


def test_the_command(tmp_path: Path, chats: Path) -> None:
    options = ["--tokenizer", str(SAMPLE / "tokenizer"), "--output", str(tmp_path / "out")]
    found = premask("run", str(chats), *options, "--near-duplicates", "threshold=0.8")
    wrong = premask("run", str(chats), *options, "--near-duplicates", "threshold=0.2")

    assert found.code == 0
    assert "near_duplicate" in found.out
    assert wrong.code == 2
    assert "near_duplicates.threshold: it must be at least 0.5" in wrong.err
