"""The gate: whether the code still writes the bytes that it wrote before.

    python tests/gate.py --list tests/gate.txt         # before a change: run all recipes, write the list
    python tests/gate.py --compare tests/gate.txt      # after it: exit code 1 and a line for each difference
    python tests/gate.py --module pipeline             # the package under another name
    python tests/gate.py --only trees --keep out/gate  # one recipe; its output stays there to be looked at

Each recipe below is run by the real command, `python -m premask run`, in a scratch folder that holds copies of
its inputs, so that no path of this machine gets into an output. The list has one sha256 a line. Compared are:

    packed/, unpacked/, lineage/    each file
    rejects                         source, row and reason of each rejected row, and the rows of each reason
    counts, inputs, shards          what manifest.json says of the whole run, of each source and of each shard

All other files (card, pictures, report, tokenizer, the ledger with its wordings, manifest.json) are listed as
reviewed: a difference there is told, and changes no exit code. Recipes that use ../shared are skipped where it
is not there. Bytes depend on the installed libraries too, so both lists must come from the same environment.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

Lines = dict[str, str]
"""Name of what is listed -> its sha256."""


# ==== Rows that stand in no file of the corpus ====

EXTRA_TURNS = [
    ("system", "Answer in <b>one</b> line &amp; no more."),
    ("assistant", "Welcome!<br>Ask away."),
    ("user", "Is it sÃ³lo one?"),
    ("user", ""),
    ("user", "Or <i>two</i>?"),
    ("assistant", "Two.<!-- checked -->"),
    ("assistant", "```<b>kept</b>```"),
    ("user", "Thanks, &lt;3"),
]
WEATHER = {"name": "weather", "description": "Weather of a city", "input_schema": {"type": "object"}}


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """A row of OpenAI messages in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {**more, "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}


def turns(*pairs: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {**more, "messages": [{"role": role, "content": text} for role, text in pairs]}


def answer(text: str, **flags: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **flags}


MADE: dict[str, str | list[Any]] = {
    "anthropic.jsonl": [
        {
            "system": [{"type": "text", "text": "Be brief."}],
            "tools": [WEATHER],
            "messages": [
                {"role": "user", "content": f"How warm is city {i}?"},
                answer(
                    [
                        {"type": "thinking", "thinking": "I have to look."},
                        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": i}},
                    ]
                ),
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "21 C"}]},
                answer([{"type": "text", "text": f"It is {i} degrees."}]),
            ],
        }
        for i in range(12)
    ],
    "statements.jsonl": [
        {"id": str(i), "data": ["Hi", "Hello", f"{i} + 1?", str(i + 1)][: 2 + i % 3]} for i in range(9)
    ],
    "chatterbot.json": [
        {
            "categories": ["AI"],
            "conversations": [["What is AI?", "A field."], ["Are you?", "No", "Sure?", "Yes"]],
        }
    ],
    "said.jsonl": [
        {"meta": {"n": i}, "talk": {"said": [{"who": "A", "what": f"Q {i}"}, {"who": "B", "what": f"R {i}"}]}}
        for i in range(20)
    ]
    + [{"talk": {"said": [{"who": "C", "what": "Who?"}]}}, {"talk": 7}],
    "faq.csv": 'question,reply,about\n"Open, when?","At ""nine""",Shop\nWhere?,Here,\n,No question,Shop\nWhy?,,\n',
    "faq.tsv": "question\tanswer\nWho?\tMe\nHow?\tLike so, é\n",
    "transcripts.jsonl": [
        {"text": f"\n\nHuman: Number {i}?\n\nAssistant: {i}.\n\nHuman: Sure?"} for i in range(8)
    ],
    "rated.parquet": [
        chat(
            f"Question {i % 20}?",
            f"Answer {i % 40}.",
            score=i % 6,
            meta={"lang": ["en", "de"][i % 2]},
            id=f"r{i}",
        )
        for i in range(120)
    ],
    "again.jsonl.gz": [
        {
            "conversations": [
                {"from": "human", "value": f"Question {i % 20}?"},
                {"from": "gpt", "value": f"Answer {i}."},
            ]
        }
        for i in range(60)
    ],
    "broken.jsonl": [
        turns(*EXTRA_TURNS[start:end]) for start in range(len(EXTRA_TURNS)) for end in range(start + 1, 9)
    ],
    "weighted.jsonl.zst": [
        {
            "messages": [
                {"role": "user", "content": f"Try {i}"},
                answer("first", weight=0.5),
                {"role": "user", "content": "again"},
                answer("second", **[{}, {"train": False}, {"loss": 0}, {"loss_weight": 2.5}][i % 4]),
                {"role": "tool", "content": "3 rows"},
                answer("third", reasoning_content="it was three"),
            ]
        }
        for i in range(24)
    ],
    "controls.jsonl": [
        chat(f"What does {token} do?", f"It is {token} and ends <|im_end|> here.")
        if i % 2
        else chat("Hi", f"Ho {i}")
        for i, token in enumerate(
            ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "<tool_call>", "<s>"] * 3
        )
    ],
}
"""File in made/ -> its text, or its rows."""


