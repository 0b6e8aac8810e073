"""The masks of a peer, by its own code in its own interpreter: tasks in, ids and trained tokens out.

    PEER_PYTHON benchmarks/contender_masks.py PEER tasks.jsonl results.jsonl --tokenizer DIR

A task is a chat template with rows: `{source, variables, ends, rows: [{messages, tools}]}`. A result is the
source that the peer renders with, and a mask for each row: `{source, rows: [{ids, trained} or {error}]}`.
`trained` has a 0 or a 1 for each id.

trl           what `SFTTrainer` does with `assistant_only_loss`: the training template that it keeps for
              exactly this template, and the mask of its generation tags
axolotl       the strategy `chat_template` with `roles_to_train: [assistant]`, `train_on_eos: turn`, and as
              `eot_tokens` the strings that end a turn of the template
llamafactory  its converter for `formatting: openai` and its processor for `stage: sft`, with its own
              template of the name `family` of the task
llamafactory-sharegpt  the same with `formatting: sharegpt`
unsloth       `train_on_responses_only` of unsloth-zoo on the text that the template prints, with the markers
              that it finds itself
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
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
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()
    from transformers import AutoTokenizer  # noqa: PLC0415  it takes seconds

    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    load = PEERS[options.peer]
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


def _llamafactory(tokenizer: Any, task: Row, formatting: str = "openai") -> tuple[MaskRow, str]:
    """How LLaMA-Factory masks rows, and the name of its template."""
    if find_spec("torchaudio") is None:  # imported even where there is no audio
        sys.modules["torchaudio"] = ModuleType("torchaudio")
        sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)
    from llamafactory.data.converter import get_dataset_converter  # noqa: PLC0415
    from llamafactory.data.parser import DatasetAttr  # noqa: PLC0415
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor  # noqa: PLC0415
    from llamafactory.data.template import get_template_and_fix_tokenizer  # noqa: PLC0415
    from llamafactory.hparams import DataArguments  # noqa: PLC0415

    arguments = DataArguments(template=task["family"], cutoff_len=1 << 20)
    attributes = DatasetAttr(
        "file", "rows", formatting, messages="messages", tools="tools", role_tag="role",
        content_tag="content", user_tag="user", assistant_tag="assistant", observation_tag="tool",
    )  # fmt: skip
    convert = get_dataset_converter(formatting, attributes, arguments)
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    processor = SupervisedDatasetProcessor(template, tokenizer, None, arguments)

    def mask_row(row: Row) -> Row:
        row["tools"] = json.dumps(row["tools"]) if "tools" in row else ""
        done = processor.preprocess_dataset({key: [value] for key, value in convert(row).items()})
        (ids,), (labels,) = done["input_ids"], done["labels"]
        return {"ids": list(ids), "trained": [int(each != -100) for each in labels]}

    return mask_row, task["family"]


def _llamafactory_sharegpt(tokenizer: Any, task: Row) -> tuple[MaskRow, str]:
    return _llamafactory(tokenizer, task, "sharegpt")


def _unsloth(tokenizer: Any, task: Row) -> tuple[MaskRow, str]:
    """How unsloth masks rows, and the template that it renders them with."""
    os.environ["UNSLOTH_IS_PRESENT"] = "1"  # what `import unsloth` sets; it needs no model here
    from unsloth_zoo.dataset_utils import train_on_responses_only  # noqa: PLC0415

    mask = train_on_responses_only(None, tokenizer=tokenizer, return_function=True)

    def mask_row(row: Row) -> Row:
        text = tokenizer.apply_chat_template(row["messages"], tools=row.get("tools"), tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        (labels,) = mask({"input_ids": [ids]})["labels"]
        return {"ids": ids, "trained": [int(each != -100) for each in labels]}

    return mask_row, task["source"]


PEERS: dict[str, Callable[[Any, Row], tuple[MaskRow, str]]] = {
    "trl": _trl,
    "axolotl": _axolotl,
    "llamafactory": _llamafactory,
    "llamafactory-sharegpt": _llamafactory_sharegpt,
    "unsloth": _unsloth,
}


if __name__ == "__main__":
    main()
