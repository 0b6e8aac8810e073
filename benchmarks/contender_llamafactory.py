"""LLaMA-Factory's own data path, in its own interpreter: what it takes, as a line of JSON.

    LLAMAFACTORY_PYTHON benchmarks/contender_llamafactory.py rows.jsonl --tokenizer DIR --family qwen3 \
        --max-length 8192 --output out

`get_dataset` with `tokenized_path`, packing and neat packing, one process, the format `openai` and its own
templates `qwen3` and `qwen` (Qwen2.5's). Nothing is taken from a cache. Start-up is imports, tokenizer and
two rows. What it drops (`reasoning_content`, text beside calls) it does not encode: tokens are those it
wrote.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from common import spent

TEMPLATES = {"qwen3": "qwen3", "qwen2_5": "qwen"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--family", choices=TEMPLATES, default="qwen3")
    parser.add_argument("--max-length", type=int, default=8192)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True)
    if find_spec("torchaudio") is None:  # imported even where there is no audio
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
    with tempfile.TemporaryDirectory(dir=options.output) as cache:
        os.environ["HF_DATASETS_CACHE"] = f"{cache}/datasets"
        begin = spent()
        ready(_few(options.data, Path(cache)), Path(cache) / "few", options)()
        prepare = ready(options.data, options.output / "tokenized", options)
        startup = spent() - begin
        begin = spent()
        made = prepare()
        work = spent() - begin
    lengths = [len(ids) for ids in made["input_ids"]]
    padded = sum(sum(token == 0 for token in mask) for mask in made["attention_mask"])
    print(json.dumps({
        "startup": startup, "work": work, "tokens": sum(lengths) - padded, "packs": len(lengths),
    }))  # fmt: skip


def ready(data: Path, output: Path, options: argparse.Namespace) -> Callable[[], Any]:
    """Return what has LLaMA-Factory read and encode a file, everything else being loaded."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: PLC0415
    from llamafactory.hparams import get_train_args  # noqa: PLC0415
    from llamafactory.model import load_tokenizer  # noqa: PLC0415

    logging.disable(logging.WARNING)
    folder = output.with_name(f"{output.name}-dataset")
    folder.mkdir()
    columns = {"messages": "messages"}
    if '"tools":' in _first_line(data):
        columns["tools"] = "tools"
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "observation_tag": "tool", "function_tag": "function", "system_tag": "system"}  # fmt: skip
    shutil.copyfile(data, folder / data.name)
    entry = {"file_name": data.name, "formatting": "openai", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": entry}), encoding="utf-8")
    arguments = {
        "model_name_or_path": str(options.tokenizer), "stage": "sft", "do_train": True,
        "finetuning_type": "lora", "dataset": "rows", "dataset_dir": str(folder),
        "template": TEMPLATES[options.family], "cutoff_len": options.max_length,
        "packing": True, "neat_packing": True, "tokenized_path": str(output),
        "output_dir": str(folder / "model"), "overwrite_cache": True, "report_to": "none", "use_cpu": True,
    }  # fmt: skip
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    return lambda: get_dataset(
        template, model_args, data_args, training_args, stage="sft", **module
    )["train_dataset"]  # fmt: skip


def _first_line(path: Path) -> str:
    if path.suffix == ".parquet":
        return ""
    with path.open(encoding="utf-8") as file:
        return file.readline()


def _few(path: Path, folder: Path) -> Path:
    """The first two rows."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    few = folder / f"few{path.suffix}"
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            few.write_bytes(b"".join(islice(file, 2)))
    else:
        pq.write_table(pq.ParquetFile(path).read_row_group(0).slice(0, 2), few)
    return few


if __name__ == "__main__":
    main()
