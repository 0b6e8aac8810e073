"""TRL's packing of given lengths, in TRL's own interpreter: bins and time, as a line of JSON.

    TRL_PYTHON benchmarks/contender_packing.py lengths.npy --max-length 8192 [--shipped]

Without `--shipped` all lengths are packed together by `_pack_bfd`, the function that `pack_dataset` maps over
batches; with it by `pack_dataset` itself, which packs a thousand rows at a time. Tokens are one byte each
here, so that what is timed is the plan more than the copying.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from common import spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lengths", type=Path)
    parser.add_argument("--max-length", type=int, required=True)
    parser.add_argument("--shipped", action="store_true")
    options = parser.parse_args()

    import datasets  # noqa: PLC0415  after the arguments: --help need not wait for it
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    from trl.data_utils import _pack_bfd, pack_dataset  # noqa: PLC0415

    datasets.disable_progress_bars()
    lengths = np.load(options.lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = pa.array(np.zeros(int(offsets[-1]), dtype=np.int8))
    small = offsets[-1] < 2**31
    lists = pa.ListArray if small else pa.LargeListArray
    column = lists.from_arrays(pa.array(offsets.astype(np.int32 if small else np.int64)), tokens)
    rows = pa.table({"input_ids": column})
    begin = spent()
    if options.shipped:
        bins = len(pack_dataset(datasets.Dataset(rows), options.max_length, "bfd"))
    else:
        bins = _pack_bfd(rows, options.max_length).num_rows
    print(json.dumps({"work": spent() - begin, "bins": bins}))


if __name__ == "__main__":
    main()
