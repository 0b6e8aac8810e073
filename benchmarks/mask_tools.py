"""The tools whose masks are compared, and the rows that they get: chat templates x kinds of conversation.

bench = Bench(folder_of_the_tokenizer, work)
answers = bench.premask(chosen)
answers, sources = bench.peer("axolotl", python, chosen)
found = bench.judged(answers, chosen)              # what is wrong, by template and kind
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from common import HERE, default_tokenizer, note
from conversation_kinds import KINDS, Chat
from inference import Inference, as_parts, takes_parts
from mask_faults import Endings, Masked, Reader, faults
from premask.core.errors import RowError
from premask.core.recipe import Recipe
from premask.core.records import Row
from premask.labeller import Labeller
from premask.tokens.engines import EngineProof, TokenizersEngine
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from template_corpus import compiles, control_tokens_of, own_ends, source_of, variables_of

KINDS_LEFT_OUT = ("identical turns", "control tokens in content", "call without arguments")
"""Kinds with messages that have no words to tell them by."""


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


class Answer(NamedTuple):
    """What a tool made of a row: samples, or why there are none."""

    samples: tuple[Masked, ...]
    refusal: str = ""


Answers = dict[tuple[str, str], Answer]
"""By template and kind."""
Found = dict[tuple[str, str], frozenset[str]]
"""What is wrong with each row that was not refused."""


# ==== Templates and rows ====


def trl_originals(python: Path) -> list[str]:
    """The unmodified templates for which TRL has a training template."""
    code = "import pathlib, trl; print(pathlib.Path(trl.__file__).parent / 'chat_templates')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found = Path(done.stdout.splitlines()[-1]).glob("*_training.jinja")
    return sorted(str(path.with_name(path.name.replace("_training", ""))) for path in found)


def name_of(file: str) -> str:
    """The name of a template, without the folders of this machine."""
    return Path(file).name if Path(file).is_absolute() else file


def is_unmodified(file: str) -> bool:
    """Whether a template is as servers have it, and can be compiled."""
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
        command: list[str | Path] = [
            python,
            HERE / "contender_masks.py",
            name,
            tasks,
            results,
            "--tokenizer",
            self._folder,
        ]
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
    ) -> Found:
        """What is wrong with the rows that were not refused, by the prompts of a template's own source or of
        another one."""
        found = {}
        for template in chosen:
            source = None if sources is None else sources[template.file]
            for kind in template.kinds:
                answer = answers[template.file, kind]
                if not answer.refusal:
                    inference = inference_of(template.file, kind, source)
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
    recipe = Recipe.model_validate({"sources": ["chats.jsonl"], "tokenizer": "corpus", "output": "out"})
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
