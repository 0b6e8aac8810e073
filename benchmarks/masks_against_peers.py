"""The masks of TRL and of axolotl beside those of premask, on the same rows, judged by the definition.

    python benchmarks/masks_against_peers.py --trl-python VENV/bin/python --axolotl-python VENV/bin/python
        [--templates GLOB] [--kind NAME] [--list PEER]

Rows are conversations of tests/support/conversation_kinds.py, each with every chat template:

    TRL's templates   the unmodified templates for which TRL has a training template. TRL trains with the
                      latter. It is judged by the prompts of the unmodified one, which servers have, and
                      again by those of the training template, for those who serve that.
    the corpus        the unmodified templates of the shared folder. TRL has no answer for most of them.

Each peer runs by its own code in its own interpreter (`contender_masks.py`). `mask_faults.py` is the judge.
Rows that the template itself rejects are left out. One tokenizer, to which the control tokens of all templates
are added, encodes for all.

For axolotl: python -m venv VENV; VENV/bin/pip install --no-deps --ignore-requires-python axolotl==0.21.0;
VENV/bin/pip install transformers==5.20.1 datasets==5.0.1 addict colorama pydantic==2.13.5 jinja2 torch
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from common import HERE, WORK, default_tokenizer, note, table
from conversation_kinds import KINDS, Chat
from inference import Inference, as_parts, frozen_date, takes_parts
from mask_faults import FAULTS, Endings, Masked, Reader, count, faults
from premask.core.errors import RowError
from premask.core.recipe import Recipe
from premask.core.records import Row
from premask.labeller import Labeller
from premask.tokens.engines import EngineProof, TokenizersEngine
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from template_corpus import CORPUS, compiles, control_tokens_of, own_ends, source_of, variables_of

KINDS_LEFT_OUT = ("identical turns", "control tokens in content")
"""Kinds whose texts cannot be told apart by words."""


def _is_plain(chat: Chat) -> bool:
    """Whether a row is its messages, and has no marks, which each tool wants in another form."""
    marked = chat.marked or chat.unmarked or any("train" in message for message in chat.messages)
    return chat.row is None and not marked


ROWS: Mapping[str, Chat] = {
    kind: chat for kind, chat in KINDS.items() if _is_plain(chat) and kind not in KINDS_LEFT_OUT
}


class Template(NamedTuple):
    """A chat template, and the kinds of rows that it renders."""

    file: str
    kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        return Path(self.file).name if Path(self.file).is_absolute() else self.file


class Answer(NamedTuple):
    """What a tool made of a row: samples, or why there are none."""

    samples: tuple[Masked, ...]
    refusal: str = ""


Answers = dict[tuple[str, str], Answer]
"""By template and kind."""


def main() -> None:
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    kinds = [kind for kind in ROWS if not options.kind or kind in options.kind]
    with frozen_date():
        own = templates([file for file in trl_originals(options.trl_python) if options.fits(file)], kinds)
        corpus = templates([file for file in CORPUS if options.fits(file) and _is_unmodified(file)], kinds)
        folder = options.work / "mask-tokenizer"
        make_tokenizer([each.file for each in (*own, *corpus)], folder)
        bench = Bench(folder, options.work)
        print(against_trl(bench, own, options))
        print(against_axolotl(bench, corpus, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl-python", type=Path, required=True, help="interpreter that has trl")
    parser.add_argument("--axolotl-python", type=Path, required=True, help="interpreter that has axolotl")
    parser.add_argument("--templates", default="*", metavar="GLOB", help="templates by file name")
    parser.add_argument("--kind", action="append", default=[], metavar="NAME", help="a kind; may be repeated")
    parser.add_argument("--work", type=Path, default=WORK, help="where tasks and results are written")
    parser.add_argument("--cases", type=Path, metavar="FILE", help="write every row and what is wrong with it")
    options = parser.parse_args()
    options.fits = lambda file: fnmatch(file, options.templates)
    return options


# ==== Templates and rows ====


def trl_originals(python: Path) -> list[str]:
    """The unmodified templates for which TRL has a training template."""
    code = "import pathlib, trl; print(pathlib.Path(trl.__file__).parent / 'chat_templates')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found = Path(done.stdout.splitlines()[-1]).glob("*_training.jinja")
    return sorted(str(path.with_name(path.name.replace("_training", ""))) for path in found)


def _is_unmodified(file: str) -> bool:
    return compiles(file) and not file.endswith("_training.jinja")


def templates(files: Sequence[str], kinds: Sequence[str]) -> list[Template]:
    """Templates with the kinds that they render, each source once."""
    once = {source_of(file): file for file in reversed(files)}
    return [
        Template(file, tuple(kind for kind in kinds if inference_of(file, kind).full() is not None))
        for file in files
        if once[source_of(file)] == file
    ]


def inference_of(file: str, kind: str, source: str | None = None) -> Inference:
    """The renders of a kind with a template, or with another source that has its variables."""
    return Inference(source or source_of(file), variables_of(file), ROWS[kind])


def make_tokenizer(files: Sequence[str], folder: Path) -> None:
    """Write a tokenizer that has the control tokens of all templates."""
    from transformers import AutoTokenizer  # noqa: PLC0415  it takes seconds

    tokenizer = AutoTokenizer.from_pretrained(default_tokenizer())
    ends = {end for file in files for end in own_ends(file) if end.strip() and " " not in end}
    variables = {value for file in files for value in variables_of(file).values()}
    control = {token for file in files for token in control_tokens_of(file)}
    tokenizer.add_tokens(sorted(ends | variables | control), special_tokens=True)
    tokenizer.save_pretrained(folder)


# ==== Tools ====


class Bench:
    """The tokenizer, and the tools with it."""

    def __init__(self, folder: Path, work: Path) -> None:
        self._folder, self._work = folder, work
        self._tokenizer = load_tokenizer(str(folder))
        self.reader = Reader(self._tokenizer.hf)

    def premask(self, chosen: Sequence[Template]) -> Answers:
        """What premask makes of all rows, by its defaults."""
        answers = {}
        for number, template in enumerate(chosen, 1):
            labeller = _labeller(self._tokenizer, template.file)
            for kind in template.kinds:
                answers[template.file, kind] = _by_premask(labeller, ROWS[kind])
            if number % 100 == 0:
                note(f"premask: {number} of {len(chosen)} templates")
        return answers

    def peer(self, name: str, python: Path, chosen: Sequence[Template]) -> tuple[Answers, dict[str, str]]:
        """What a peer makes of all rows, and the source that it renders each template with."""
        tasks, results = self._work / f"masks-{name}.jsonl", self._work / f"masks-{name}-results.jsonl"
        tasks.write_text("".join(json.dumps(_task(each)) + "\n" for each in chosen), encoding="utf-8")
        command = [python, HERE / "contender_masks.py", name, tasks, results, "--tokenizer", self._folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        answers, sources = {}, {}
        with results.open(encoding="utf-8") as lines:
            for template, line in zip(chosen, lines, strict=True):
                result = json.loads(line)
                sources[template.file] = result["source"]
                for kind, row in zip(template.kinds, result["rows"], strict=True):
                    masked = () if "error" in row else (Masked(row["ids"], row["trained"]),)
                    answers[template.file, kind] = Answer(masked, row.get("error", ""))
        return answers, sources

    def judged(
        self, answers: Answers, chosen: Sequence[Template], sources: Mapping[str, str] | None = None
    ) -> dict[tuple[str, str], frozenset[str]]:
        """What is wrong with the rows that were not refused, by the prompts of a template's own source or of
        another one."""
        found = {}
        for template in chosen:
            for kind in template.kinds:
                answer = answers[template.file, kind]
                if not answer.refusal:
                    inference = inference_of(template.file, kind, sources and sources[template.file])
                    endings = Endings(own_ends(template.file), control_tokens_of(template.file))
                    found[template.file, kind] = faults(inference, answer.samples, self.reader, endings)
        return found


def _task(template: Template) -> dict[str, Any]:
    source = source_of(template.file)
    rows = []
    for kind in template.kinds:
        messages = [as_parts(m) if takes_parts(source) else m for m in ROWS[kind].messages]
        rows.append({"messages": messages, "tools": ROWS[kind].tools})
    variables, ends = variables_of(template.file), own_ends(template.file)
    return {"source": source, "variables": variables, "ends": ends, "rows": rows}


def _labeller(tokenizer: LoadedTokenizer, file: str) -> Labeller:
    own = replace(
        tokenizer,
        chat_template=source_of(file),
        variables=variables_of(file),
        special=control_tokens_of(file),
        stops=tuple(dict.fromkeys([variables_of(file)["eos_token"], *own_ends(file)])),
    )
    recipe = Recipe(sources=["chats.jsonl"], tokenizer="corpus", output="out")
    return Labeller(recipe, own, EngineProof(TokenizersEngine.name))


_COUNTED = {
    "dropped_reasoning": "r",
    "dropped_content": "cur",
    "dropped_tool_calls": "t",
    "dropped_name": "n",
    "dropped_tools": ("tools",),
}


def _by_premask(labeller: Labeller, chat: Chat) -> Answer:
    try:
        found, _ = labeller.read(Row("chats.jsonl", 0, chat.as_row()), "openai")
        labelled = labeller.together(found)
    except RowError as error:
        return Answer((), error.reason)
    fields = [
        {field for name, own in _COUNTED.items() if each.sample.counts.get(name) for field in own}
        for each in labelled
    ]
    return Answer(
        tuple(
            Masked(each.ids.tolist(), (each.labels != -100).tolist(), frozenset().union(*fields))
            for each in labelled
        )
    )


# ==== Tables ====

Found = dict[tuple[str, str], frozenset[str]]


def against_trl(bench: Bench, chosen: Sequence[Template], options: argparse.Namespace) -> str:
    """The table of the templates for which TRL has a training template."""
    ours = bench.premask(chosen)
    trl, sources = bench.peer("trl", options.trl_python, chosen)
    axolotl, _ = bench.peer("axolotl", options.axolotl_python, chosen)
    lines = {
        "premask": (ours, bench.judged(ours, chosen)),
        "TRL": (trl, bench.judged(trl, chosen)),
        "TRL, its own template served": (trl, bench.judged(trl, chosen, sources)),
        "axolotl": (axolotl, bench.judged(axolotl, chosen)),
    }
    _write_cases(options.cases, lines)
    return _shown(f"TRL's {len(chosen)} templates", lines)


def against_axolotl(bench: Bench, chosen: Sequence[Template], options: argparse.Namespace) -> str:
    """The table of the whole corpus."""
    ours = bench.premask(chosen)
    axolotl, _ = bench.peer("axolotl", options.axolotl_python, chosen)
    lines = {
        "premask": (ours, bench.judged(ours, chosen)),
        "axolotl": (axolotl, bench.judged(axolotl, chosen)),
    }
    _write_cases(options.cases, lines)
    return _shown(f"The corpus, {len(chosen)} templates", lines)


def _shown(title: str, lines: Mapping[str, tuple[Answers, Found]]) -> str:
    rows = []
    for name, (answers, found) in lines.items():
        counts = count(list(found.values()))
        refused = sum(bool(answer.refusal) for answer in answers.values())
        cells = [counts[column] for column in ("right", *FAULTS)]
        rows.append([name, len(answers), refused, *cells])
    shown = table(["tool", "rows", "refused", "right", *FAULTS], rows)
    return f"**{title}**\n\n{shown}\n\n{_refusals(lines)}\n"


def _refusals(lines: Mapping[str, tuple[Answers, Found]]) -> str:
    """Why premask refused rows, and what the peers made of the same rows."""
    ours, _ = lines["premask"]
    reasons = Counter(answer.refusal for answer in ours.values() if answer.refusal)
    peers = [name for name in lines if name != "premask"]
    rows = []
    for reason, number in reasons.most_common():
        keys = [key for key, answer in ours.items() if answer.refusal == reason]
        right = [sum(lines[peer][1].get(key) == frozenset() for key in keys) for peer in peers]
        rows.append([reason, number, *right])
    return table(["refused by premask", "rows", *(f"of these right: {peer}" for peer in peers)], rows)


def _write_cases(path: Path | None, lines: Mapping[str, tuple[Answers, Found]]) -> None:
    if path is None:
        return
    with path.open("a", encoding="utf-8") as out:
        for line in _cases(lines):
            out.write(line + "\n")


def _cases(lines: Mapping[str, tuple[Answers, Found]]) -> Iterator[str]:
    for name, (answers, found) in lines.items():
        for (file, kind), answer in answers.items():
            wrong = answer.refusal or ", ".join(sorted(found[file, kind])) or "right"
            yield "\t".join([name, Template(file, ()).name, kind, "refused" if answer.refusal else "", wrong])


if __name__ == "__main__":
    main()
