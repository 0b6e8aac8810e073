"""Which rows of a source are taken: conditions, samples, columns, limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import premask
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import compressed, write, write_parquet
from premask.core.errors import PremaskError, RecipeError, SourceError
from premask.core.source_entry import Source
from premask.fast.plain_batches import read_batches
from premask.sources.cutting import plan_units, whole
from premask.sources.listing import inspect_sources
from premask.sources.reading import peek, read_slice
from premask.sources.where import condition, sampled
from premask.sources.where_grammar import FUNCTIONS

ROWS: list[dict[str, Any]] = [
    {
        "score": 5,
        "lang": "en",
        "meta": {"ok": True, "n": 1},
        "tags": ["a", "b"],
        "messages": [{"role": "user"}],
    },
    {"score": 2, "lang": "en", "meta": {"ok": False, "n": 2}, "tags": ["c"], "messages": []},
    {"score": 9, "lang": "de", "meta": {"ok": True, "n": 3}, "tags": [], "messages": []},
    {"lang": "en", "meta": {"ok": True, "n": 4}, "tags": ["a"], "messages": []},
    {"score": 4.5, "lang": "en", "meta": {"n": 5}, "tags": ["a"], "messages": []},
]
CASES = [
    ("score > 3 and lang = 'en'", [0, 4]),
    ("score > 3", [0, 2, 4]),
    ("score IS NULL", [3]),
    ("NOT score > 3", [1]),
    ("meta.ok", [0, 2, 3]),
    ('meta."n" >= 3 OR "lang" = \'de\'', [2, 3, 4]),
    ("lang LIKE 'd%'", [2]),
    ("lang IN ('de', 'fr')", [2]),
    ("lang NOT IN ('en') AND score in (9, 2)", [2]),
    ("UPPER(lang) = 'EN' AND score BETWEEN 2 AND 5", [0, 1, 4]),
    ("ARRAY_LENGTH(tags) = 1", [1, 3, 4]),
    ("ARRAY_LENGTH(messages) = 1", [0]),
    ("ARRAY_CONTAINS(tags, 'a')", [0, 3, 4]),
    ("LENGTH(lang) = 3", []),
]


def infos_of(path: str, **options: Any) -> Any:
    return inspect_sources([Source(path=path, **options)])


def taken(path: str, **options: Any) -> list[int]:
    return [row.row for info in infos_of(path, **options) for row in read_slice(whole(info))]


def files_of(folder: Path, rows: list[dict[str, Any]]) -> list[str]:
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    return [
        write(folder / "a.jsonl", lines),
        write(folder / "a.json", json.dumps(rows, indent=1)),
        write(folder / "a.jsonl.gz", compressed(lines.encode(), ".gz")),
        write_parquet(folder / "a.parquet", rows, group=2),
    ]


@pytest.mark.parametrize(("where", "rows"), CASES)
def test_a_condition_holds_for_the_same_rows_in_every_format(
    tmp_path: Path, where: str, rows: list[int]
) -> None:
    for path in files_of(tmp_path, ROWS):
        assert taken(path, where=where) == rows, path


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.one_of(
                    st.none(),
                    st.integers(-3, 3),
                    st.floats(-3, 3),
                    st.integers(2**63, 2**64),
                    st.just(-(10**400)),
                ),
                "b": st.one_of(st.none(), st.sampled_from(["x", "y\ud800", ""])),
                "c": st.one_of(
                    st.none(),
                    st.lists(st.one_of(st.integers(), st.just(10**400), st.text(max_size=2)), max_size=2),
                ),
            },
        ),
        max_size=8,
    )
)
@pytest.mark.parametrize(
    "where", ["a > 1", "a > 1 OR LENGTH(b) = 1", "ARRAY_LENGTH(c) > 0 AND a IS NULL", "b = 'x'"]
)
def test_a_row_decides_by_itself(where: str, rows: list[dict[str, Any]]) -> None:
    """Whatever rows stand beside it, and whatever types theirs are."""
    together = condition(where).of_rows("a", rows).tolist()

    assert together == [bool(condition(where).of_rows("a", [row])[0]) for row in rows]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("score >", "where: score >: it cannot be read as SQL near '>'; texts go in single quotes"),
        ("score > 'x", "a quote or a comment is never closed; close it"),
        ("len(score) > 3", "len is no function that conditions may use; did you mean ln?"),
        ("length() > 3", "length is given no value; write length(score)"),
        ("lpad(lang, 2000000000) = 'x'", "lpad is no function that conditions may use; "),
        ("unnest(tags) = 'a'", "unnest is no function"),
        ("columns('score') > 3", "columns is no function"),
        ("read_csv('a.csv') = lang", "read_csv is no function"),
        (
            "meta.lower(lang) = 'en'",
            "a path has something in it that is no name; write paths such as meta.lang",
        ),
        ("tags.* = 'x'", "a path has something in it that is no name"),
        ("meta.null = 1", "a path has something in it that is no name"),
        ("*", "it has a part of SQL that conditions may not use (star); leave it out"),
        ("lang = 'e' 'n'", "it has a part of SQL that conditions may not use (concat)"),
        ("length(DISTINCT lang) > 1", "it has a part of SQL that conditions may not use (distinct)"),
        ("CAST(tags AS int[][]) IS NULL", "it has a type of lists of lists; cast to a list of single values"),
        ("1 = 1", "it names no column; write one, such as score > 3"),
        ("", "it is not one condition; write one, such as score > 3"),
        ("sum(score) > 3", "sum looks at more than one row; each row must decide by itself"),
        ("ROW_NUMBER() OVER (ORDER BY score) > 1", "ROW_NUMBER looks at more than one row"),
        ("LENGTH(lang) OVER (ORDER BY score) > 1", "OVER looks at more than one row"),
        ("score > MAX(score) - 1", "MAX looks at more than one row"),
        ("QUANTILE_CONT(score, 0.5) > 1", "QUANTILE_CONT looks at more than one row"),
        ("score > NOW()", "NOW is another one in each run; write the time itself"),
        ("score > current_date", "current_date is another one in each run"),
        ("score", "it gives Int64, not true or false"),
        ("score > 3; drop", "it has a ; in it; leave it out, as in score > 3"),
        ("score > 3 {{ x }}", "it has a { in it"),
        ("score = ?", "it has a ? in it"),
        ("score > (SELECT 1)", "it cannot be read as SQL near '1'"),
        ("EXISTS (SELECT 1) AND score > 3", "it cannot be read as SQL"),
        ("score IN (SELECT a FROM b)", "it cannot be read as SQL"),
        ("WITH t AS (SELECT 1) SELECT 1", "it cannot be read as SQL"),
        ("score > 3\nORDER BY lang", "where: score > 3 ORDER BY lang: it cannot be read as SQL"),
        ("score ISNULL", "it cannot be read as SQL near 'ISNULL'"),
        ("score -> 3", "it cannot be read as SQL"),
    ],
)
def test_what_is_no_condition_is_refused(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        taken(files_of(tmp_path, ROWS)[0], where=where)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


DEEP = 10_000
HOSTILE = {
    "brackets": "(" * DEEP + "score" + ")" * DEEP + " > 3",
    "signs": "- " * DEEP + "score > 3",
    "not": "NOT " * DEEP + "score > 3",
    "case": "CASE WHEN score > 3 THEN true ELSE " * 500 + "false" + " END" * 500,
    "functions": "abs(" * 500 + "score" + ")" * 500 + " > 3",
    "lists": "[" * 500 + "score" + "]" * 500 + " = 3",
    "braces": "{" * 500 + "score",
    "parameters": "@" * 500 + "score",
    "path": "score" + ".a" * DEEP + " > 3",
    "alternatives": " OR ".join(["score > 3"] * DEEP),
    "columns": f"score IN ({', '.join(['lang'] * DEEP)})",
    "sums": " + ".join(["score"] * DEEP) + " > 3",
    "casts": "score" + "::int" * DEEP + " > 3",
    "texts": "score > " + "'" * 100_001,
    "comments": "/* " * DEEP,
    "length": "x" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_condition_is_refused_in_one_short_line(name: str) -> None:
    """Before polars sees it, which would take hours for some of these; and whatever the depth of the stack."""

    def deep(levels: int) -> None:
        return deep(levels - 1) if levels else condition(HOSTILE[name]) and None

    for levels in (0, 400):
        with pytest.raises(
            RecipeError, match=r"nested more|has more than|never closed|has a [{@] in it"
        ) as caught:
            deep(levels)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500


def test_a_long_list_of_values_is_one_part() -> None:
    values = ", ".join(f"'{n}'" for n in range(10_000))

    assert condition(f"a IN ({values})").of_rows("a", [{"a": "9999"}, {"a": "10000"}]).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("where", "row", "paths"),
    [
        ("comment = 'x' AND load > 1", {"comment": "x", "load": 2}, [("comment",), ("load",)]),
        ("`a b` = 1", {"a b": 1}, [("a b",)]),
        ('"a.b" = 1 AND a.b = 2', {"a.b": 1, "a": {"b": 2}}, [("a.b",), ("a", "b")]),
        ('"it\'s" . `b"c` = 1', {"it's": {'b"c': 1}}, [("it's", 'b"c')]),
        ("a.b.c.d.e.f = 1", {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}, [("a", "b", "c", "d", "e", "f")]),
        ("名前.é = 'ü'", {"名前": {"é": "ü"}}, [("名前", "é")]),
        ("a.tags[1] = 'x' -- a.b\n", {"a": {"tags": ["x"]}}, [("a", "tags")]),
        ("a /* b.c */ = 'b.c' AND 'a.b' <> a", {"a": "b.c"}, [("a",)]),
        ("SUBSTRING(a FROM 2 FOR 1) = 'b' AND POSITION('c' IN a) = 3", {"a": "abc"}, [("a",)]),
        ("a !~ '^x' AND a ~* 'B' AND a ^@ 'a' AND a ~~ '%b%'", {"a": "abc"}, [("a",)]),
        ("a::double / 2 = 1.5 AND a // 2 = 1 AND ((a % 2 = 1) XOR (a IS NULL))", {"a": 3}, [("a",)]),
        ("(a IS NOT DISTINCT FROM b) AND (a <=> b)", {"a": 3, "b": 3}, [("a",), ("b",)]),
        ("DATE '2020-01-02' - INTERVAL '1 day' = STRPTIME(a, '%F')", {"a": "2020-01-01"}, [("a",)]),
        ("EXTRACT(year FROM STRPTIME(a, '%Y-%m')) = 2020", {"a": "2020-01"}, [("a",)]),
        ("CASE a WHEN 1 THEN true ELSE b END", {"a": 1, "b": None}, [("a",), ("b",)]),
        ("IF(a > 1, COALESCE(b, a), -a) = -1", {"a": 1}, [("a",), ("b",)]),
    ],
)
def test_what_polars_reads_is_read(where: str, row: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    """The user's own text: its columns by any name, operators and functions."""
    asked = condition(where)

    assert sorted(asked.paths) == sorted(paths)
    assert asked.of_rows("a", [row]).tolist() == [True]


