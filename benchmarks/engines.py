"""Which families of tokenizers the fast engine is proved for, and how fast both engines are.

    python benchmarks/engines.py [--real FOLDER] [--rows 2000] [--rounds 3]

For each family, a small tokenizer of ours with the parts of the real one (`engine_families.py`); with
`--real` also each tokenizer.json in a folder of that folder. The engine check decides about each. Then the
same texts, the messages of chat rows, are encoded by `tokenizers` alone, and as a run encodes them: by the
fast engine, and by `tokenizers` where a text is odd. The ids must be the same. CPU seconds with one thread,
caches warm, medians of alternating rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pyarrow.parquet as pq
from common import cpu_of, note, parser, save, table
from data import ensure
from engine_families import FAMILIES
from premask.core.recipe import EngineChoice
from premask.tokens.engine_check import prove_engine
from premask.tokens.engines import EngineProof, TwoEngines
from tokenizers import Tokenizer

HEADER = ["tokenizer", "tokens", "engine", "check, CPU s", "characters excluded", "strings excluded",
          "texts by tokenizers", "M tokens / CPU-s", "of tokenizers", "times"]  # fmt: skip


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--rows", type=int, default=2000)
    arguments.add_argument("--real", type=Path, help="a folder of folders with a tokenizer.json each")
    options = arguments.parse_args()
    texts = contents(ensure("chat", options.rows, folder=options.work / "data"))
    size = sum(map(len, texts))
    kinds: dict[str, list[tuple[str, Callable[[], Tokenizer]]]] = {"small": list(FAMILIES.items())}
    if options.real:
        kinds["real"] = list(real(options.real))
    figures: dict[str, Any] = {}
    for kind, tokenizers in kinds.items():
        found = [measured(name, make(), texts, options) for name, make in tokenizers]
        print(
            f"\n**{kind} vocabularies**: {len(texts):,} texts, {size:,} characters, {options.rounds} rounds"
        )
        print()
        print(table(HEADER, [line for line, _ in found]))
        reasons = [f"- {line[0]}: {reason}" for line, reason in found if reason]
        print("\n".join(["\nWhere `tokenizers` is used:\n", *reasons] if reasons else []))
        figures[kind] = [[*line, reason] for line, reason in found]
    save(options.json, figures)


def contents(path: Path) -> list[str]:
    """Return the contents of all messages."""
    rows = pq.read_table(path, columns=["messages"]).column("messages").to_pylist()
    return [message["content"] for row in rows for message in row]


def real(folder: Path) -> Iterator[tuple[str, Callable[[], Tokenizer]]]:
    """Yield the names of real tokenizers, and how to load them."""
    for path in sorted(folder.glob("*/tokenizer.json")):
        yield path.parent.name, lambda path=path: Tokenizer.from_file(str(path))


def measured(
    name: str, backend: Tokenizer, texts: list[str], options: argparse.Namespace
) -> tuple[list[object], str]:
    """Return the line of a tokenizer in the table, and why the fast engine is not used."""
    backend.no_truncation()
    backend.no_padding()
    begin = time.process_time()
    proof = prove_engine(backend, EngineChoice.auto)
    check = time.process_time() - begin
    engines = TwoEngines(backend, proof)
    size, slow = compared(engines, texts, name)
    tokens = size / 1e6
    batches = [texts[at : at + 1000] for at in range(0, len(texts), 1000)]
    work: dict[str, Callable[[], object]] = {
        "tokenizers": lambda: [engines.reference(batch) for batch in batches],
        "both": lambda: [engines.encode(batch) for batch in batches],
    }
    took = cpu_of(work if proof.fast else {"tokenizers": work["tokenizers"]}, options.rounds)
    note(f"{name}: {proof.engine} {took}")
    own = tokens / took["tokenizers"]
    fast = [tokens / took["both"], own, took["tokenizers"] / took["both"]] if proof.fast else ["-", own, "-"]
    line = [
        name,
        backend.get_vocab_size(),
        proof.engine,
        check,
        known(proof),
        len(proof.strings),
        slow,
        *fast,
    ]
    return line, proof.reason


def known(proof: EngineProof) -> int:
    """Return how many characters that Python's Unicode knows are excluded."""
    import unicodedata  # noqa: PLC0415

    codes = (code for first, last in proof.excluded for code in range(first, last + 1))
    return sum(unicodedata.category(chr(code)) not in ("Cn", "Cs") for code in codes)


def compared(engines: TwoEngines, texts: list[str], name: str) -> tuple[int, int]:
    """Return the number of tokens, and how many texts `tokenizers` encodes. Exits if any ids differ."""
    ids, offsets, slow = engines.encode(texts)
    expected, places = engines.reference(texts)
    if not (np.array_equal(ids, expected) and np.array_equal(offsets, places)):
        sys.exit(f"{name}: the engines gave different ids")
    return len(ids), slow


if __name__ == "__main__":
    main()
