"""`map`: functions of the user that make rows of rows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, command_line, premask, write_rows
from outputs import bytes_of
from premask.core.errors import OutputError, RecipeError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Parts, Row
from premask.output.dataset import open_dataset
from premask.review.rejects import read_reject_log
from premask.review.verify import verify
from premask.running.forecast import forecast
from premask.running.ranks import Share, finish_slices, run_slice
from premask.running.run import RunResult, run
from premask.sources import mapping
from premask.sources.mapping import allow_map, find_hook, function_of, mapped

CHATS = SAMPLE / "conversations.jsonl"
TOKENIZER = str(SAMPLE / "tokenizer")


@pytest.fixture(autouse=True)
def _allowed(tmp_path: Path) -> Iterator[None]:
    allow_map(tmp_path)
    yield
    allow_map(None)


def write(folder: Path, code: str, name: str = "hooks") -> Path:
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    return path


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": turns, **more}


def recipe_of(out: Path, *sources: Any, **keys: Any) -> Recipe:
    named = [each if isinstance(each, dict) else str(each) for each in sources]
    values = {"sources": named, "tokenizer": TOKENIZER, "output": str(out), "max_length": 512}
    return Recipe.model_validate(values | keys)


def run_on(out: Path, *sources: Any, workers: int = 1, **keys: Any) -> RunResult:
    return run(recipe_of(out, *sources, **keys), workers=workers)


def made_of(folder: Path, code: str, value: Any, most: int = 1000) -> Row:
    write(folder, code)
    return mapped(Row("a.jsonl", 7, value, json.dumps(value)), find_hook("hooks:f"), most)


def ids_of(out: Path) -> list[list[int]]:
    return [
        ids
        for path in sorted(out.glob("packed/*"))
        for ids in pq.read_table(path).column("input_ids").to_pylist()
    ]


def lineage_of(out: Path) -> list[tuple[int, int, str | None]]:
    rows = [row for path in sorted(out.glob("lineage/*")) for row in pq.read_table(path).to_pylist()]
    return sorted((row["row"], row["sample"], row["id"]) for row in rows)


# ==== One row ====


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("def f(row):\n    return {'a': row['x'] + 1}", {"a": 2}),
        ("def f(row):\n    return [{'a': 1}]", {"a": 1}),
        ("def f(row):\n    return [{'a': 1}, {'b': (2, 3)}]", Parts(({"a": 1}, {"b": [2, 3]}))),
        ("import datetime\ndef f(row):\n    return {'d': datetime.date(2025, 1, 2)}", {"d": "2025-01-02"}),
    ],
)
def test_what_a_function_makes(tmp_path: Path, code: str, value: Any) -> None:
    row = made_of(tmp_path, code, {"x": 1})
    assert (row.value, row.error, row.row, row.original) == (value, None, 7, '{"x": 1}')


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("return None", "map_dropped", "hooks:f: it returned None"),
        ("return []", "map_dropped", "hooks:f: it returned an empty list"),
        ("return 'text'", "map_error", "it returned str, not a row (a dict), a list of rows, or None"),
        ("return [row, 3]", "map_error", "it returned a list with int, not a row"),
        ("return {'a': {1}}", "map_error", "it returned a value that JSON does not have: set"),
        ("return {'a': 'x' * 2000}", "map_error", "characters, more than max_row_bytes 1,000"),
        ("row['a'] = row\n    return row", "map_error", "Circular reference detected"),
        ("raise ValueError('so\\nnot')", "map_error", "hooks:f: ValueError: so (hooks.py line 2)"),
        ("raise KeyError(object())", "map_error", "KeyError: <object object at 0x...> (hooks.py line 2)"),
        ("raise SystemExit(3)", "map_error", "SystemExit: 3 (hooks.py line 2)"),
        ("import sys; sys.exit()", "map_error", "SystemExit: no message (hooks.py line 2)"),
        ("return row['nothing']", "map_error", "KeyError: 'nothing' (hooks.py line 2)"),
        ("import json; return json.loads('{')", "map_error", "JSONDecodeError"),
        ("yield row", "map_error", "it returned a value that JSON does not have: generator"),
        ("def g(): g()\n    g()", "map_error", "RecursionError"),
        ("raise KeyboardInterrupt", "map_error", "KeyboardInterrupt: no message (hooks.py line 2)"),
        ("import os; os._exit(0)", "map_error", "SystemExit: os._exit(0) (hooks.py line 2)"),
        ("return {'a': float('nan')}", "map_error", "ValueError: Out of range float values"),
        ("return {'a': [{5: 1}]}", "map_error", "it returned a key that JSON does not have: 5"),
        ("async def g(): pass\n    return g()", "map_error", "a value that JSON does not have: coroutine"),
    ],
)
def test_what_a_function_must_not_make(tmp_path: Path, code: str, reason: str, detail: str) -> None:
    row = made_of(tmp_path, f"def f(row):\n    {code}", {"x": 1})
    assert (row.value, row.reason, row.original) == (None, reason, '{"x": 1}')
    assert detail in (row.error or "")


def test_rows_that_are_no_objects_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, "def f(row):\n    raise ValueError")
    hook = find_hook("hooks:f")
    for row in (Row("a", 0, [1]), Row("a", 1, None, "{", "it is broken"), Row("a", 2, "text")):
        assert mapped(row, hook, 1000) is row


def test_a_function_gets_a_copy_and_keeps_nothing(tmp_path: Path) -> None:
    code = "KEPT = []\ndef f(row):\n    KEPT.append(row)\n    row['x'].append(1)\n    return row"
    value = {"x": []}
    first = made_of(tmp_path, code, value)
    hook = find_hook("hooks:f")
    kept = function_of(hook).__globals__["KEPT"]
    kept[-1]["x"].append(2)
    assert (value, first.value) == ({"x": []}, {"x": [1]})


def test_what_it_prints_is_dropped_and_its_folder_is_not_left_in_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "HELP = 4", "helping")
    row = made_of(
        tmp_path,
        "print('loaded')\ndef f(row):\n    print(row)\n    import helping\n    return {'a': helping.HELP}",
        {},
    )
    assert row.value == {"a": 4}
    made_of(tmp_path, "import sys\ndef f(row):\n    sys.stderr.write('help')\n    return row", {})
    assert capsys.readouterr() == ("", "")
    assert str(tmp_path) not in sys.path
    assert not (tmp_path / "__pycache__").exists()


def test_numbers_that_json_does_not_have_stay_where_the_file_has_them(tmp_path: Path) -> None:
    row = made_of(tmp_path, "def f(row):\n    return row", {"x": float("nan"), "y": 1})
    assert (row.error, repr(row.value)) == (None, "{'x': nan, 'y': 1}")


def test_a_function_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    code = (
        "import os, signal\ndef f(row):\n    os.chdir('/')\n    signal.signal(signal.SIGINT, signal.SIG_IGN)"
    )
    place, handler, leave = Path.cwd(), signal.getsignal(signal.SIGINT), os._exit
    assert made_of(tmp_path, code, {}).reason == "map_dropped"
    assert (Path.cwd(), signal.getsignal(signal.SIGINT), os._exit) == (place, handler, leave)


def test_an_interrupt_of_the_user_ends_a_function_that_hides_it(tmp_path: Path) -> None:
    code = """