UTC = timezone.utc
ARGUMENTS = [
    "n",
    "i",
    "s",
    "t",
    "u",
    "d",
    "n, 2",
    "i, i",
    "s, 'a'",
    "s, s",
    "t, 'a'",
    "t, 1",
    "u, u",
    "s, 'a', 'b'",
]
ARGUMENTS += [
    "s, 1, 2",
    "s, 'a', 1",
    "'year', d",
    "s, 1",
    "n > 1, s, 'x'",
    "e",
    "e, '%Y'",
    "d, '%Y'",
    "n > 1, i > 1",
    "w, w",
    "h",
    "e, '%F'",
]
TABLE = pl.DataFrame(
    {
        "n": [1.5, 2.0, None, -3.0],
        "i": [1, None, 3, -7],
        "s": ["a", "bab", None, ""],
        "t": [["a"], [], None, ["b", "a"]],
        "u": [[1], [2, 3], None, []],
        "d": [datetime(2020, 1, 2, 3, 4, tzinfo=UTC), None, *[datetime(1969, 12, 31, tzinfo=UTC)] * 2],
        "e": ["2020-01-02", None, "2021-01-02", "1969-12-31"],
        "h": ["10:20:30", None, "00:00:00", "23:59:59"],
        "w": [[1, 2], None, [0, 3], [-1, 1]],
    },
    schema_overrides={"w": pl.Array(pl.Int64, 2), "u": pl.List(pl.Int64), "t": pl.List(pl.String)},
)


