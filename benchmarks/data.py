"""Made-up chat data for the benchmarks: always the same rows for a kind, a size and a seed.

    python benchmarks/data.py chat --rows 20000
    python benchmarks/data.py short --rows 1000000 --format parquet,jsonl

`chat`   conversations as assistants have them: 1 to 24 pairs of messages (mean 2.9), questions with a median
         of 150 characters and answers with one of 750; 12 % Chinese, 15 % with a block of code, 15 % with one
         of 27 system prompts, 2 % with a paste of 8,000 to 120,000 characters. Messages are glued from
         paragraphs and sentences drawn at random, so that words come again but messages do not.
`short`  four short turns about a sentence, about 85 tokens in all: those of UniversalNER in the shared corpus
         where it is present, and beyond their number again with words exchanged.

Text comes from the bundled sample, from Python's own library (code) and, where present, from the shared
corpus (`../shared/corpus`). Strings that are control tokens somewhere are left out, because peers read
them as control tokens. Written are `messages` (role, content), as Parquet (zstd) and as JSONL.
"""

from __future__ import annotations

import argparse
import json
import re
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import ROOT, SAMPLE, SHARED, WORK, note, shown

Message = tuple[str, str]
"""Role and content."""
KINDS = ("chat", "short")
SEED = 4
ROW_GROUP = 1000  # rows, as the Hub's own conversion writes them
CONVERSATIONS = SHARED / "corpus" / "conversations"
SOURCES = (
    "gpteacher", "alpaca-cleaned-ext", "llamafactory", "medicalgpt", "open-instruct", "open-assistant",
    "fastchat", "litgpt", "torchtune", "universal-ner/fastchat-eval",
)  # fmt: skip
"""Folders of the shared corpus that hold prose; the others are tool traces and terse fixtures."""
CODE = ("*.py", "asyncio/*.py", "email/*.py", "http/*.py", "importlib/*.py", "json/*.py", "logging/*.py",
        "multiprocessing/*.py", "tkinter/*.py", "unittest/*.py", "xml/*/*.py")  # fmt: skip
"""The parts of Python's library that are cut into blocks of code."""
CONTROL = re.compile(r"<\||\|>|</?think>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>")
CHINESE = re.compile("[\u4e00-\u9fff]")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")


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
    made = islice(conversations(kind, seed), rows)
    if suffix == "jsonl":
        _write_jsonl(partial, made)
    else:
        _write_parquet(partial, made)
    return partial.rename(path)


def conversations(kind: str, seed: int = SEED) -> Iterator[list[Message]]:
    """Yield conversations without end."""
    return _chat(seed) if kind == "chat" else _short(seed)


# ==== Chat rows ====


class Pool(NamedTuple):
    """Text to glue messages from: paragraphs and sentences of a language, and blocks of code."""

    english: tuple[list[str], list[str]]
    chinese: tuple[list[str], list[str]]
    code: list[str]


