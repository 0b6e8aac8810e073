"""The masks of a peer, by its own code in its own interpreter: tasks in, ids and trained tokens out.

    PEER_PYTHON benchmarks/contender_masks.py trl|axolotl tasks.jsonl results.jsonl --tokenizer DIR

A task is a chat template with rows: `{source, variables, ends, rows: [{messages, tools}]}`. A result is the
source that the peer renders with, and a mask for each row: `{source, rows: [{ids, trained} or {error}]}`.
`trained` has a 0 or a 1 for each id.

trl      what `SFTTrainer` does with `assistant_only_loss`: the training template that it keeps for exactly
         this template, and the mask of its generation tags
axolotl  the strategy `chat_template` with `roles_to_train: [assistant]`, `train_on_eos: turn`, and as
         `eot_tokens` the strings that end a turn of the template
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from inference import frozen_date

Row = dict[str, Any]
MaskRow = Callable[[Row], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=["trl", "axolotl"])
    parser.add_argument("tasks", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()
    from transformers import AutoTokenizer  # noqa: PLC0415  it takes seconds

    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    load = {"trl": _trl, "axolotl": _axolotl}[options.peer]
    tasks = map(json.loads, options.tasks.read_text(encoding="utf-8").splitlines())
    with options.results.open("w", encoding="utf-8") as out, frozen_date():
        for task in tasks:
            out.write(json.dumps(_results(load, tokenizer, task)) + "\n")


def _results(load: Callable[..., tuple[MaskRow, str]], tokenizer: Any, task: Row) -> Row:
    tokenizer.chat_template = task["source"]
    for name, value in task["variables"].items():
        setattr(tokenizer, name, value)
    try:
        mask_row, source = load(tokenizer, task)
    except Exception as error:  # noqa: BLE001  whatever it raises, the peer refuses the template
        return {"source": None, "rows": [{"error": _line(error)}] * len(task["rows"])}
    return {"source": source, "rows": list(_masks(mask_row, task["rows"]))}


def _masks(mask_row: MaskRow, rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            yield mask_row(copy.deepcopy(row))
        except Exception as error:  # noqa: BLE001  a peer refuses a row, or crashes
            yield {"error": _line(error)}


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _trl(tokenizer: Any, task: Row) -> tuple[MaskRow, str]:
    """How TRL masks rows, and the template that it renders them with."""
    from trl.chat_template_utils import (  # noqa: PLC0415  only this peer's environment has it
        get_training_chat_template,
        has_generation_markers,
    )
    from trl.data_utils import _tokenize  # noqa: PLC0415

    own: str = task["source"]
    source = None if has_generation_markers(own) else get_training_chat_template(tokenizer)

    def mask_row(row: Row) -> Row:
        done = _tokenize(
            tokenizer,
            row["messages"],
            return_assistant_tokens_mask=True,
            chat_template=source,
            tools=row.get("tools"),
        )
        if 1 not in done["assistant_masks"]:
            raise ValueError("no token of the row is trained")
        return {"ids": list(done["input_ids"]), "trained": list(done["assistant_masks"])}

    return mask_row, source or own


def _axolotl(tokenizer: Any, task: Row) -> tuple[MaskRow, str]:
    """How axolotl masks rows, and the template that it renders them with."""
    from axolotl.prompt_strategies import chat_template  # noqa: PLC0415  only this peer's environment has it
    from axolotl.utils.dict import DictDefault  # noqa: PLC0415

    logging.disable(logging.CRITICAL)
    ends = [end for end in task["ends"] if len(tokenizer.encode(end, add_special_tokens=False)) == 1]
    values = {"sequence_len": 1 << 20, "train_on_inputs": False, "eot_tokens": ends or None}
    dataset = {
        "chat_template": "tokenizer_default",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    strategy = chat_template.load(tokenizer, DictDefault(values), dataset)

    def mask_row(row: Row) -> Row:
        done = strategy.tokenize_prompt({key: value for key, value in row.items() if value is not None})
        return {"ids": list(done["input_ids"]), "trained": [int(each != -100) for each in done["labels"]]}

    return mask_row, task["source"]


if __name__ == "__main__":
    main()