@pytest.mark.parametrize("name", sorted(FUNCTIONS - {"pi"}))
def test_functions_give_a_row_the_same_beside_any_others(name: str) -> None:
    found = []
    for arguments in ARGUMENTS:
        try:
            condition(f"{name}({arguments}) IS NULL")
            asked = pl.sql_expr(f"{name}({arguments})").alias("x")
            together = TABLE.select(asked)
        except (RecipeError, pl.exceptions.PolarsError):
            continue
        alone = [TABLE[row].select(asked) for row in range(len(TABLE))]
        assert pl.concat(alone).equals(together), arguments
        found.append(arguments)
    assert found


def test_conditions_load_sqlglot_and_polars_and_nothing_else_does() -> None:
    code = "import sys, premask.sources.listing; print({'sqlglot', 'polars'} & {*sys.modules})"
    environ = {**os.environ, "PYTHONPATH": str(Path(premask.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


def test_values_of_another_type_are_an_error_that_names_the_row(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"a": "2"}, {"a": None}]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))

    with pytest.raises(SourceError, match=r"a.jsonl row 1: where: a > 1: cannot compare string with numeric"):
        taken(source, where="a > 1")
    assert taken(source, where="CAST(a AS DOUBLE) > 1") == [1]
    with pytest.raises(SourceError, match=r"where: b > 1: cannot compare string .* CAST"):
        taken(write_parquet(tmp_path / "a.parquet", [{"b": "x"}]), where="b > 1")