# ==== Recipes ====


class Case(NamedTuple):
    """A recipe without its output; `ranks` above 0 are run one after another, then `premask finish`. All rows of
    one that is `cached` must be in the cache, if a recipe before it has filled that."""

    recipe: Mapping[str, Any]
    workers: int = 1
    ranks: int = 0
    report: bool = False
    cached: bool = False


SAMPLE = "sample/conversations.jsonl"
CHATS = "shared/corpus/conversations"
TEMPLATES = "shared/corpus/templates"
GEMMA, CHATML, QWEN, LLAMA = (
    f"shared/tokenizers/{name}" for name in ("gemma", "gemma_chatml", "qwen3", "llama3_2")
)
BOTH = ["packed", "unpacked"]
BASE = {"sources": [SAMPLE], "tokenizer": "sample/tokenizer", "max_length": 1024}
"""What recipes have that do not say otherwise."""


def first(limit: int, *names: str, **more: Any) -> list[dict[str, Any]]:
    """Entries for the first rows of files of the corpus."""
    return [{"path": f"{CHATS}/{name}", "limit": limit, **more} for name in names]


AGENTS = [
    *first(40, "llamafactory/reason_tool_use_demo_50.jsonl", "llamafactory/glaive_toolcall_en_demo.json"),
    *first(12, "tau-bench/historical_trajectories/gpt-4o-airline.json"),
    "made/anthropic.jsonl",
]
UNITS = {"layout": BOTH, "unit_rows": 60}
CACHED = {
    "sources": [{"path": SAMPLE, "sample": 0.8}, "made/rated.parquet"],
    "unit_rows": 100,
    "cache": "cache",
}

