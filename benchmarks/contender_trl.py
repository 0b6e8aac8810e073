"""TRL's own data path, in TRL's own interpreter: what it takes, as a line of JSON.

    TRL_PYTHON benchmarks/contender_trl.py rows.jsonl --tokenizer DIR --max-length 8192 --output out.parquet
    TRL_PYTHON benchmarks/contender_trl.py --write-template qwen3_training template.jinja

The first form calls `SFTTrainer._prepare_dataset` as `SFTTrainer(...)` calls it for a training set with
`assistant_only_loss`, `packing` and the strategy `bfd`, on a trainer that has no model: attributes are set
as `__init__` sets them. From Parquet or JSONL to Parquet; nothing is taken from a cache. Start-up is imports,
tokenizer, template, and a preparation of two rows. The second form writes a template that TRL ships.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from common import spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--chat-template", type=Path, help="with generation tags")
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument("--num-proc", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--write-template", nargs=2, metavar=("NAME", "PATH"))
    options = parser.parse_args()
    if options.write_template:
        _write_template(*options.write_template)
    else:
        with tempfile.TemporaryDirectory(dir=options.output.parent) as cache:
            print(json.dumps(_prepare(options, cache)))


def _write_template(name: str, path: str) -> None:
    import trl  # noqa: PLC0415

    folder = Path(trl.__file__).parent / "chat_templates"
    shutil.copyfile(folder / f"{name}.jinja", path)
    print(json.dumps({"trl": trl.__version__}))


def _prepare(options: argparse.Namespace, cache: str) -> dict[str, Any]:
    begin = spent()
    import datasets  # noqa: PLC0415  what is imported is what is timed
    import transformers  # noqa: PLC0415
    import trl  # noqa: PLC0415
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: PLC0415

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.tokenizer)
    args = trl.SFTConfig(
        output_dir=cache, use_cpu=True, bf16=False, report_to="none", max_length=options.max_length,
        packing=True, packing_strategy="bfd", assistant_only_loss=True,
        dataset_num_proc=options.num_proc if options.num_proc > 1 else None,
    )  # fmt: skip
    trainer: Any = SFTTrainer.__new__(SFTTrainer)
    trainer._tokenizer, trainer.completion_only_loss = tokenizer, False  # noqa: SLF001
    trainer.chat_template = options.chat_template.read_text(encoding="utf-8")

    def prepare(rows: Any) -> Any:
        return trainer._prepare_dataset(rows, tokenizer, args, args.packing, None, "train")  # noqa: SLF001

    prepare(_few(options.data, cache))
    startup = spent() - begin

    begin = spent()
    rows = _read(options.data, f"{cache}/rows")
    packed = prepare(rows)
    packed.to_parquet(str(options.output))
    work = spent() - begin
    lengths = [sum(each) for each in packed["seq_lengths"]]
    return {
        "startup": startup, "work": work, "tokens": sum(lengths), "packs": len(packed),
        "samples": sum(len(each) for each in packed["seq_lengths"]),
        "fill": sum(lengths) / (len(lengths) * options.max_length),
        "versions": {each.__name__: each.__version__ for each in (trl, transformers, datasets)},
    }  # fmt: skip


def _read(path: Path, cache: str) -> Any:
    from datasets import Dataset  # noqa: PLC0415

    read = Dataset.from_json if path.suffix == ".jsonl" else Dataset.from_parquet
    return read(str(path), cache_dir=cache)


def _few(path: Path, cache: str) -> Any:
    """The first two rows."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    few = Path(cache) / f"few{path.suffix}"
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            few.write_bytes(b"".join(islice(file, 2)))
    else:
        pq.write_table(pq.ParquetFile(path).read_row_group(0).slice(0, 2), few)
    return _read(few, f"{cache}/few")


if __name__ == "__main__":
    main()