import os, signal
def f(row):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1_000_000):
            pass
    except BaseException:
        return row
"""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # others may have set one of theirs
    try:
        with pytest.raises(KeyboardInterrupt):
            made_of(tmp_path, code, {})
    finally:
        signal.signal(signal.SIGINT, before)


# ==== Which function ====


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hooks", r"map: 'hooks' names no function; write MODULE:FUNCTION, such as hooks:clean"),
        ("hooks:a.b", "names no function"),
        ("../x:f", "names no function"),
        ("hooks:clen", "hooks.py has no function clen; did you mean clean"),
        ("hooks:zzz", "hooks.py has no function zzz; write it there"),
        ("hooks:VALUE", "map: VALUE of .*hooks.py is no function"),
        ("hooks:later", "map: later of .*hooks.py is an async function; write it with def alone"),
        (
            "nowhere_at_all:f",
            "map: there is no module nowhere_at_all in .*, nor among the installed packages",
        ),
        ("no_package.hooks:f", "there is no module no_package.hooks in .*; write it as no_package/hooks.py"),
        ("math:floor", "there is no module math"),
        ("os.path:join", "there is no module os.path"),
        (
            "raising:f",
            r"map: importing raising raises ZeroDivisionError: division by zero \(raising.py line 2\)",
        ),
        ("broken:f", r"map: importing broken raises SyntaxError: .*\(broken.py line 1\)"),
        ("leaving:f", "map: importing leaving raises SystemExit: 4"),
        (
            "missing:f",
            "map: importing missing raises ModuleNotFoundError: No module named 'not_there_at_all'",
        ),
    ],
)
def test_a_function_that_is_not_there_is_one_line(tmp_path: Path, name: str, message: str) -> None:
    write(tmp_path, "VALUE = 3\ndef clean(row):\n    return row\nasync def later(row): pass")
    write(tmp_path, "x = 1\nx / 0", "raising")
    write(tmp_path, "def f(:", "broken")
    write(tmp_path, "raise SystemExit(4)", "leaving")
    write(tmp_path, "import not_there_at_all", "missing")
    with pytest.raises(RecipeError, match=message) as caught:
        find_hook(name)
    assert "\n" not in str(caught.value)


def test_packages_and_installed_modules_are_found_behind_the_folder(tmp_path: Path) -> None:
    package = tmp_path / "cleaning_rows"
    package.mkdir()
    write(package, "", "__init__")
    write(package, "LIST = [3]", "parts")
    write(package, "from .parts import LIST\ndef f(row):\n    return {'a': LIST}", "inner")
    assert mapped(Row("a", 0, {}, "{}"), find_hook("cleaning_rows.inner:f"), 1000).value == {"a": [3]}
    assert find_hook("textwrap:dedent").function == "textwrap:dedent"
    write(tmp_path, "def dedent(row):\n    return {'own': 1}", "textwrap")
    import textwrap  # noqa: PLC0415

    assert mapped(Row("a", 0, {}, "{}"), find_hook("textwrap:dedent"), 1000).value == {"own": 1}
    assert not hasattr(textwrap, "own")
    assert textwrap.dedent("  a") == "a"


def test_the_code_that_is_hashed_is_the_one_that_runs(tmp_path: Path) -> None:
    path = write(tmp_path, "def f(row):\n    return {'a': 1}")
    first = find_hook("hooks:f")
    path.write_text("def f(row):\n    return {'a': 2}", encoding="utf-8")
    second = find_hook("hooks:f")
    assert [mapped(Row("a", 0, {}, "{}"), each, 99).value for each in (first, second)] == [{"a": 1}, {"a": 2}]
    function_of.cache_clear()  # as another process
    with pytest.raises(SourceError, match="has changed since the run began"):
        mapped(Row("a", 0, {}, "{}"), first, 99)


# ==== Nothing runs unless it may ====

MARKS = "from pathlib import Path\nPath({!r}).touch()\ndef f(row):\n    return row"


def test_a_recipe_runs_no_code_before_it_is_allowed(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    write(tmp_path, MARKS.format(str(marker)))
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Ho")])
    recipe = tmp_path / "r.yaml"
    keys = {
        "sources": [str(source)],
        "tokenizer": TOKENIZER,
        "map": "hooks:f",
        "output": str(tmp_path / "out"),
    }
    recipe.write_text(json.dumps(keys), encoding="utf-8")
    for words in (["run", recipe], ["plan", recipe], ["explain", recipe]):
        done = premask(*words)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith(
            "premask: map: hooks:f is code that comes with the recipe, and runs with your"
        )
        assert "--allow-map" in done.err
    assert not marker.exists()
    allow_map(None)
    with pytest.raises(RecipeError, match="add --allow-map"):
        run_on(tmp_path / "out", source, map="hooks:f")
    with pytest.raises(RecipeError, match="add --allow-map"):
        run_on(tmp_path / "out", {"path": str(source), "map": "hooks:f"})
    assert not marker.exists()

    assert premask("explain", recipe, "--allow-map").code == 0
    assert marker.exists()
    assert premask("run", recipe, "--allow-map").code == 0
    marker.unlink()
    done = premask("run", recipe, "--overwrite")  # nothing is left over of what was allowed before
    assert (done.code, marker.exists()) == (2, False)


def test_outputs_of_others_are_checked_without_their_code(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    write(tmp_path, MARKS.format(str(marker)))
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Ho")])
    run_on(tmp_path / "out", source, map="hooks:f")
    marker.unlink()
    report = verify(str(tmp_path / "out"), full=True)
    assert report.findings == ()
    (note,) = report.notes
    assert note == (
        f"rows of {source} were not processed again: hooks:f made them (map), and verify runs no code of a recipe"
    )
    done = premask("report", tmp_path / "out", "--to", tmp_path / "page.html")
    assert done.code == 0
    assert "a function made its rows (map)" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not marker.exists()


def test_what_ranks_leave_for_each_other_names_no_code_that_runs(tmp_path: Path) -> None:
    marker, out = tmp_path / "it-ran", tmp_path / "out"
    write(tmp_path, MARKS.format(str(marker)))
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Ho")] * 4)
    made = recipe_of(out, source, map="hooks:f", unit_rows=2)
    run_slice(made, Share(0, 2))
    allow_map(None)
    with pytest.raises(RecipeError, match="--allow-map"):
        run_slice(made, Share(1, 2))
    allow_map(tmp_path)
    run_slice(made, Share(1, 2))
    marker.unlink()
    allow_map(None)
    finish_slices(out)
    assert not marker.exists()

    plain = recipe_of(tmp_path / "plain", source, unit_rows=2)
    run_slice(plain, Share(0, 2))
    (path,) = tmp_path.glob(".plain.partial/ranks/work.json")
    work = json.loads(path.read_text(encoding="utf-8"))
    hook = ["hooks:f", str(tmp_path), hashlib.sha256((tmp_path / "hooks.py").read_bytes()).hexdigest()]
    for each in (*work["infos"], *(piece for unit in work["units"] for piece in unit)):
        each["selection"] = [None, None, 0, None, hook]
    path.write_text(json.dumps(work), encoding="utf-8")
    run_slice(plain, Share(1, 2))
    finish_slices(tmp_path / "plain")
    assert not marker.exists()


# ==== Whole runs ====

CLEAN = """
def clean(row):
    turns = row.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2:
        return row
    if len(turns) == 2:
        return None
    if len(turns) % 3 == 0:
        return [{"id": f"{row.get('id')}-{k}", "conversations": turns[2 * k : 2 * k + 2]} for k in range(2)]
    turns[0]["value"] = turns[0]["value"].upper()
    return row