def test_errors_of_values_are_one_short_line_too(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"a": "x", "t": ["x"]}\n')
    for where in (f"a\n> 1 OR a IN ({', '.join(map(str, range(1000)))})", "t IN\n('x')"):
        with pytest.raises(SourceError, match=r"a.jsonl row 0: where: .*; fix the condition; CAST") as caught:
            taken(source, where=where)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700


def test_columns_that_are_not_there_are_an_error_that_lists_those_there(tmp_path: Path) -> None:
    for path in files_of(tmp_path, ROWS):
        message = "has no column scores; there are: score, lang, meta, tags, messages"
        with pytest.raises(SourceError, match=message):
            taken(path, where="scores > 3")
        with pytest.raises(SourceError, match=message):
            taken(path, columns=["lang", "scores"])
        with pytest.raises(SourceError, match=r"has no column meta.no; there are"):
            taken(path, where="meta.no > 3")
    with pytest.raises(SourceError, match="has no column c; there are: a, b"):
        taken(write(tmp_path / "a.csv", "a,b\n1,2\n"), where="c = '1'")


def test_a_column_that_few_rows_have_is_one(tmp_path: Path) -> None:
    rows = [*({"a": n} for n in range(3000)), {"b": 1}]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))

    assert taken(source, where="b = 1") == [3000]


def test_rows_that_are_no_objects_are_not_taken_and_broken_ones_are(tmp_path: Path) -> None:
    """Of a broken row nobody can say whether it is wanted: it goes to the ledger."""
    source = write(tmp_path / "a.jsonl", '{"a": 1}\n[1]\n3\n{oops\n{"a": 2}\n')

    assert taken(source, where="a = 2") == [3, 4]


def test_columns_leave_the_others_unread(tmp_path: Path) -> None:
    for path in files_of(tmp_path, ROWS):
        (info,) = infos_of(path, columns=["lang", "score"], where="meta.n < 5")
        rows = list(read_slice(whole(info)))

        assert [row.row for row in rows] == [0, 1, 2, 3]
        assert [row.value for row in rows] == [
            {k: row[k] for k in ("score", "lang") if k in row} for row in ROWS[:4]
        ]
        assert {*peek(info)[0]} == {"score", "lang"}


def test_parquet_columns_are_not_decoded_when_they_are_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = write_parquet(tmp_path / "a.parquet", ROWS), []
    original = pa.parquet.ParquetFile.iter_batches

    def spy(self: Any, **keywords: Any) -> Any:
        asked.append(keywords.get("columns"))
        return original(self, **keywords)

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", spy)
    taken(path, columns=["lang"])
    taken(path, columns=["lang"], where="meta.n < 5")
    assert asked == [["lang"], ["lang", "meta"]]


