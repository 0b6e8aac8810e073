"""Made-up chat data for the benchmarks: always the same rows for a kind, a size and a seed.

    python benchmarks/data.py chat --rows 20000
    python benchmarks/data.py short --rows 1000000 --format parquet,jsonl

`chat`       conversations as assistants have them: 1 to 24 pairs of messages (mean 2.9), questions with a
             median of 150 characters and answers with one of 750; 12 % Chinese, 15 % with a block of code,
             15 % with one of 27 system prompts, 2 % with a paste of 8,000 to 120,000 characters. Messages
             are glued from paragraphs and sentences drawn at random, so that words come again but messages
             do not.
`short`      four short turns about a sentence, about 85 tokens in all: those of UniversalNER in the shared
             corpus where it is present, and beyond their number again with words exchanged.
`reasoning`  a question and an answer with `reasoning_content`, which is most of the row.
`tools`      one to four questions, answered with calls (`tool_calls`) of the row's one to five tools out of
             240, which come again in other rows; one call in seven is two at once.
`agentsN`    a task and N rounds of a thought, a call of one of four tools, and its result (code); N is any
             number, 230 tokens a round.

Text is that of `text_pool.py`. Written are `messages` and, where there are some, `tools`, as Parquet (zstd)
and as JSONL. In Parquet, tools and the arguments of calls are JSON within strings, as on the Hub.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import WORK, note, shown
from kinds import KINDS
from text_pool import CONVERSATIONS, Draw, glue, records, text_pool
from tool_rows import Row, agent_rows, reasoning_rows, tools_rows

Message = tuple[str, str]
"""Role and content."""
SEED = 4
ROW_GROUP = 1000  # rows, as the Hub's own conversion writes them


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--format", default="parquet", help="parquet, jsonl, or both with a comma")
    parser.add_argument("--folder", type=Path, default=WORK / "data")
    options = parser.parse_args()
    for name in options.format.split(","):
        path = ensure(options.kind, options.rows, seed=options.seed, suffix=name, folder=options.folder)
        print(f"{shown(path)}: {options.rows} rows, {path.stat().st_size / 1e6:.1f} MB")


def ensure(
    kind: str, rows: int, *, seed: int = SEED, suffix: str = "parquet", folder: Path = WORK / "data"
) -> Path:
    """Return the file with these rows, made now if it is not there."""
    path = folder / f"{kind}-{rows}-seed{seed}.{suffix}"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    note(f"making {shown(path)}")
    partial = path.with_name(f".{path.name}")
    made = islice(generate(kind, seed), rows)
    if suffix == "jsonl":
        _write_jsonl(partial, made)
    else:
        _write_parquet(partial, made)
    return partial.rename(path)


def generate(kind: str, seed: int = SEED) -> Iterator[Row]:
    """Yield rows without end."""
    if agents := re.fullmatch(r"agents(\d+)", kind):
        return agent_rows(int(agents[1]), seed)
    if kind in {"reasoning", "tools"}:
        return (reasoning_rows if kind == "reasoning" else tools_rows)(seed)
    pairs = _chat(seed) if kind == "chat" else _short(seed)
    return ({"messages": [{"role": role, "content": text} for role, text in row]} for row in pairs)


# ==== Chat rows ====


def _chat(seed: int) -> Iterator[list[Message]]:
    pool, rng = text_pool(), np.random.default_rng(seed)
    draw, systems = Draw(rng), system_prompts()
    while True:
        pairs = min(int(rng.geometric(1 / 2.9)), 24)
        units = pool.chinese if draw.part() < 0.12 else pool.english
        asked = np.exp(rng.normal(np.log(150), 0.8, pairs)).tolist()
        told = np.exp(rng.normal(np.log(750), 0.95, pairs)).tolist()
        if units is pool.chinese:  # which says more in a character
            asked, told = [each / 3 for each in asked], [each / 3 for each in told]
        row: list[Message] = []
        if draw.part() < 0.15:
            row.append(("system", systems[draw.below(len(systems))]))
        coded = draw.below(pairs) if draw.part() < 0.15 else None
        pasted = draw.below(pairs) if draw.part() < 0.02 else None
        for turn in range(pairs):
            question = glue(units, asked[turn], draw)
            if turn == pasted:
                question += "\n\n" + glue(units, 8000 * 15 ** draw.part(), draw)
            answer = glue(units, told[turn], draw)
            if turn == coded:
                answer += f"\n\n```python\n{pool.code[draw.below(len(pool.code))]}\n```"
            row += [("user", question), ("assistant", answer)]
        yield row


def system_prompts() -> list[str]:
    """The 27 system prompts, from a sentence to a page.

    >>> len(set(system_prompts()))
    27
    """
    who = ("a helpful assistant", "a patient teacher", "a careful programmer")
    where = ("in a chat on a web page", "in the help desk of a library", "inside a code editor")
    how = (
        "Answer briefly.",
        "Explain step by step, give an example, and say so if you are not sure. Use Markdown lists.",
        "Follow these rules.\n\n" + "\n".join(
            f"{number}. {rule}" for number, rule in enumerate((
                "Answer in the language of the question.", "Never guess: ask for what is missing.",
                "Put code into blocks with the name of the language.", "Keep names and numbers as they are.",
                "Do not repeat the question.", "End with the next step that makes sense.",
            ), 1)
        ),
    )  # fmt: skip
    return [f"You are {a}, working {b}. {c}" for a in who for b in where for c in how]


# ==== Short rows ====


def _short(seed: int) -> Iterator[list[Message]]:
    rng = np.random.default_rng(seed)
    draw, rows = Draw(rng), _ner_rows() or _made_up_rows(rng)
    words = sorted({word for row in rows for word in row[0][1].split() if word.isalpha()})
    order = rng.permutation(len(rows)).tolist()
    yield from (rows[i] for i in order)
    while True:
        for i in order:
            (role, text), *rest = rows[i]
            yield [(role, _exchange(text, words, draw)), *rest]


def _exchange(text: str, words: list[str], draw: Draw) -> str:
    """The text with some of its words exchanged for others."""
    parts = text.split(" ")
    for _ in range(3):
        parts[1 + draw.below(len(parts) - 1) if len(parts) > 1 else 0] = words[draw.below(len(words))]
    return " ".join(parts)


def _ner_rows() -> list[list[Message]]:
    """The conversations of four turns of UniversalNER that can be read here, in order."""
    roles, rows = {"human": "user", "gpt": "assistant"}, []
    for path in sorted((CONVERSATIONS / "universal-ner").rglob("*.json")):
        for record in (row for value in records(path) if isinstance(value, list) for row in value):
            turns = record.get("conversations", []) if isinstance(record, dict) else []
            row = [(roles.get(turn["from"], ""), turn["value"]) for turn in turns]
            if len(row) == 4 and all(role and text for role, text in row):
                rows.append(row)
    return rows


def _made_up_rows(rng: np.random.Generator) -> list[list[Message]]:
    """Rows of the same shape from sentences of the pool."""
    sentences, kinds = text_pool().english[1], ("person", "place", "organization", "date", "title", "number")
    rows = []
    for _ in range(15_000):
        text = " ".join(sentences[i] for i in rng.integers(len(sentences), size=2))
        names = [word for word in text.split() if word.istitle()][: int(rng.integers(4))]
        asked = kinds[int(rng.integers(len(kinds)))]
        rows.append([
            ("user", f"Text: {text}"), ("assistant", "I've read this text."),
            ("user", f"What describes {asked} in the text?"), ("assistant", json.dumps(names)),
        ])  # fmt: skip
    return rows


# ==== Files ====


def _write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterable[Row]) -> None:
    iterator = iter(rows)
    chunk = list(islice(iterator, ROW_GROUP))
    schema = _schema(chunk[0])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk:
            writer.write_table(pa.Table.from_pylist([_as_strings(row) for row in chunk], schema=schema))
            chunk = list(islice(iterator, ROW_GROUP))


def _schema(row: Row) -> pa.Schema:
    text = pa.string()
    message = [("role", text), ("content", text)]
    if "reasoning_content" in row["messages"][-1]:
        message.append(("reasoning_content", text))
    if "tools" not in row:
        return pa.schema([("messages", pa.list_(pa.struct(message)))])
    function = pa.struct([("name", text), ("arguments", text)])
    call = pa.struct([("id", text), ("type", text), ("function", function)])
    message += [("tool_calls", pa.list_(call)), ("tool_call_id", text)]
    return pa.schema([("messages", pa.list_(pa.struct(message))), ("tools", text)])


def _as_strings(row: Row) -> Row:
    """The row with JSON where Parquet has no type for values of any shape."""
    if "tools" not in row:
        return row
    return {"messages": list(map(_message_as_strings, row["messages"])), "tools": json.dumps(row["tools"])}


def _message_as_strings(message: Row) -> Row:
    calls: list[Any] | None = message.get("tool_calls")
    if not calls:
        return message
    functions = [call["function"] for call in calls]
    arguments = [json.dumps(function["arguments"], ensure_ascii=False) for function in functions]
    return {**message, "tool_calls": [
        {**call, "function": {**function, "arguments": text}}
        for call, function, text in zip(calls, functions, arguments, strict=True)
    ]}  # fmt: skip


if __name__ == "__main__":
    main()
