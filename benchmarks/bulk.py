"""Inputs of any size, made at some hundred megabytes a second: a block of made-up rows over and over.

    python benchmarks/bulk.py chat 1000

The block is that of `data.py` (`BLOCK_ROWS`). Each row begins its first question with a word that no other
row has, so that no two conversations are equal and that what the encoder remembers of words it has seen
grows as it does with real text; all else comes again with every block, which flatters caches and compression.
Written are JSONL files of at most `FILE_BYTES`; the same kind, size and seed give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from common import WORK, shown
from data import SEED, ensure
from kinds import KINDS

BLOCK_ROWS = {"chat": 20_000, "short": 100_000, "reasoning": 14_000, "tools": 9_000}
"""Rows of a block: 106 MB of chat, 45 MB of short rows, 31 MB with reasoning or tools. Blocks of agents have
the number of rows that is measured, 8 to 10 MB."""
FILE_BYTES = 1_000_000_000
_QUESTION = b'"role": "user", "content": "'
_SYLLABLES = [first + second for first in b"bdfgklmnprstvz".decode() for second in "aeiou"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("megabytes", type=int)
    parser.add_argument("--folder", type=Path, default=WORK / "bulk")
    options = parser.parse_args()
    for path in write_bulk(options.kind, options.megabytes * 1_000_000, options.folder):
        print(f"{shown(path)}: {path.stat().st_size / 1e6:,.0f} MB")


def write_bulk(
    kind: str, size: int, folder: Path, *, seed: int = SEED, data: Path = WORK / "data"
) -> list[Path]:
    """Write so many bytes of rows, or one row more, into files of a new or empty folder; return the files.

    `data` is where the block is kept, or made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    block = ensure(
        kind, BLOCK_ROWS.get(kind, KINDS[kind].rows), seed=seed, suffix="jsonl", folder=data
    ).read_bytes()
    rows = numbered(block.splitlines(keepends=True))
    paths: list[Path] = []
    while size > 0:
        paths.append(folder / f"{kind}-{len(paths):05d}.jsonl")
        with paths[-1].open("wb") as file:
            wanted = min(size, FILE_BYTES)
            while wanted > 0:
                written = file.write(next(rows))
                wanted, size = wanted - written, size - written
    return paths


def numbered(lines: list[bytes]) -> Iterator[bytes]:
    """Yield the lines over and over, without end, each with a word of its own.

    >>> rows = numbered([b'{"messages": [{"role": "user", "content": "Hi"}]}'])
    >>> next(rows)
    b'{"messages": [{"role": "user", "content": "ba Hi"}]}'
    >>> next(rows)
    b'{"messages": [{"role": "user", "content": "be Hi"}]}'
    """
    cut = [line.partition(_QUESTION) for line in lines]
    if not all(question for _, question, _ in cut):
        raise ValueError(f"a row has no {_QUESTION.decode()}")
    for number in count():
        before, question, after = cut[number % len(cut)]
        yield b"%s%s%s %s" % (before, question, word(number).encode(), after)


def word(number: int) -> str:
    """A word for a number, another one for each.

    >>> word(0), word(69), word(70), word(1_000_000)
    ('ba', 'zu', 'beba', 'bivudasa')
    """
    number, at = divmod(number, len(_SYLLABLES))
    return (word(number) if number else "") + _SYLLABLES[at]


if __name__ == "__main__":
    main()