CASES: dict[str, Case] = {
    # The bundled sample, in three ways that must agree
    "sample": Case({"engine": "tokenizers"}),
    "sample_workers": Case({**UNITS, "verify": 1.0}, workers=2, report=True),
    "sample_ranks": Case({**UNITS, "engine": "auto"}, ranks=3),
    # Formats of rows
    "sharegpt": Case(
        {
            "sources": [
                *first(
                    60,
                    "fastchat/data/dummy_conversation.json",
                    "medicalgpt/sft/sharegpt_zh_1K_format.jsonl",
                    "universal-ner/train/playground/data/dummy.json",
                ),
                f"{CHATS}/axolotl-fixtures/conversation.json",
                f"{CHATS}/axolotl-fixtures/conversation.missingturns.json",
                f"{CHATS}/torchtune/chat_tiny.json",
                f"{CHATS}/ms-swift/conversations.jsonl",
            ],
            "tokenizer": CHATML,
            "max_length": 300,
            "too_long": "split",
            "layout": BOTH,
        }
    ),
    "openai": Case(
        {
            "sources": [
                *AGENTS,
                *first(
                    60,
                    "llamafactory/v1_sft_demo.jsonl",
                    "llamafactory/v1_multimodal_demo.jsonl",
                    "tinker-cookbook/conversations.jsonl",
                    "open-instruct/history/sft_sample.jsonl",
                    "gorilla/data/BFCL_v4_simple_javascript.json",
                ),
                f"{CHATS}/functionary/test_case*.json",
                f"{CHATS}/toolbench/data_example/answer/G1_answer/*.json",
            ],
            "tokenizer": QWEN,
            "max_length": 2048,
            "too_long": "truncate",
            "layout": BOTH,
            "unit_rows": 150,
        },
        workers=2,
        report=True,
    ),
    "questions": Case(
        {
            "sources": [
                *first(
                    60,
                    "alpaca-cleaned-ext/gsm_8k/gsm_8k_train.json",
                    "llamafactory/alpaca_zh_demo.json",
                    "litgpt/dolly.json",
                    "litgpt/longform_val.json",
                    "medicalgpt/grpo/sample.jsonl",
                    "open-instruct/human_eval/data/eval_instances_tulu_1.jsonl",
                    "torchtune/alpaca_tiny.json",
                ),
                f"{CHATS}/ms-swift/alpaca*",
                f"{CHATS}/ms-swift/swift_single.csv",
                f"{CHATS}/ms-swift/swift_multi.json",
                f"{CHATS}/ms-swift/multi_modal_2.jsonl",
                "made/faq.tsv",
            ],
            "tokenizer": GEMMA,
            "chat_template": "alpaca",
            "append_eos": True,
            "pad_rows": "to_length",
            "extra_columns": ["assistant_masks", "completion_mask"],
            "layout": BOTH,
        }
    ),
    "preferences": Case(
        {
            "sources": [
                *first(
                    50,
                    "llamafactory/dpo_en_demo.json",
                    "llamafactory/kto_en_demo.json",
                    "llamafactory/v1_dpo_demo.jsonl",
                    "medicalgpt/reward/toolcall_dpo_zh_demo.jsonl",
                    "open-instruct/history/preference_sample.jsonl",
                    "torchtune/stack_exchange_paired_tiny.json",
                ),
                f"{CHATS}/torchtune/hh_rlhf_tiny.json",
            ],
            "tokenizer": LLAMA,
            "date": "2024-07-26",
            "max_length": 600,
        }
    ),
    "trees": Case(
        {
            "sources": [
                *first(40, "open-assistant/history/en_100_message.jsonl.gz"),
                *first(20, "sgd/train/dialogues_001.json", "gorilla/data/apibench/huggingface_eval.json"),
                *first(20, "tau-bench/few_shot_data/MockAirlineDomainEnv-few_shot.jsonl"),
                f"{CHATS}/smile/data/100*.json",
                f"{CHATS}/ms-swift/sharegpt.jsonl",
                "made/statements.jsonl",
                "made/chatterbot.json",
                "made/transcripts.jsonl",
            ],
            "paths": "all",
            "tokenizer": GEMMA,
            "chat_template": f"{TEMPLATES}/chujiezheng/gemma-it.jinja",
            "layout": BOTH,
        }
    ),
    "fields": Case(
        {
            "sources": [
                {
                    "path": "made/said.jsonl",
                    "fields": {
                        "messages": "talk.said",
                        "role": "who",
                        "content": "what",
                        "roles": {"A": "user", "B": "assistant"},
                        "id": "meta.n",
                    },
                },
                {
                    "path": "made/faq.csv",
                    "fields": {"user": "question", "assistant": "reply", "system": "about"},
                },
                *first(
                    80,
                    "open-assistant/history/cocktail_recipes.parquet",
                    columns=["title", "ingredients"],
                    fields={"user": "title", "assistant": "ingredients[0]"},
                ),
                {"path": "made/rated.parquet", "dialect": "openai", "columns": ["messages"], "limit": 30},
            ],
            "tokenizer": LLAMA,
            "chat_template": "vicuna",
        }
    ),
    # Which rows, how often, in which split and order
    "mixing": Case(
        {
            "sources": [
                {"path": SAMPLE, "repeat": 2.5, "limit": 200},
                {"path": "made/rated.parquet", "where": "score > 1 and meta.lang = 'en'", "repeat": 0.5},
                {"path": "made/again.jsonl.gz", "sample": 0.7},
            ],
            "splits": {"validation": 0.1, "test": 0.05},
            "duplicates": "drop",
            "shuffle": True,
            "seed": 7,
            "layout": BOTH,
            "unit_rows": 90,
            "pack_window": 20_000,
        },
        workers=2,
    ),
    "by_id": Case(
        {"sources": ["made/rated.parquet", SAMPLE], "splits": {"dev": 0.3}, "split_by": "id", "unit_rows": 80}
    ),
    "cache_written": Case({**CACHED, "layout": BOTH}, workers=2),
    "cache_read": Case(
        {
            **CACHED,
            "sources": [
                {"path": SAMPLE, "sample": 0.8, "repeat": 2},
                {"path": "made/rated.parquet", "repeat": 0.5},
            ],
            "splits": {"validation": 0.2},
            "duplicates": "drop",
        },
        cached=True,
    ),
    "by_conversation": Case(
        {
            "sources": ["made/rated.parquet", "made/again.jsonl.gz"],
            "splits": {"dev": 0.3},
            "split_by": "conversation",
            "shuffle": True,
            "duplicates": "drop",
            "max_length": 200,
            "unit_rows": 50,
        }
    ),
    # What is mended, trained, refused
    "repair": Case(
        {
            "sources": ["made/broken.jsonl", {"path": SAMPLE, "limit": 40}],
            "repair": [
                "merge_consecutive",
                "drop_leading_assistant",
                "drop_trailing_user",
                "strip_empty_turns",
                "fix_mojibake",
                "strip_html",
            ],
            "layout": BOTH,
        }
    ),
    "weights": Case(
        {
            "sources": ["made/weighted.jsonl.zst"],
            "loss_weights": True,
            "train": {"roles": ["assistant", "tool"], "end_of_turn": False},
            "tokenizer": QWEN,
            "layout": BOTH,
        }
    ),
    "controls_as_text": Case(
        {"sources": ["made/controls.jsonl", SAMPLE], "tokenizer": QWEN, "max_length": 512}
    ),
    "controls_parsed": Case({"sources": ["made/controls.jsonl", SAMPLE], "control_tokens": "parse"}),
    "controls_rejected": Case(
        {"sources": ["made/controls.jsonl", SAMPLE], "control_tokens": "reject", "engine": "gigatoken"}
    ),
    # Templates that show history in another way, print tools and reasoning, mark what is generated
    "history_split": Case(
        {
            "sources": AGENTS,
            "tokenizer": QWEN,
            "chat_template": f"{TEMPLATES}/trl/qwen3_5_think.jinja",
            "max_length": 4096,
        }
    ),
    "history_last": Case(
        {"sources": AGENTS, "tokenizer": QWEN, "history": "last", "max_length": 4096, "layout": ["unpacked"]}
    ),
    "history_as_rendered": Case(
        {
            "sources": AGENTS,
            "tokenizer": QWEN,
            "chat_template": f"{TEMPLATES}/llamacpp/deepseek-ai-DeepSeek-V3.1.jinja",
            "history": "as-rendered",
            "max_length": 4096,
        }
    ),
    "tools": Case(
        {
            "sources": AGENTS,
            "tokenizer": LLAMA,
            "chat_template": f"{TEMPLATES}/vllm/tool_chat_template_llama3.1_json.jinja",
            "train": {"turns": "last", "tool_calls": False},
            "max_length": 4096,
        }
    ),
    "reasoning": Case(
        {
            "sources": [*first(40, "llamafactory/reason_tool_use_demo_50.jsonl"), "made/weighted.jsonl.zst"],
            "tokenizer": QWEN,
            "template_kwargs": {"enable_thinking": "auto"},
            "train": {"reasoning": False},
            "end_of_turn": ["<|im_end|>"],
            "max_length": 4096,
        }
    ),
    "generation_tags": Case(
        {
            "sources": [*AGENTS, SAMPLE],
            "tokenizer": QWEN,
            "chat_template": f"{TEMPLATES}/trl/qwen3_training.jinja",
            "mask": "generation-tags",
        }
    ),
}


