"""Decontamination: planted questions of evaluation sets are found, other rows are not; what a set may be."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, premask
from premask.core.comparing import Decontaminate
from premask.core.errors import OutputError, RecipeError, SourceError
from premask.core.recipe import Recipe
from premask.review.verify import verify
from premask.running.decontaminate import Contamination, read_sets
from premask.running.dropped import Drop
from premask.running.ranks import Share, finish_slices, run_slice
from premask.running.run import RunResult, run

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]
QUESTION = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
CHINESE = "小明有五个苹果，他给了小红两个，请问小明现在还有几个苹果？"


def text(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe_of(out: Path, source: Path, *sets: Any, **keys: Any) -> Recipe:
    settings = {"sets": [each if isinstance(each, dict) else str(each) for each in sets]} | keys.pop(
        "settings", {}
    )
    values = {"sources": [str(source)], "tokenizer": str(SAMPLE / "tokenizer"), "output": str(out)}
    return Recipe.model_validate(values | {"decontaminate": settings, "unit_rows": 30} | keys)


def found(tmp_path: Path, sets: Path, rows: list[str], **settings: Any) -> list[Drop]:
    """Return the contaminated ones of some rows."""
    recipe = recipe_of(tmp_path / "out", tmp_path / "no.jsonl", sets, settings=settings)
    index = read_sets(recipe)
    assert index is not None
    assert recipe.decontaminate is not None
    index.write(tmp_path / "index.npz")
    contamination = Contamination(tmp_path / "index.npz", recipe.decontaminate)
    whole = contamination.rows(0, [*range(len(rows))], [[row] for row in rows])
    single = [drop for at, row in enumerate(rows) for drop in contamination.rows(0, [at], [[row]])]
    assert whole == single, "a row does not depend on those beside it"
    return whole


def test_planted_questions(tmp_path: Path) -> None:
    """Whole questions, also with other case and punctuation or half of them, are found; rows of the same words are
    not."""
    rng = random.Random(4)  # noqa: S311
    questions = [text(rng, rng.randrange(8, 60)) for _ in range(200)]
    sets = write(tmp_path / "evals.jsonl", [{"question": each} for each in questions])
    rows = [text(rng, 100) for _ in range(800)]
    for at, question in enumerate(questions):
        rows[4 * at] = f"{text(rng, 50)}\n\n{question.upper().replace(' ', ', ')}! {text(rng, 50)}"
        half = question.split()[: max(8, -(-len(question.split()) * 6 // 10))]
        rows[4 * at + 1] = f"{text(rng, 50)} {' '.join(half)} {text(rng, 5)}"
    drops = found(tmp_path, sets, rows)

    assert [drop.row for drop in drops] == [at for at in range(800) if at % 4 < 2]
    assert all(f"row {drop.row // 4} of {sets}" in drop.detail for drop in drops)


def test_the_share_of_the_words_and_the_words_themselves(tmp_path: Path) -> None:
    sets = write(tmp_path / "evals.jsonl", [{"question": QUESTION}])
    words = QUESTION.split()
    rows = [
        QUESTION,
        " ".join(words[:10]),
        " ".join(words[3:12]),
        " ".join([*words[:9], "x", *words[10:]]),
        "48 of her",
    ]

    assert [drop.row for drop in found(tmp_path, sets, rows)] == [0, 1, 3]
    assert [drop.row for drop in found(tmp_path, sets, rows, overlap=0.01, ngram=9)] == [0, 1, 2, 3]
    assert [drop.row for drop in found(tmp_path, sets, rows, overlap=1)] == [0]
    details = [drop.detail for drop in found(tmp_path, sets, rows)]
    begin = f"of the words of a text in row 0 of {sets}, such as 'natalia sold clips to 48 of her friends'"
    assert details[:2] == [f"100% {begin}", f"50% {begin}"]


def test_runs_that_overlap_count_once_and_the_set_with_most_is_named(tmp_path: Path) -> None:
    """A text in which a run is repeated, and one of which the row has less."""
    again = "one two three four one two three four one two three four"
    sets = write(tmp_path / "evals.jsonl", [{"a": f"{again} nine ten"}, {"a": again}])
    (drop,) = found(tmp_path, sets, [f"zero {again} end"], ngram=4)

    assert drop.detail.startswith("100% of the words of a text in row 1 of")


def test_scripts_without_spaces(tmp_path: Path) -> None:
    sets = write(tmp_path / "evals.jsonl", [{"question": CHINESE}])
    rows = [f"问题：{CHINESE}答案是三个。", "小明有五个苹果和一个梨。", CHINESE[:16]]

    assert [drop.row for drop in found(tmp_path, sets, rows)] == [0, 2]


SHAPES: list[Any] = [
    {"question": "of all that it is", "choices": ["Yes it is so", "No it is not"], "answer": 1},
    {
        "question": "of all that it is",
        "choices": {"text": ["Yes it is so", "No it is not"], "label": ["A", "B"]},
    },
    ["Yes it is so", "No it is not"],
]


@pytest.mark.parametrize("row", SHAPES)
def test_strings_of_a_list_are_one_text(tmp_path: Path, row: Any) -> None:
    sets = tmp_path / "evals.json"
    sets.write_text(json.dumps([row] if isinstance(row, dict) else {"data": row}), encoding="utf-8")
    rows = ["A: yes, it is so. B: no, it is not", "Yes it is so, no it is not", "of all that it is"]

    assert [drop.row for drop in found(tmp_path, sets, rows, overlap=0.8)] == [1]


def test_sets_of_any_format_and_columns(tmp_path: Path) -> None:
    table = pa.table(
        {"id": [f"{QUESTION} {i}" for i in range(3)], "question": ["a b c d e f g h", "short", "x"]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text(f"question,answer\n{CHINESE},3\n", encoding="utf-8")
    recipe = recipe_of(
        tmp_path / "out",
        tmp_path / "no.jsonl",
        {"path": str(tmp_path / "a.parquet"), "columns": ["question"]},
        tmp_path / "b.csv",
    )
    index = read_sets(recipe)
    assert index is not None
    counts = [(each["source"].rpartition("/")[2], each["texts"], each["too_short"]) for each in index.sets]

    assert counts == [("a.parquet", 1, 2), ("b.csv", 1, 1)]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "no.jsonl", "decontaminate: .*no.jsonl"),
        (
            '{"a": "b c d"}\n',
            "a.jsonl",
            "decontaminate: .*a.jsonl has no text of 8 words; name others, or lower ngram",
        ),
        ('{"a": 1}\n', "a.jsonl", "has no text of 8 words"),
        ('{"a": "b"}\n{"a"\n', "a.jsonl", "decontaminate: .*a.jsonl: row 1 cannot be read"),
        ("PAR1", "a.parquet", "decontaminate: .*a.parquet"),
    ],
)
def test_sets_that_cannot_be_used_are_one_clear_line(
    tmp_path: Path, content: str | None, name: str, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(SourceError, match=message):
        read_sets(recipe_of(tmp_path / "out", tmp_path / "x.jsonl", tmp_path / name))


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    sets = write(tmp_path / "a.jsonl", [{"question": QUESTION}])
    recipe = recipe_of(tmp_path / "out", sets, {"path": str(sets), "columns": ["prompt"]})

    with pytest.raises(
        SourceError, match=r"decontaminate: .*a.jsonl has no column prompt; there are: question"
    ):
        read_sets(recipe)


@pytest.mark.parametrize(
    "settings", [{}, {"sets": []}, {"sets": ["a"], "ngram": 0}, {"sets": ["a"], "overlap": 0}]
)
def test_settings_that_are_wrong(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sets|ngram|overlap"):
        Decontaminate.model_validate(settings)
    with pytest.raises(ValueError, match="'repeat' is for sources that are trained"):
        Decontaminate.model_validate({"sets": [{"path": "a", "repeat": 2}]})


def test_no_sets() -> None:
    assert read_sets(Recipe.model_validate({"sources": ["a"], "tokenizer": "t", "output": "o"})) is None


def test_an_index_that_was_changed(tmp_path: Path) -> None:
    sets = write(tmp_path / "a.jsonl", [{"question": QUESTION}])
    index = read_sets(recipe_of(tmp_path / "out", sets, sets))
    assert index is not None
    index.write(tmp_path / "index.npz")
    data = (tmp_path / "index.npz").read_bytes()
    for content in (b"", data[:90], b"PK" * 99):
        (tmp_path / "index.npz").write_bytes(content)
        with pytest.raises(OutputError, match="was changed and cannot be read"):
            Contamination(tmp_path / "index.npz", Decontaminate(sets=["a"]))


# ==== Runs ====


def chat(*texts: str) -> dict[str, Any]:
    return {
        "messages": [{"role": ("user", "assistant")[i % 2], "content": each} for i, each in enumerate(texts)]
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Chats, of which each tenth has a question of the first set, and row 5 an answer of the second one."""
    rng, folder = random.Random(1), tmp_path_factory.mktemp("files")  # noqa: S311
    rows = [(text(rng, 30), text(rng, 30)) for _ in range(100)]
    first = write(
        folder / "first.jsonl",
        [{"question": user, "id": at} for at, (user, _) in enumerate(rows) if at % 10 == 0],
    )
    second = write(folder / "second.jsonl", [{"answer": rows[5][1]}])
    return (
        write(folder / "chats.jsonl", [chat(f"Please: {user}?", answer) for user, answer in rows]),
        first,
        second,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path, Path]) -> RunResult:
    return run(recipe_of(tmp_path_factory.mktemp("plain") / "out", *files))