# ==== Samples ====


def test_a_sample_has_its_share_and_depends_on_seed_and_file() -> None:
    numbers = np.arange(100_000)
    masks = [sampled(name, numbers, 0.1, seed) for name in ("a", "b") for seed in (0, 1)]

    for mask in masks:
        assert abs(mask.mean() - 0.1) < 0.005
        assert abs(np.diff(np.flatnonzero(mask)).std() - np.sqrt(90)) < 0.5  # gaps of a fair coin
        for other in masks:
            if other is not mask:
                assert abs((mask & other).mean() - 0.01) < 0.002
    assert sampled("a", numbers, 1.0, 0).all()
    assert not (sampled("a", numbers, 0.1, 0) & ~sampled("a", numbers, 0.2, 0)).any()
    assert sampled("a", numbers[50:], 0.1, 0).tolist() == masks[0][50:].tolist()


def test_a_sample_does_not_depend_on_the_cut(tmp_path: Path) -> None:
    rows = [{"n": n} for n in range(300)]
    for path in files_of(tmp_path, rows):
        (info,) = infos_of(path, sample=0.3)
        whole_file = [row.row for row in read_slice(whole(info))]
        units = plan_units([info], unit_rows=17)
        cut = [row.row for unit in units for piece in unit.slices for row in read_slice(piece)]

        assert cut == whole_file == np.flatnonzero(sampled(path, np.arange(300), 0.3, 0)).tolist()


# ==== Limits ====


def test_a_limit_takes_the_first_rows_of_all_files_together(tmp_path: Path) -> None:
    """Blank lines are no rows; files behind the limit are not looked at, broken or not."""
    lines = "\n".join(f'{{"n": {n}}}\n' for n in range(6))
    write(tmp_path / "a.jsonl", lines)
    write(tmp_path / "b.csv", "n\n6\n7\n8\n")
    write(tmp_path / "c.json", json.dumps([{"n": 9}, {"n": 10}]))
    write_parquet(tmp_path / "d.parquet", [{"n": 11}, {"n": 12}])
    write(tmp_path / "e.json", "broken")
    found = {}
    for limit in (1, 5, 6, 7, 9, 10, 12, 13):
        infos = infos_of(tmp_path.as_posix(), limit=limit)
        values = [int(row.value["n"]) for info in infos for row in read_slice(whole(info))]
        units = plan_units(infos, unit_rows=2)
        cut = [int(row.value["n"]) for unit in units for piece in unit.slices for row in read_slice(piece)]
        assert values == cut == list(range(limit))
        found[limit] = [info.left_out for info in infos]
    assert found == {
        1: [5],
        5: [1],
        6: [0],
        7: [0, 2],
        9: [0, 0],
        10: [0, 0, 1],
        12: [0, 0, 0, 1],
        13: [0] * 4,
    }
    with pytest.raises(PremaskError, match=r"e.json"):
        infos_of(tmp_path.as_posix(), limit=14)


def test_limit_then_where_then_sample(tmp_path: Path) -> None:
    for path in files_of(tmp_path, [{"n": n, "even": n % 2 == 0} for n in range(400)]):
        infos = infos_of(path, limit=300, where="even", sample=0.5)
        batches = [each for info in infos for each in read_batches(whole(info), "openai", rows=64)]
        rows = [int(number) for batch in batches for number in batch.numbers]
        left_out = {key: sum(batch.left_out.get(key, 0) for batch in batches) for key in ("where", "sample")}

        assert rows == [n for n in range(0, 300, 2) if sampled(path, np.array([n]), 0.5, 0)[0]]
        assert left_out == {"where": 150, "sample": 150 - len(rows)}
        assert [info.left_out for info in infos] == [100]


def test_rows_left_out_at_the_end_are_counted_too(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", '{"a": 1}\n' * 2000)
    (info,) = infos_of(source, where="a = 2")
    (batch,) = read_batches(whole(info), "openai")

    assert (len(batch), batch.left_out) == (0, {"where": 2000})
