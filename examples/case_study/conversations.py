"""The data of the case study: documents to pre-train on, and conversations to fine-tune on, for three sets.

    for row in conversations("long-answers", 1000, seed=0): ...

| set | a conversation | what is trained |
|---|---|---|
| `entities` | an invented passage, then questions for names of a type; most answers are `[]` | about a tenth |
| `universal-ner` | the same of real texts, from the evaluation files of Universal-NER | about a tenth |
| `long-answers` | names to write about, and a passage with these names, four times as long | about four fifths |

The first and the last are made here, from the sentences and names of `../sample_text/passages.txt`: the same
seed gives the same rows. `universal-ner` is read from a folder beside the checkout and is left out where that
is missing. Documents are passages alone; no text of a document is one of a conversation.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from build_sample import ABSENT_TYPES, TYPE_NAMES, Passage, fill, find, read_blocks, shuffled_names  # noqa: E402

Row = dict[str, Any]
"""One conversation, as ShareGPT has it: `{"conversations": [{"from": ..., "value": ...}, ...]}`."""

UNIVERSAL_NER = (
    HERE.parents[2] / "shared" / "corpus" / "conversations" / "universal-ner" / "eval" / "test_data"
)
SETS = ("entities", "universal-ner", "long-answers")

MORE_ABSENT = ("protein", "chemical element", "currency", "virus", "spacecraft", "court case", "algorithm")
DOCUMENT_SHARE = 0.35
"""Share of the texts of Universal-NER that are documents; the others are asked about."""


def available() -> tuple[str, ...]:
    """The sets that can be made here."""
    return tuple(name for name in SETS if name != "universal-ner" or UNIVERSAL_NER.is_dir())


def conversations(name: str, count: int, *, seed: int) -> list[Row]:
    """At most `count` different conversations of a set, in random order."""
    rng = random.Random(f"{seed} conversations {name}")
    if name == "universal-ner":
        rows = [row for row in _universal_ner() if not _is_document(_text(row))]
        return rng.sample(rows, min(count, len(rows)))
    make = {"entities": _entities, "long-answers": _long_answer}[name]
    found: dict[str, Row] = {}  # by text, so that no two rows have the same one
    while len(found) < count:
        row = make(rng)
        found.setdefault(_text(row), row)
    return list(found.values())


def documents(name: str, count: int, *, seed: int) -> list[Row]:
    """Passages without questions: rows in which the assistant alone speaks. Those of `universal-ner` come
    first and are followed by invented ones."""
    rng = random.Random(f"{seed} documents {name}")
    texts: dict[str, None] = {}
    if name == "universal-ner":
        texts = {_text(row): None for row in _universal_ner() if _is_document(_text(row))}
    while len(texts) < count:
        texts.setdefault(_passage(rng, rng.randint(3, 9)).text)
    return [{"conversations": [{"from": "gpt", "value": text}]} for text in texts]


# ==== Made here ====


def _passage(rng: random.Random, sentences: int) -> Passage:
    """A passage of one genre: its first sentence and some of the others, with names drawn for this passage."""
    blocks = _BLOCKS
    genre = rng.choice([block for block in blocks if block.kind == "genre"])
    first, *rest = genre.text.split("\n")
    kept = sorted(rng.sample(range(len(rest)), min(sentences - 1, len(rest))))
    text, found = fill(" ".join([first, *(rest[i] for i in kept)]), shuffled_names(blocks, rng))
    return Passage(text, genre.arguments, tuple(found))


_BLOCKS = read_blocks("passages")


def _entities(rng: random.Random) -> Row:
    passage = _passage(rng, rng.randint(4, 8))
    present = {kind for kind, _ in passage.entities}
    turns = [(f"Text: {passage.text}", "I've read this text.")]
    absent = [kind for kind in passage.types if kind not in present] + [*ABSENT_TYPES, *MORE_ABSENT]
    asked = rng.sample(absent, rng.randint(1, 3))
    asked += rng.sample([kind for kind in passage.types if kind in present], rng.randint(0, 1))
    rng.shuffle(asked)
    turns += [
        (f"What describes {TYPE_NAMES.get(kind, kind)} in the text?", find(passage, kind)) for kind in asked
    ]
    return _row(turns)


def _long_answer(rng: random.Random) -> Row:
    """Names by type, then a passage in which they and no others occur."""
    passage = _passage(rng, rng.randint(7, 12))
    names: dict[str, dict[str, None]] = {}
    for kind, name in passage.entities:
        names.setdefault(TYPE_NAMES.get(kind, kind), {})[name] = None
    listed = "; ".join(f"{kind}: {', '.join(each)}" for kind, each in names.items())
    return _row([(f"{rng.choice(_REQUESTS)} {listed}.", passage.text)])


_REQUESTS = (
    "Write a report.",
    "Please write about",
    "Make a text of my notes.",
    "For our newspaper:",
)


def _row(turns: list[tuple[str, str]]) -> Row:
    messages = []
    for question, answer in turns:
        messages += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": messages}


# ==== Universal-NER ====


def _universal_ner() -> Iterator[Row]:
    for path in sorted(UNIVERSAL_NER.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            yield {"conversations": row["conversations"]}


def _text(row: Row) -> str:
    """What a conversation is about: its first message, without what announces a text."""
    return str(row["conversations"][0]["value"]).removeprefix("Text: ")


def _is_document(text: str) -> bool:
    """Whether a text is a document, by its hash: so no text is both, whatever the seed."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:4], "big") < DOCUMENT_SHARE * 2**32