# ==== Inputs ====


def strings_of(value: Any) -> Iterator[str]:
    """All strings of a recipe, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from strings_of(each)


def shared_files(recipe: Mapping[str, Any]) -> list[Path] | None:
    """The files of ../shared that a recipe uses; None where some of them are not there."""
    found: list[Path] = []
    for pattern in (text for text in strings_of(recipe) if text.startswith("shared/")):
        paths = [path for each in SHARED.parent.glob(pattern) for path in (each, *each.rglob("*"))]
        if not paths:
            return None
        found += sorted(path for path in paths if path.is_file())
    return found


def copy_inputs(files: Sequence[Path], scratch: Path) -> None:
    for path in files:
        target = scratch / path.relative_to(SHARED.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)  # not its mode: much of ../shared may not be written


def write_made(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in MADE.items():
        path = folder / name
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(made), path, row_group_size=25)
            continue
        rows = made if isinstance(made, list) else []
        lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        text = made if isinstance(made, str) else json.dumps(rows) if path.suffix == ".json" else lines
        path.write_bytes(compressed(text.encode(), path.suffix))


def compressed(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return pa.compress(data, "zstd", asbytes=True) if suffix == ".zst" else data


def sample_of(module: str) -> Path:
    """The sample that comes with the package."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        sys.exit(f"gate: there is no package {module}; set PYTHONPATH to the folder that holds it")
    print(f"gate: {module} is that of {Path(spec.origin).parent}", file=sys.stderr)
    return Path(spec.origin).parent / "sample"