def bytes_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_run_leaves_contaminated_rows_out_and_says_why(
    plain: RunResult, files: tuple[Path, Path, Path]
) -> None:
    out = Path(plain.output)
    log = [row for path in sorted(out.glob("rejects/*")) for row in pq.read_table(path).to_pylist()]
    (source,) = plain.manifest["inputs"]

    assert (source["kept"], source["rejected"]) == (89, {"contaminated": 11})
    assert plain.manifest["counts"]["contaminated_by_set"] == {str(files[1]): 10, str(files[2]): 1}
    assert [row["row"] for row in log] == [0, 5, *range(10, 100, 10)]
    assert log[3]["detail"].startswith(f"100% of the words of a text in row 2 of {files[1]}, such as '")
    assert [each["texts"] for each in plain.manifest["evaluation_sets"]] == [10, 1]
    assert all(len(each["sha256"]) == 64 for each in plain.manifest["evaluation_sets"])
    assert verify(str(out), full=True).findings == ()


def test_workers_ranks_and_a_cache_change_nothing(
    tmp_path: Path, files: tuple[Path, Path, Path], plain: RunResult
) -> None:
    """Ranks do not wait for each other: a row is contaminated by itself."""
    run(recipe_of(tmp_path / "two", *files, cache=str(tmp_path / "cache")), workers=2)
    run(recipe_of(tmp_path / "cached", *files, cache=str(tmp_path / "cache")))
    for rank in (1, 0):
        run_slice(recipe_of(tmp_path / "ranks", *files), Share(rank, 2, wait_s=0))
    finish_slices(tmp_path / "ranks")

    for name in ("two", "cached", "ranks"):
        assert bytes_of(tmp_path / name) == bytes_of(Path(plain.output))


