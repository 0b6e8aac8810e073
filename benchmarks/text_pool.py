"""The text that made-up rows are glued from, always the same: paragraphs, sentences, and blocks of code.

Text comes from the bundled sample, from Python's own library (code) and, where present, from the shared
corpus (`../shared/corpus`). Strings that are control tokens somewhere are left out, because peers read
them as control tokens.
"""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import ROOT, SAMPLE, SHARED, note

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


class Pool(NamedTuple):
    """Text to glue messages from: paragraphs and sentences of a language, and blocks of code."""

    english: tuple[list[str], list[str]]
    chinese: tuple[list[str], list[str]]
    code: list[str]


class Draw:
    """Numbers below some bound, drawn in blocks: one call of numpy a number would be most of the work."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._left = rng, list[float]()

    def below(self, bound: int) -> int:
        return int(self.part() * bound)

    def part(self) -> float:
        if not self._left:
            self._left = self._rng.random(65_536).tolist()
        return self._left.pop()


def glue(units: tuple[list[str], list[str]], characters: float, draw: Draw) -> str:
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
    yield from _strings(records(SAMPLE / "conversations.jsonl"))
    for folder in SOURCES:
        for path in sorted((CONVERSATIONS / folder).rglob("*.json*")):
            yield from _strings(records(path))


def records(path: Path) -> list[Any]:
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
