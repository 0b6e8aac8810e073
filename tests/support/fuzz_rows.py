"""Fuzz: rows of all kinds through real runs, in files of all formats. `make fuzz` does 100,000.

    python tests/support/fuzz_rows.py --rows 100000 [--seed 0]

Rows are real ones of every dialect with something changed (a value swapped for another, a key gone, a text cut,
a list turned into a string), and JSON that hypothesis makes. Each file goes through a run; it may refuse a
file as a whole (with its one line), but not end in a traceback, and every row of a file that is taken is kept
or stands in the ledger. Rows of files that are refused as a whole do not count towards the number.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import gzip
import io
import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import pyarrow as pa
import pyarrow.parquet as pq
from commands import TOKENIZER, chat
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from inputs import CORPUS
from outputs import rows_of
from premask.core.errors import PremaskError
from premask.core.recipe import Recipe, Repair
from premask.running.run import run
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice

TURN = {"from": "human", "value": "Hi"}
SEEDS: list[Any] = [
    chat("Hi", "Hello", "1+1?", "2"),
    {"system": "Be brief.", "conversations": [TURN, {"from": "gpt", "value": "Hello"}]},
    {"conversation": [{"human": "Hi", "assistant": "Hello"}]},
    {"instruction": "Add.", "input": "1+1", "output": "2", "history": [["a", "b"]]},
    {"instruction": "When?", "context": "In 1900.", "response": "1900"},
    {"prompt": "1+1?", "completion": ["2", "two"]},
    {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
    {
        "conversations": [TURN],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    },
    {"prompt": "1+1?", "completion": "2", "label": True},
    {"question": "1+1?", "answer": "2", "system_prompt": "Add."},
    {"text": "\n\nHuman: Hi\n\nAssistant: Hello"},
    {"text": "### Human: Hi### Assistant: Hello"},
    {"messages_display": "user: Hi\nassistant: Hello"},
    {"turns": [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}]},
    {
        "prompt": {
            "text": "Hi",
            "role": "prompter",
            "replies": [{"text": "a", "role": "assistant", "replies": []}],
        }
    },
    {"question": [[{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]]},
    {"categories": ["x"], "conversations": [["Hi", "Hello"], ["a", "b"]]},
    {"answer_generation": {"valid_data": True, "train_messages": [chat("Hi", "Hello")["messages"]]}},
    {
        "system": "s",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "1"}]},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "x"}],
            },
        ],
    },
]
"""A row of each dialect; real ones of the shared corpus are added where it is here."""

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**63, "", " ", "\n", "Hi", "[]", "{}", "null", "None", "\0", "\ufeff"),
    *("\u2028", "\u202e", "é", "😀", "<|im_end|>", "{{ x }}", "user", "assistant", "system", "tool", "gpt", "\ud83d"),
    *([], {}, [None], [[]], {"a": None}, [{}], [{"role": "user", "content": "x"}], ["a", "b"], {"type": "text"}),
    *('[{"role": "assistant", "content": "x"}]', "a" * 3000, "```\n<p>", "&amp;", "\n\nHuman: x\n\nAssistant:"),
]  # fmt: skip
KEYS = [
    *("messages", "conversations", "role", "content", "from", "value", "system", "tools", "prompt", "chosen", "rejected"),
    *("completion", "label", "text", "replies", "history", "weight", "train", "tool_calls", "name", "id", "speaker"),
]  # fmt: skip


def mutated(dice: random.Random, row: Any) -> Any:
    """A copy of a row with one to three things changed anywhere in it."""
    row = copy.deepcopy(row)
    for _ in range(dice.choice([0, 1, 1, 2, 3])):
        places = list(_places(row))
        if not places:
            return dice.choice(ODD)
        holder, key = dice.choice(places)
        change = dice.randrange(6)
        if change == 0 and isinstance(holder, dict):
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[dice.choice(KEYS)] = holder[key]
        elif change == 2 and isinstance(holder[key], str):
            holder[key] = holder[key][: dice.randrange(len(holder[key]) + 1)]
        elif change == 3 and isinstance(holder[key], (list, dict)):
            holder[key] = json.dumps(holder[key])
        elif change == 4 and isinstance(holder, list):
            holder.insert(dice.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(dice.choice(ODD))
    return row


def _places(value: Any, depth: int = 6) -> Iterator[tuple[Any, Any]]:
    if depth and isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key], depth - 1)


def made_rows(count: int, number: int) -> list[Any]:
    """JSON by hypothesis, with keys that mean something."""
    scalars = st.one_of(
        st.sampled_from(ODD),
        st.text(max_size=8),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
    )
    objects = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
        ),
        max_leaves=12,
    )
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=max(count, 1), database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(objects)
    def collect(row: Any) -> None:
        found.append(copy.deepcopy(row))

    collect()
    return found[:count]


def real_rows() -> list[Any]:
    """A few rows of each small file of the corpus."""
    rows: list[Any] = []
    for path in sorted(CORPUS.rglob("*.json*")) if CORPUS.is_dir() else []:
        if path.stat().st_size < 1_000_000 and path.name != "index.shared.json":
            with contextlib.suppress(PremaskError):
                found = [row.value for row in read_slice(whole(inspect_source(path.as_posix())))][:2]
                rows += [value for value in found if len(json.dumps(value)) < 6000]
    return rows


# ==== Files ====


def write_jsonl(path: Path, rows: list[Any], dice: random.Random) -> Path:
    lines = [
        json.dumps(row, ensure_ascii=dice.random() < 0.5).encode("utf-8", "backslashreplace") for row in rows
    ]
    for i in range(len(lines)):
        if dice.random() < 0.01:
            lines[i] = lines[i][: dice.randrange(len(lines[i]) + 1)].decode("utf-8", "ignore").encode()
    path = path.with_suffix(".jsonl")
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def write_array(path: Path, rows: list[Any], _: random.Random) -> Path:
    path = path.with_suffix(".json.gz")
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return path


def write_csv(path: Path, rows: list[Any], _: random.Random) -> Path:
    rows = [row if isinstance(row, dict) else {"text": row} for row in rows]
    names = list(dict.fromkeys(key for row in rows for key in row))[:40] or ["text"]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        cells = (row.get(name) for name in names)
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    path = path.with_suffix(".csv")
    path.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))
    return path


def write_table(path: Path, rows: list[Any], dice: random.Random) -> Path:
    """Parquet, of those rows that go into one table; JSONL where none do."""
    fitting: list[Any] = []
    for row in rows:
        if isinstance(row, dict) and row:
            with contextlib.suppress(pa.ArrowException, UnicodeError, OverflowError):
                pa.Table.from_pylist([*fitting[-8:], row])
                fitting.append(row)
    try:
        table = pa.Table.from_pylist(fitting, pa.Table.from_pylist(fitting).schema)
        pq.write_table(table, path.with_suffix(".parquet"))
    except (pa.ArrowException, UnicodeError, OverflowError, ValueError):
        return write_jsonl(path, rows, dice)
    return path.with_suffix(".parquet") if fitting else write_jsonl(path, rows, dice)


WRITERS: list[Callable[[Path, list[Any], random.Random], Path]] = [
    write_jsonl,
    write_jsonl,
    write_array,
    write_csv,
    write_table,
]


# ==== Runs ====


def fuzz(count: int, *, seed_: int, size: int = 2000) -> Counter[str]:
    """Run `count` rows in files of `size`; what became of them. Raises AssertionError for a ledger that does
    not balance, and whatever a run raises that is no error of a user."""
    dice, totals = random.Random(seed_), Counter[str]()  # noqa: S311  no secret
    seeds = [*SEEDS * 3, *real_rows()]
    with tempfile.TemporaryDirectory(prefix="premask-fuzz-") as folder:
        number = 0
        while totals["rows"] < count:
            number += 1
            first = dice.randrange(len(seeds))
            kinds = [seeds[(first + i) % len(seeds)] for i in range(dice.choice([1, 2, 40]))]
            rows = [mutated(dice, dice.choice(kinds)) for _ in range(size * 4 // 5)]
            rows += made_rows(size - len(rows), seed_ * 10_000 + number)
            dice.shuffle(rows)
            path = dice.choice(WRITERS)(Path(folder) / f"rows-{number}", rows, dice)
            totals.update(one_run(path, Path(folder) / f"out-{number}", dice, len(rows)))
            path.unlink()
    return totals


def one_run(path: Path, out: Path, dice: random.Random, written: int) -> Counter[str]:
    recipe = Recipe(
        sources=[path.as_posix()],  # type: ignore[list-item]
        tokenizer=TOKENIZER,
        output=str(out),
        paths=dice.choice(["best", "all"]),
        repair=[each for each in Repair if dice.random() < 0.2],
        too_long=dice.choice(["reject", "truncate", "split"]),
        max_length=dice.choice([64, 1024]),
        loss_weights=dice.random() < 0.3,
        verify=0.05,
    )
    try:
        manifest = run(recipe, workers=1).manifest
    except PremaskError as error:
        text = str(error)
        assert text, path
        assert "\n" not in text, text
        return Counter({"files refused": 1, "rows of refused files": written})
    counts, lines = manifest["counts"], rows_of(out, "rejects")
    expected = sum(1 for _ in read_slice(whole(inspect_source(path.as_posix()))))
    assert counts["rows"] == expected == counts["kept"] + counts["rejected"]
    assert counts["rejected"] == len(lines) == len({line["row"] for line in lines})
    assert counts["kept"] == len({line["row"] for line in rows_of(out, "lineage")})
    found = Counter(
        {"files": 1, "rows": counts["rows"], "kept": counts["kept"], "rejected": counts["rejected"]}
    )
    found.update({f"rejected: {reason}": n for reason, n in counts["rejected_by_reason"].items()})
    found.update({f"repaired: {name}": n for name, n in counts.get("repaired_by_policy", {}).items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the reading of rows.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("error")
    for name, n in fuzz(options.rows, seed_=options.seed).items():
        sys.stdout.write(f"{n:>9,} {name}\n")


if __name__ == "__main__":
    main()