"""


def test_workers_ranks_and_the_cache_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    keys = {"map": "hooks:clean", "unit_rows": 60}
    result = run_on(tmp_path / "one", CHATS, **keys)
    expected = bytes_of(tmp_path / "one")
    run_on(tmp_path / "two", CHATS, workers=2, **keys)
    assert bytes_of(tmp_path / "two") == expected
    recipe = recipe_of(tmp_path / "ranks", CHATS, **keys)
    for rank in (1, 0):
        run_slice(recipe, Share(rank, 2))
    finish_slices(tmp_path / "ranks")
    assert bytes_of(tmp_path / "ranks") == expected
    for _ in range(2):
        run_on(tmp_path / "cached", CHATS, cache=str(tmp_path / "cache"), **keys)
        assert bytes_of(tmp_path / "cached") == expected
        shutil.rmtree(tmp_path / "cached")
    counts, (about,) = result.manifest["counts"], result.manifest["inputs"]
    assert counts["left_out"]["map"] > 0
    assert about["map"] == {"function": "hooks:clean", "sha256": find_hook("hooks:clean").sha256}
    assert open_dataset(tmp_path / "one").manifest.inputs[0].map is not None
    report = verify(str(tmp_path / "one"), full=True)
    assert report.findings == ()


def test_mapped_rows_give_the_tokens_of_rows_that_were_written_that_way(tmp_path: Path) -> None:
    rows = [chat(f"Hi {i}", f"Ho {i}", *(["More", "Yes"] * (i % 3))) for i in range(50)]
    other = [chat(*(each["content"].upper() for each in row["messages"])) for row in rows]
    code = """
