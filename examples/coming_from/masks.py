"""What other tools train of a row, and what premask trains of it: the blocks of docs/from-*.md.

    python examples/coming_from/masks.py fill --tokenizer TOKENIZER
    python examples/coming_from/masks.py record --tokenizer TOKENIZER trl=PYTHON axolotl=PYTHON ...

`fill` writes the block behind each mark `<!-- shown: TOOL ROW -->`, the table behind each `<!-- counts: TOOL -->`, and the
pictures that the pages show (`picture.py`). The rows are those of `rows.jsonl`. premask masks them anew; the masks of the others are in `masks.json`, where
`record` writes them: each tool masks by its own code, in its own interpreter (`benchmarks/contender_masks.py`).

All use the tokenizer of Qwen3, and its template as TRL 1.16 ships it (`qwen3.jinja`).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import premask
from premask.tokens.tokenizer import load_tokenizer
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))

from picture import Text, draw

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGES = ("from-assistant-only-loss", "from-axolotl", "from-llama-factory", "from-unsloth")
RECORD = HERE / "masks.json"
DISTRIBUTIONS = {
    "trl": "trl",
    "axolotl": "axolotl",
    "llamafactory": "llamafactory",
    "llamafactory-sharegpt": "llamafactory",
    "unsloth": "unsloth_zoo",
}
"""Name of a tool for `contender_masks.py` -> its distribution."""
LABELS = {
    "trl": "TRL",
    "axolotl": "axolotl",
    "llamafactory": "LLaMA-Factory, openai,",
    "llamafactory-sharegpt": "LLaMA-Factory, sharegpt,",
    "unsloth": "unsloth",
}

Row = dict[str, Any]


def rows() -> dict[str, Row]:
    """The rows by their id."""
    lines = (HERE / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    return {row.pop("id"): row for row in map(json.loads, lines)}


def template() -> str:
    """The template of Qwen3, as TRL ships it."""
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        raise SystemExit("TRL, which has the template, is not installed: pip install 'trl==1.16.0'")
    return (Path(spec.origin).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")


# ==== Masks ====


def record(tokenizer: str, pythons: dict[str, str]) -> None:
    """Have the tools mask the rows, and keep what they give beside what is kept of others."""
    kept = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    for tool, python in pythons.items():
        found = dict(zip(rows(), masks_of(tool, python, tokenizer), strict=True))
        kept[tool] = {"version": version_in(python, DISTRIBUTIONS[tool]), "rows": found}
    kept["template"] = digest(template())
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(kept.items())]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def masks_of(tool: str, python: str, tokenizer: str) -> list[Row]:
    """The masks of a tool by its own code, in its own interpreter."""
    task = {
        "source": template(), "variables": {}, "ends": ["<|im_end|>"], "family": "qwen3",
        "rows": list(rows().values()),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tasks, results = Path(folder, "tasks.jsonl"), Path(folder, "results.jsonl")
        tasks.write_text(json.dumps(task) + "\n", encoding="utf-8")
        script = ROOT / "benchmarks" / "contender_masks.py"
        subprocess.run([python, script, tool, tasks, results, "--tokenizer", tokenizer], check=True)
        return json.loads(results.read_text(encoding="utf-8"))["rows"]


def version_in(python: str, name: str) -> str:
    """The version of a distribution in another interpreter."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def digest(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