class _Draw:
    """Numbers below some bound, drawn in blocks: one call of numpy a number would be most of the work."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._left = rng, list[float]()

    def below(self, bound: int) -> int:
        return int(self.part() * bound)

    def part(self) -> float:
        if not self._left:
            self._left = self._rng.random(65_536).tolist()
        return self._left.pop()


def _chat(seed: int) -> Iterator[list[Message]]:
    pool, rng = text_pool(), np.random.default_rng(seed)
    draw, systems = _Draw(rng), system_prompts()
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
            question = _glue(units, asked[turn], draw)
            if turn == pasted:
                question += "\n\n" + _glue(units, 8000 * 15 ** draw.part(), draw)
            answer = _glue(units, told[turn], draw)
            if turn == coded:
                answer += f"\n\n```python\n{pool.code[draw.below(len(pool.code))]}\n```"
            row += [("user", question), ("assistant", answer)]
        yield row


def _glue(units: tuple[list[str], list[str]], characters: float, draw: _Draw) -> str:
    """About so many characters of paragraphs and sentences drawn at random."""
    paragraphs, sentences = units
    parts: list[str] = []
    left = max(8, int(characters))
    while left > 0:
        long = left > 250 and draw.part() < 0.8
        unit = paragraphs[draw.below(len(paragraphs))] if long else sentences[draw.below(len(sentences))]
        if len(unit) > left:
            unit = unit[: unit.rfind(" ", left // 2, left) if " " in unit[left // 2 : left] else left]
        if parts:
            parts.append("\n\n" if long else " ")
        parts.append(unit)
        left -= len(unit) + 2
    return "".join(parts).strip() or "Hm."


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


@cache
def text_pool() -> Pool:
    """All text there is here, cut into paragraphs and sentences, each once, always in the same order."""
    paragraphs: dict[str, None] = {}
    for text in _texts():
        for paragraph in re.split(r"\n\s*\n", text):
            paragraph = paragraph.strip()  # noqa: PLW2901
            if 20 <= len(paragraph) <= 3000 and not CONTROL.search(paragraph):
                paragraphs[paragraph] = None
    chinese = [each for each in paragraphs if len(CHINESE.findall(each)) > 0.3 * len(each)]
    english = [each for each in paragraphs if not CHINESE.search(each)]
    code = list(_code())
    note(f"text pool: {sum(map(len, english)) / 1e6:.1f} M characters, Chinese "
         f"{sum(map(len, chinese)) / 1e6:.1f} M, code {sum(map(len, code)) / 1e6:.1f} M")  # fmt: skip
    return Pool((english, _sentences(english)), (chinese or english, _sentences(chinese or english)), code)


def _sentences(paragraphs: Iterable[str]) -> list[str]:
    cut = (each.strip() for paragraph in paragraphs for each in SENTENCE_END.split(paragraph))
    return list(dict.fromkeys(each for each in cut if 8 <= len(each) <= 400))


def _texts() -> Iterator[str]:
    """Every string of the bundled sample, of the sample's own texts, and of the shared corpus."""
    for path in sorted((ROOT / "examples" / "sample_text").glob("*.txt")):
        yield path.read_text(encoding="utf-8")
    yield from _strings(_records(SAMPLE / "conversations.jsonl"))
    for folder in SOURCES:
        for path in sorted((CONVERSATIONS / folder).rglob("*.json*")):
            yield from _strings(_records(path))


def _records(path: Path) -> list[Any]:
    """The values of a JSON or JSONL file; of a file that is neither (an LFS pointer), none."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return []


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.encode("utf-8", "ignore").decode("utf-8")  # half surrogate pairs fit into no Parquet file
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _code() -> Iterator[str]:
    """Functions and classes of Python's own library, of 200 to 3,000 characters."""
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(path for pattern in CODE for path in library.glob(pattern)):
        text = path.read_text(encoding="utf-8", errors="ignore")
        for block in re.split(r"\n(?=(?:def|class|async def) )", text):
            block = block.strip()  # noqa: PLW2901
            if 200 <= len(block) <= 3000 and not CONTROL.search(block):
                yield block


# ==== Short rows ====


def _short(seed: int) -> Iterator[list[Message]]:
    rng = np.random.default_rng(seed)
    draw, rows = _Draw(rng), _ner_rows() or _made_up_rows(rng)
    words = sorted({word for row in rows for word in row[0][1].split() if word.isalpha()})
    order = rng.permutation(len(rows)).tolist()
    yield from (rows[i] for i in order)
    while True:
        for i in order:
            (role, text), *rest = rows[i]
            yield [(role, _exchange(text, words, draw)), *rest]


def _exchange(text: str, words: list[str], draw: _Draw) -> str:
    """The text with some of its words exchanged for others."""
    parts = text.split(" ")
    for _ in range(3):
        parts[1 + draw.below(len(parts) - 1) if len(parts) > 1 else 0] = words[draw.below(len(words))]
    return " ".join(parts)


def _ner_rows() -> list[list[Message]]:
    """The conversations of four turns of UniversalNER that can be read here, in order."""
    roles, rows = {"human": "user", "gpt": "assistant"}, []
    for path in sorted((CONVERSATIONS / "universal-ner").rglob("*.json")):
        for record in (row for value in _records(path) if isinstance(value, list) for row in value):
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


def _write_jsonl(path: Path, rows: Iterable[list[Message]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            messages = [{"role": role, "content": content} for role, content in row]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, rows: Iterable[list[Message]]) -> None:
    schema = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        iterator = iter(rows)
        while chunk := list(islice(iterator, ROW_GROUP)):
            offsets = np.concatenate([[0], np.cumsum([len(row) for row in chunk])]).astype(np.int32)
            flat = [message for row in chunk for message in row]
            columns = [pa.array([message[i] for message in flat], pa.string()) for i in (0, 1)]
            structs = pa.StructArray.from_arrays(columns, names=["role", "content"])
            lists = pa.ListArray.from_arrays(pa.array(offsets), structs)
            writer.write_table(pa.Table.from_arrays([lists.cast(schema.field(0).type)], schema=schema))


if __name__ == "__main__":
    main()