def up(row):
    return {"messages": [{**turn, "content": turn["content"].upper()} for turn in row["messages"]]}
"""
    write(tmp_path, code)
    keys = {"verify": 1}
    run_on(tmp_path / "mapped", write_rows(tmp_path / "a.jsonl", rows), map="hooks:up", **keys)
    run_on(tmp_path / "written", write_rows(tmp_path / "b.jsonl", other), **keys)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "c.parquet")
    run_on(tmp_path / "parquet", tmp_path / "c.parquet", map="hooks:up", **keys)
    assert ids_of(tmp_path / "mapped") == ids_of(tmp_path / "written") == ids_of(tmp_path / "parquet")


def test_rows_that_are_made_of_one_are_numbered_and_none_is_lost(tmp_path: Path) -> None:
    code = """
def f(row):
    if row["kind"] == "drop":
        return None
    if row["kind"] == "two":
        return [{**row, "id": row["id"] + "-0"}, {**row, "id": row["id"] + "-1"}]
    if row["kind"] == "bad":
        return [row, {"messages": []}]
    return row
"""
    write(tmp_path, code)
    kinds = ["one", "two", "drop", "bad", "two"]
    source = write_rows(
        tmp_path / "a.jsonl", [chat(f"Hi {i}", "Ho", kind=kind, id=f"r{i}") for i, kind in enumerate(kinds)]
    )
    result = run_on(tmp_path / "out", source, map="hooks:f")
    assert lineage_of(tmp_path / "out") == [
        (0, 0, "r0"),
        *((row, sample, f"r{row}-0") for row in (1, 4) for sample in (0, 1)),
    ]
    counts = result.manifest["counts"]
    assert (counts["rows"], counts["kept"], counts["rejected"], counts["left_out"], counts["samples"]) == (
        5, 3, 1, {"map": 1}, 5,
    )  # fmt: skip
    log = read_reject_log(tmp_path / "out").as_dict()["by_reason"]
    (dropped,), (bad,) = log["map_dropped"]["examples"], log["no_messages"]["examples"]
    assert (dropped["row"], dropped["original"], dropped["detail"]) == (2, None, "hooks:f: it returned None")
    assert (bad["row"], bad["detail"].split(":")[0]) == (3, "part 1")
    assert json.loads(bad["original"])["kind"] == "bad"
    assert premask("rejects", tmp_path / "out", "--export", tmp_path / "fix.jsonl").code == 0
    assert [json.loads(line)["kind"] for line in (tmp_path / "fix.jsonl").read_text().splitlines()] == ["bad"]


def test_the_dialect_is_that_of_the_rows_that_are_made(tmp_path: Path) -> None:
    code = (
        "def f(row):\n    return [{'messages': [{'role': 'user', 'content': row['q']}, {'role': 'assistant', "
    )
    write(tmp_path, f"{code}'content': a}}]}} for a in row['answers']]")
    source = write_rows(tmp_path / "a.jsonl", [{"q": "Hi", "answers": ["Ho", "Hm"]}] * 3)
    result = run_on(tmp_path / "out", source, map="hooks:f")
    assert (result.manifest["counts"]["kept"], result.manifest["counts"]["samples"]) == (3, 6)


def test_a_source_has_its_own_function_and_conditions_come_before(tmp_path: Path) -> None:
    write(tmp_path, "def a(row):\n    return row\ndef b(row):\n    return None if row['n'] == 2 else row")
    files = [
        write_rows(tmp_path / f"{name}.jsonl", [chat("Hi", f"{name}{i}", n=i) for i in range(4)])
        for name in "ab"
    ]
    own = {"path": str(files[1]), "map": "hooks:b", "where": "n > 0"}
    result = run_on(tmp_path / "out", files[0], own, map="hooks:a")
    assert [each["map"]["function"] for each in result.manifest["inputs"]] == ["hooks:a", "hooks:b"]
    assert [each["left_out"] for each in result.manifest["inputs"]] == [{}, {"map": 1, "where": 1}]


def test_another_code_is_another_run(tmp_path: Path) -> None:
    path = write(tmp_path, "def f(row):\n    return row")
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Ho")])
    keys = {"map": "hooks:f", "cache": str(tmp_path / "cache")}
    first = run_on(tmp_path / "one", source, **keys)
    path.write_text(
        "def f(row):\n    row['messages'][1]['content'] = 'Other'\n    return row", encoding="utf-8"
    )
    second = run_on(tmp_path / "two", source, **keys)
    assert first.manifest["run_key"] != second.manifest["run_key"]
    assert ids_of(tmp_path / "one") != ids_of(tmp_path / "two")
    assert len([*(tmp_path / "cache").rglob("*.arrow")]) == 2
    with pytest.raises(OutputError, match=r"the code of hooks:f for .*a\.jsonl was [0-9a-f]{57}"):
        run_on(tmp_path / "one", source, **keys)


def test_a_forecast_takes_rows_through_the_function_once(tmp_path: Path) -> None:
    write(tmp_path, "def f(row):\n    row['messages'][1]['content'] += ' and more'\n    return row")
    source = write_rows(tmp_path / "a.jsonl", [chat(f"Hi {i}", "Ho") for i in range(20)])
    found = forecast(recipe_of(tmp_path / "out", source, map="hooks:f"))
    assert found.tokens == run_on(tmp_path / "out", source, map="hooks:f").manifest["counts"]["tokens"]


def test_a_row_for_which_a_function_never_returns_is_rejected(tmp_path: Path) -> None:
    write(tmp_path, "def f(row):\n    while row['n'] == 3:\n        pass\n    return row")
    source = write_rows(tmp_path / "a.jsonl", [chat(f"Hi {i}", "Ho", n=i) for i in range(9)])
    keys = {
        "sources": [str(source)],
        "tokenizer": TOKENIZER,
        "map": "hooks:f",
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "r.yaml").write_text(json.dumps(keys), encoding="utf-8")
    script = "import premask.sources.mapping as m, premask.cli.app as a; m.SECONDS = 0.3; a.main()"
    words = [sys.executable, "-c", script, "run", str(tmp_path / "r.yaml"), "--allow-map", "--workers", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    ((reason, about),) = read_reject_log(tmp_path / "out").as_dict()["by_reason"].items()
    (line,) = about["examples"]
    assert (reason, line["row"]) == ("map_timeout", 3)
    assert line["detail"] == "hooks:f: the function for row 3 takes more than 0.3 seconds of CPU time"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return None", "row 0: hooks:f: it returned None; check the function"),
        ("return 5", "row 0: hooks:f: it returned int, not a row"),
        ("return row['no']", r"row 0: hooks:f: KeyError: 'no' \(hooks.py line 2\); check the function"),
        ("import posix; posix._exit(0)", "row 0: hooks:f: it ends the process; check the function"),
    ],
)
def test_a_function_that_makes_nothing_of_any_row_is_named(tmp_path: Path, code: str, message: str) -> None:
    write(tmp_path, f"def f(row):\n    {code}")
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Ho")] * 3)
    with pytest.raises(SourceError, match=f"a.jsonl has no row that can be read after map; {message}"):
        run_on(tmp_path / "out", source, map="hooks:f")


def test_a_row_that_took_too_long_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "def f(row):\n    return row")
    row, hook = Row("a.jsonl", 7, {"x": 1}, '{"x": 1}'), find_hook("hooks:f")
    monkeypatch.setattr(mapping, "_endless", {(hook, '{"x": 1}')})
    made = mapped(row, hook, 1000)
    assert (made.reason, made.error) == (
        "map_timeout",
        "hooks:f: the function for row 7 takes more than 10 seconds of CPU time",
    )
    assert mapped(row._replace(original='{"x": 2}'), hook, 1000).value == {"x": 1}


def test_a_row_for_which_a_function_ends_the_process_is_skipped(tmp_path: Path) -> None:
    write(
        tmp_path, "import posix\ndef f(row):\n    if row['n'] == 330:\n        posix._exit(0)\n    return row"
    )
    source = write_rows(tmp_path / "a.jsonl", [chat(f"Hi {i}", "Ho", n=i) for i in range(600)])
    keys = {
        "sources": [str(source)],
        "tokenizer": TOKENIZER,
        "map": "hooks:f",
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "r.yaml").write_text(json.dumps(keys), encoding="utf-8")
    words = ["run", str(tmp_path / "r.yaml"), "--allow-map", "--workers", "2", "--attempts", "1"]
    done = subprocess.run(command_line(*words), capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr  # a row was skipped
    ((reason, about),) = read_reject_log(tmp_path / "out").as_dict()["by_reason"].items()
    (line,) = about["examples"]
    assert (reason, line["row"], json.loads(line["original"])["n"]) == ("crashed", 330, 330)


def test_the_bound_of_time_is_that_of_this_module() -> None:
    assert 1 <= mapping.SECONDS <= 60
