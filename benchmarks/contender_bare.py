"""Bare encoding with one thread: what it takes and which ids come out, as a line of JSON.

    python benchmarks/contender_bare.py tokenizers texts.parquet --tokenizer DIR
    python benchmarks/contender_bare.py gigatoken texts.parquet --tokenizer DIR

Only the calls of the engine are timed, a thousand texts each: not reading, not hashing the ids.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Spent, spent

BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engine", choices=("tokenizers", "gigatoken"))
    parser.add_argument("texts", type=Path, help="Parquet with a column `text`")
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()

    begin = spent()
    import numpy as np  # noqa: PLC0415  what is imported is what is timed
    import pyarrow.parquet as pq  # noqa: PLC0415

    load = _tokenizers if options.engine == "tokenizers" else _gigatoken
    encode, flat = load(options.tokenizer / "tokenizer.json")
    flat(encode(["Warm up."]))
    startup = spent() - begin

    hashed, wall, cpu, count = hashlib.sha256(), 0.0, 0.0, 0
    for batch in pq.ParquetFile(options.texts).iter_batches(BATCH, columns=["text"]):
        texts = batch.column(0).to_pylist()
        begin = spent()
        encoded = encode(texts)
        taken = spent() - begin
        wall, cpu = wall + taken.wall, cpu + taken.cpu
        ids, lengths = flat(encoded)
        count += len(ids)
        hashed.update(np.asarray(ids, dtype=np.int32).tobytes() + np.asarray(lengths, np.int64).tobytes())
    work = Spent(wall, cpu)
    print(json.dumps({"startup": startup, "work": work, "tokens": count, "ids": hashed.hexdigest()}))


Engine = tuple[Callable[[list[str]], Any], Callable[[Any], tuple[Any, Any]]]
"""Texts to the engine's own result, and that to ids and lengths."""


def _tokenizers(path: Path) -> Engine:
    from tokenizers import Tokenizer  # noqa: PLC0415

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()

    def flat(encodings: Any) -> tuple[Any, Any]:
        ids = [each.ids for each in encodings]
        return [token for each in ids for token in each], [len(each) for each in ids]

    return lambda texts: tokenizer.encode_batch_fast(texts, add_special_tokens=False), flat


def _gigatoken(path: Path) -> Engine:
    import awkward  # noqa: PLC0415
    import gigatoken  # noqa: PLC0415

    tokenizer = gigatoken.Tokenizer.from_json(path.read_bytes())

    def flat(encoded: Any) -> tuple[Any, Any]:
        return awkward.to_numpy(awkward.flatten(encoded)), awkward.to_numpy(awkward.num(encoded))

    return lambda texts: tokenizer.encode_batch(texts, parallel=False), flat


if __name__ == "__main__":
    main()