# ==== Runs ====


def environment(scratch: Path) -> dict[str, str]:
    """This process's own, with absolute paths of packages, and without a network."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    more = {"PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths if path)}
    return {**os.environ, **more, "HF_HUB_OFFLINE": "1", "PREMASK_CACHE": str(scratch / "fetched")}


def command(module: str, scratch: Path, *words: str) -> None:
    line = [sys.executable, "-m", module, *words]
    done = subprocess.run(
        line, cwd=scratch, env=environment(scratch), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"gate: {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def run_case(name: str, module: str, scratch: Path) -> Path:
    """Run a recipe and return its output."""
    case, recipe, cached = CASES[name], f"{name}.yaml", [*scratch.glob("cache/*/*")]
    keys = {**BASE, **case.recipe, "output": f"out/{name}"}
    (scratch / recipe).write_text(yaml.safe_dump(keys, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for rank in range(case.ranks):
        command(module, scratch, "run", recipe, "--rank", str(rank), "--world", str(case.ranks))
    if case.ranks:
        command(module, scratch, "finish", recipe)
    else:
        command(module, scratch, "run", recipe, "--workers", str(case.workers))
    if case.cached and cached and len([*scratch.glob("cache/*/*")]) != len(cached):
        sys.exit(f"gate: {name} has tokenized rows again that were in the cache")
    if case.report:
        command(module, scratch, "report", f"out/{name}")
    return scratch / "out" / name


# ==== What came out ====

COUNTS = [
    "rows",
    "kept",
    "dropped",
    "duplicates",
    "rejected",
    "rejected_by_reason",
    "left_out",
    "repaired_by_policy",
    "samples",
    "samples_by_proof",
    "packs",
    "fill",
    "tokens",
    "trained_tokens",
    "tokens_by_role",
    "trained_by_role",
    "straddling_tokens",
    "control_tokens_in_content",
]
SPLIT = ["samples", "packs", "fill", "tokens", "trained_tokens"]
LENGTHS = ["histogram", "min", "max", "mean", "median", "p10", "p90", "p99"]
INPUT = ["source", "bytes", "sha256", "rows", "kept", "dropped", "duplicates", "rejected", "left_out"]
SHARD = ["path", "bytes", "raw_bytes", "sha256", "rows", "tokens"]
LEDGER = ["path", "rows", "tokens"]
"""Keys of the manifest that say what came out. Others may come and go."""

NEW_NAMES = {"arguments": "tools"}
"""Keys of counts that were renamed."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    return digest(json.dumps(value, sort_keys=True, ensure_ascii=False).encode())


