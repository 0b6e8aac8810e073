"""renderers' own data path, in its own interpreter: what it takes, as a line of JSON.

    RENDERERS_PYTHON benchmarks/contender_renderers.py rows.jsonl --tokenizer DIR --output out

`build_training_sample` with its renderer for Qwen3, row by row, and ids and labels into Parquet; it has
neither packing nor a renderer for Qwen2.5. Start-up is imports, tokenizer and two rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from common import spent

BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--family", choices=["qwen3"], default="qwen3")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True)

    begin = spent()
    import transformers  # noqa: PLC0415  what is imported is what is timed
    from renderers import create_renderer  # noqa: PLC0415
    from renderers.configs import Qwen3RendererConfig  # noqa: PLC0415

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
    renderer = create_renderer(tokenizer, Qwen3RendererConfig())
    prepare(renderer, islice(rows_of(options.data), 2), options.output / "few.parquet")
    startup = spent() - begin

    begin = spent()
    told = prepare(renderer, rows_of(options.data), options.output / "train.parquet")
    print(json.dumps({"startup": startup, "work": spent() - begin, **told}))


def prepare(renderer: Any, rows: Iterator[dict[str, Any]], path: Path) -> dict[str, int]:
    """Write ids and labels of rows; returns how many there are."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415
    from renderers.base import build_training_sample  # noqa: PLC0415

    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    tokens = samples = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while chunk := list(islice(rows, BATCH)):
            ids, labels = [], []
            for row in chunk:
                made = build_training_sample(renderer, row["messages"], tools=row.get("tools"))
                pairs = zip(made.token_ids, made.loss_mask, strict=True)
                ids.append(made.token_ids)
                labels.append([token if trained else -100 for token, trained in pairs])
            writer.write_table(pa.table({"input_ids": ids, "labels": labels}, schema=schema))
            tokens, samples = tokens + sum(map(len, ids)), samples + len(ids)
    return {"tokens": tokens, "samples": samples}


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL or Parquet file, tools in the form that renderers takes."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(BATCH):
            yield from batch.to_pylist()
        return
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


if __name__ == "__main__":
    main()