class Masks:
    """The masks of all tools for all rows, to be shown."""

    def __init__(self, tokenizer: str) -> None:
        self.tokenizer = Tokenizer.from_str(load_tokenizer(tokenizer).json)
        self.kept = json.loads(RECORD.read_text(encoding="utf-8"))
        if self.kept["template"] != digest(template()):
            raise SystemExit(
                "the masks were recorded with another template: record them again, with TRL 1.16"
            )
        masker = premask.Masker(tokenizer, chat_template=template())
        self.own = {name: masker(row) for name, row in rows().items()}
        tools = [tool for tool in DISTRIBUTIONS if tool in self.kept]
        keys = [(tool, name) for tool in tools for name in rows()]
        cards = premask.show([self.of(*key)[0] for key in keys], tokenizer, n=len(keys)).cards
        self.cards = dict(zip(keys, cards, strict=True))  # all at once: the tokenizer is loaded once

    def of(self, tool: str, name: str) -> list[Any]:
        """The samples that a tool makes of a row; those of premask in the order of the turns."""
        if tool == "premask":
            return sorted(self.own[name], key=lambda sample: len(sample.input_ids))
        done = self.kept[tool]["rows"][name]
        labels = [id_ if trained else -100 for id_, trained in zip(done["ids"], done["trained"], strict=True)]
        return [{"input_ids": done["ids"], "labels": labels}]

    def shown(self, tool: str, name: str) -> str:
        """A row as `premask.show` prints it; a long system message is shortened to `...`."""
        own = premask.show(self.of("premask", name))
        if tool != "premask":
            own = replace(own, cards=(replace(self.cards[tool, name], title="sample 0"),))
        text = "\n".join(line.rstrip() for line in str(own).splitlines()).replace("\n\n\n", "\n\n")
        return shortened(text)

    def picture(self, tool: str, name: str) -> str:
        """The masks of a tool and of premask for a row, side by side."""
        tools = {self.label(tool): tool, "premask": "premask"}
        columns = [(label, [self.texts(each) for each in self.of(by, name)]) for label, by in tools.items()]
        return draw(columns)

    def texts(self, sample: Any) -> list[Text]:
        """A sample as texts that are trained or not; a long system message is shortened."""
        ids, labels = _ids_and_labels(sample)
        runs = groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != -100)
        found = [([id_ for id_, _ in run], trained) for trained, run in runs]
        return [
            (shortened(self.tokenizer.decode(run, skip_special_tokens=False)), trained)
            for run, trained in found
        ]

    def label(self, tool: str) -> str:
        """A tool with its version."""
        return f"{LABELS[tool]} {self.kept[tool]['version']}"

    def counts(self, tool: str) -> str:
        """How many tokens a tool and premask make of each row, and train."""
        lines = [f"| row | {self.label(tool)} | premask {version('premask')} |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_counted(self.of(tool, name))} | {_counted(self.of('premask', name))} |"
            for name in rows()
        ]
        return "\n".join(lines)


def shortened(text: str) -> str:
    """A text with `...` for a long system message."""
    return re.sub(r"(<\|im_start\|>system\n)(?:(?!<\|im_end\|>)[\s\S]){100,}", r"\1...", text)


def _ids_and_labels(sample: Any) -> tuple[list[int], list[int]]:
    return (
        (sample["input_ids"], sample["labels"])
        if isinstance(sample, dict)
        else (sample.input_ids, sample.labels)
    )


def _counted(samples: list[Any]) -> str:
    pairs = [_ids_and_labels(each) for each in samples]
    tokens = sum(len(ids) for ids, _ in pairs)
    trained = sum(label != -100 for _, labels in pairs for label in labels)
    return f"{len(pairs)} sample{'s' * (len(pairs) > 1)}, {tokens} tokens, {trained} trained"


# ==== Pages ====

MARK = re.compile(r"(?m)^<!-- shown: (\S+) (\S+) -->\n\n```text\n(?:.*\n)*?```$")
COUNTS = re.compile(r"(?m)^<!-- counts: (\S+) -->\n\n(?:\|.*(?:\n|$))*")


def filled(page: str, masks: Masks) -> str:
    """A page with its blocks and tables written anew."""
    page = MARK.sub(
        lambda found: (
            f"<!-- shown: {found[1]} {found[2]} -->\n\n```text\n{masks.shown(found[1], found[2])}\n```"
        ),
        page,
    )
    return COUNTS.sub(lambda found: f"<!-- counts: {found[1]} -->\n\n{masks.counts(found[1])}\n", page)


PICTURE = re.compile(r"\(pictures/from-([\w-]+)-(\w+)\.svg\)")


def pictures(page: str, masks: Masks) -> dict[str, str]:
    """The pictures that a page shows: name of the file -> content."""
    return {f"from-{tool}-{name}.svg": masks.picture(tool, name) for tool, name in PICTURE.findall(page)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fill", "record"])
    parser.add_argument("pythons", nargs="*", metavar="TOOL=PYTHON", help="interpreters that have the tools")
    parser.add_argument("--tokenizer", required=True, help="that of Qwen3: a directory or a Hub id")
    options = parser.parse_intermixed_args()
    if options.what == "record":
        record(options.tokenizer, dict(each.split("=", 1) for each in options.pythons))
        return
    masks = Masks(options.tokenizer)
    for name in PAGES:
        path = ROOT / "docs" / f"{name}.md"
        page = path.read_text(encoding="utf-8")
        path.write_text(filled(page, masks), encoding="utf-8")
        for file, content in pictures(page, masks).items():
            (ROOT / "docs" / "pictures" / file).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