def renamed(value: Any) -> Any:
    """Counts under the names that they have today."""
    if isinstance(value, list):
        return [renamed(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {NEW_NAMES.get(key, key): renamed(each) for key, each in value.items()}


def some(data: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: data.get(key) for key in keys}


def manifest_lines(manifest: dict[str, Any]) -> Lines:
    counts = manifest["counts"]
    whole = some(counts, COUNTS) | {
        "lengths": some(counts["lengths"], LENGTHS),
        "splits": {name: some(split, SPLIT) for name, split in counts["splits"].items()},
    }
    shards = [
        some(each, LEDGER if each["path"].startswith("rejects/") else SHARD) for each in manifest["shards"]
    ]
    return {
        "counts": digest_json(renamed(whole)),
        "inputs": digest_json([some(each, INPUT) for each in manifest["inputs"]]),
        "shards": digest_json(shards),
    }


def rejects_digest(out: Path) -> str:
    rows: list[list[Any]] = []
    for path in sorted(out.glob("rejects/*.parquet")):
        columns = pq.read_table(path, columns=["source", "row", "reason"])
        rows += [list(row.values()) for row in columns.to_pylist()]
    return digest_json({"rows": sorted(rows), "reasons": Counter(reason for *_, reason in rows)})


def lines_of(out: Path) -> tuple[Lines, Lines]:
    """What is compared of an output, and what is reviewed."""
    files = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    hashes = {name: digest(path.read_bytes()) for name, path in files.items()}
    compared = {name for name in files if name.startswith(("packed/", "unpacked/", "lineage/"))}
    manifest = json.loads(files["manifest.json"].read_text(encoding="utf-8"))
    lines = {name: hashes[name] for name in sorted(compared)}
    lines |= {"rejects": rejects_digest(out), **manifest_lines(manifest)}
    return lines, {name: each for name, each in hashes.items() if name not in compared}


def run_all(names: Sequence[str], module: str, scratch: Path) -> tuple[set[str], Lines, Lines]:
    """Run recipes; return those that were not skipped, and what they wrote."""
    shutil.copytree(sample_of(module), scratch / "sample", dirs_exist_ok=True)
    write_made(scratch / "made")
    ran, compared, reviewed = set[str](), Lines(), Lines()
    for name in names:
        files = shared_files(CASES[name].recipe)
        if files is None:
            print(f"gate: {name} skipped: it needs files of ../shared that are not there", file=sys.stderr)
            continue
        copy_inputs(files, scratch)
        for all_lines, lines in zip(
            (compared, reviewed), lines_of(run_case(name, module, scratch)), strict=True
        ):
            all_lines.update({f"{name}/{each}": value for each, value in lines.items()})
        ran.add(name)
    return ran, compared, reviewed


# ==== Lists ====

HEADINGS = ("# compared", "# reviewed")


def to_text(compared: Lines, reviewed: Lines) -> str:
    parts = zip(HEADINGS, (compared, reviewed), strict=True)
    return "".join(
        f"{heading}\n" + "".join(f"{lines[name]}  {name}\n" for name in sorted(lines))
        for heading, lines in parts
    )


def from_text(text: str) -> tuple[Lines, Lines]:
    parts, at = (Lines(), Lines()), 0
    for line in text.splitlines():
        if line in HEADINGS:
            at = HEADINGS.index(line)
        elif line:
            value, _, name = line.partition("  ")
            parts[at][name] = value
    return parts


def differences(before: Lines, after: Lines, ran: set[str]) -> list[str]:
    """A sentence for each line that is not the same, of the recipes that ran."""
    said = []
    for name in sorted(name for name in before.keys() | after.keys() if name.partition("/")[0] in ran):
        if before.get(name) != after.get(name):
            what = "is new" if name not in before else "differs" if name in after else "is gone"
            said.append(f"{name} {what}")
    return said


def compare(path: Path, ran: set[str], compared: Lines, reviewed: Lines) -> int:
    """Print how the lines differ from those of a list; return the exit code."""
    before, before_reviewed = from_text(path.read_text(encoding="utf-8"))
    wrong = differences(before, compared, ran)
    for line in wrong:
        print(line)
    for line in differences(before_reviewed, reviewed, ran):
        print(f"to review: {line}")
    print(f"gate: {len(ran)} recipes, {len(compared)} lines compared, {len(wrong)} differ", file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Show that the code still writes the same bytes.")
    parser.add_argument("--module", default="premask", help="the package that is run")
    parser.add_argument("--only", choices=CASES, metavar="NAME", help="one recipe alone")
    parser.add_argument("--list", type=Path, metavar="FILE", help="write the list there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="compare with the list there")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this new folder, and leave it there"
    )
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        parser.error(f"{options.keep} is there already")
    names = [options.only] if options.only else list(CASES)
    with tempfile.TemporaryDirectory(prefix="premask-gate-") as temporary:
        scratch = options.keep.absolute() if options.keep else Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        ran, compared, reviewed = run_all(names, options.module, scratch)
    if options.list:
        options.list.write_text(to_text(compared, reviewed), encoding="utf-8")
    if options.compare:
        return compare(options.compare, ran, compared, reviewed)
    if not options.list:
        print(to_text(compared, reviewed), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
