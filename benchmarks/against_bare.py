"""premask, whole, against encoding alone: what everything around the tokenizer costs.

    python benchmarks/against_bare.py [--kinds chat,short] [--chat-rows 20000] [--rounds 5]

The same rows go through premask (one worker, all proofs, Parquet to packed Parquet, without start-up), and
as rendered text through `tokenizers.encode_batch_fast` and `gigatoken.encode_batch`, each with one thread
and nothing around it. The ids of both engines must be the same. Medians of alternating runs; how many
times less CPU than `tokenizers` is a ratio each round, then the median.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from common import (
    HERE,
    Finished,
    alternate,
    fresh,
    largest,
    measure,
    median,
    megabytes,
    parser,
    ratio,
    save,
    table,
)
from data import ensure
from kinds import AGAINST, KINDS, add_rows, rows_of, wanted
from premask_runs import recipe, run_warm

ENGINES = [name for name in ("tokenizers", "gigatoken") if find_spec(name)]
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--kinds", default=",".join(AGAINST))
    add_rows(arguments)
    options = arguments.parse_args()
    save(options.json, {kind: compare(kind, options) for kind in wanted(options.kinds)})


def compare(kind: str, options: argparse.Namespace) -> dict[str, list[Finished]]:
    """Measure one kind of rows, print its table, and return all runs."""
    rows = rows_of(kind, options)
    data = ensure(kind, rows, suffix=KINDS[kind].format, folder=options.work / "data")
    output = options.work / "outputs" / f"{kind}-bare"
    values = recipe(kind, data, output, options)
    run_warm(values, 1)
    texts = write_texts(data, output / "tokenizer", options.work / "outputs" / f"{kind}-texts.parquet")
    contenders = {"premask": partial(run_warm, values, 1)}
    for engine in ENGINES:
        contenders[engine] = partial(run_bare, engine, texts, options)
    runs = alternate(contenders, options.rounds, say=kind)
    if len({run.report["ids"] for engine in ENGINES for run in runs[engine]}) != 1:
        sys.exit("tokenizers and gigatoken gave different ids")
    cpu = {name: [run.report["work"][1] for run in each] for name, each in runs.items()}
    print(
        f"\n**{kind} rows**: {rows:,} rows, {KINDS[kind].max_length} tokens a pack, {options.rounds} rounds\n"
    )
    fastest = cpu[ENGINES[-1]]
    header = ["contender", "tokens", "k tokens / CPU-s", "CPU s", "less CPU than tokenizers",
              f"CPU to {ENGINES[-1]}'s", "peak MB"]  # fmt: skip
    lines = [
        [
            name, each[0].report["tokens"], each[0].report["tokens"] / median(cpu[name]) / 1000,
            median(cpu[name]), ratio(cpu[name], cpu["tokenizers"]), ratio(fastest, cpu[name]),
            megabytes(largest(each)),
        ]
        for name, each in runs.items()
    ]  # fmt: skip
    print(table(header, lines))
    print("\nThe ids of both engines are the same. premask's tokens are those left after cutting long rows.")
    return runs


def write_texts(data: Path, tokenizer: Path, path: Path) -> Path:
    """Render all rows with the template that premask used, by plain transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoTokenizer  # noqa: PLC0415

    loaded: Any = AutoTokenizer.from_pretrained(tokenizer)
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(fresh(path), schema, compression="zstd") as writer:
        for rows in _batches(data):
            texts = [
                loaded.apply_chat_template(row["messages"], tools=row.get("tools"), tokenize=False)
                for row in rows
            ]
            writer.write_table(pa.table({"text": texts}, schema=schema))
    return path


def _batches(data: Path) -> Iterator[list[dict[str, Any]]]:
    """Rows, a thousand at a time."""
    if data.suffix == ".parquet":
        for batch in pq.ParquetFile(data).iter_batches(1000):
            yield batch.to_pylist()
    else:
        with data.open(encoding="utf-8") as file:
            while lines := list(islice(file, 1000)):
                yield [json.loads(line) for line in lines]


def run_bare(engine: str, texts: Path, options: argparse.Namespace) -> Finished:
    """Encode the texts by an engine alone."""
    script = HERE / "contender_bare.py"
    return measure([sys.executable, script, engine, texts, "--tokenizer", options.tokenizer], env=ONE_THREAD)


if __name__ == "__main__":
    main()