def test_another_content_of_a_set_is_another_run(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    own = write(tmp_path / "own.jsonl", [{"question": QUESTION}])
    run(recipe_of(tmp_path / "out", files[0], own))
    assert not run(recipe_of(tmp_path / "out", files[0], own)).fresh
    write(own, [{"question": CHINESE}])

    with pytest.raises(OutputError, match=r"evaluation set .*own.jsonl was"):
        run(recipe_of(tmp_path / "out", files[0], own))


def test_only_the_trained_text(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    keys = {"settings": {"over": "trained_text"}}

    counts = run(recipe_of(tmp_path / "out", *files, **keys)).manifest["counts"]
    assert counts["contaminated_by_set"] == {str(files[2]): 1}


def test_a_contaminated_row_is_no_original(tmp_path: Path) -> None:
    """Its near duplicate that has too little of the question stays; an exact duplicate goes for the same reason."""
    rng = random.Random(3)  # noqa: S311
    question, answer = text(rng, 12), text(rng, 200)
    words = question.split()
    rows = [
        chat(question, answer),
        chat(" ".join([*words[:3], "other", *words[4:8], "more"]), answer),
        chat(question, answer),
    ]
    source = write(tmp_path / "chats.jsonl", rows)
    sets = write(tmp_path / "set.jsonl", [{"question": question}])
    recipe = recipe_of(tmp_path / "out", source, sets, duplicates="drop", near_duplicates={})

    counts = run(recipe).manifest["counts"]
    assert (counts["kept"], counts["dropped"], counts["rejected_by_reason"]) == (1, 0, {"contaminated": 2})


def test_the_command(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    options = [files[0], "--tokenizer", SAMPLE / "tokenizer", "--output", tmp_path / "out"]
    done = premask(
        "run", *options, "--decontaminate", f"sets={files[1]},{files[2]}", "--decontaminate", "ngram=13"
    )
    wrong = premask("run", *options, "--decontaminate", f"sets={tmp_path}/no.jsonl", "--overwrite")

    assert done.code == 0, done.err
    assert "contaminated" in done.out
    assert wrong.code == 2
    assert wrong.err.strip().count("\n") == 0
    assert "decontaminate: " in wrong.err


def test_a_recipe_error_names_the_key() -> None:
    with pytest.raises(ValueError, match="sets"):
        Recipe.model_validate(
            {"sources": ["a"], "tokenizer": "t", "output": "o", "decontaminate": {"sets": [7]}}
        )
    recipe = Recipe.model_validate(
        {
            "sources": ["a"],
            "tokenizer": "t",
            "output": "o",
            "decontaminate": {"sets": [{"path": "a.jsonl", "split": "x"}]},
        }
    )
    with pytest.raises(RecipeError, match="decontaminate: "):
        read_sets(recipe)
