"""Rows filled into plans and paths, each compared with the decision about it: texts, mask, writers, seams,
weights, proofs and counts.

    python tests/support/path_judge.py --rows 18                     all templates: 10,000 random rows
    python tests/support/path_judge.py --templates '*Qwen3*' --rows 200 --seed 3

Prints the share of rows that are filled by family of templates, and the commonest reasons why rows are not.
The status is 1 if any row is filled otherwise than it is decided.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from multiprocessing import get_context
from typing import Any, cast

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
from conversation_kinds import KINDS
from places import SAMPLE
from premask.core.errors import RecipeError, RowError
from premask.core.recipe import Recipe
from premask.core.records import Conversation, MaskedTexts, Row
from premask.core.shapes import shape_of
from premask.fast import paths as paths_module
from premask.fast import turn_decisions
from premask.fast.fill import Filler
from premask.fast.render_plans import Plans
from premask.labeller import Labeller
from premask.masking.prefixes import records as records_module
from premask.masking.segments import masked_texts
from premask.running.batches import paths_of, plans_of
from premask.tokens.engines import EngineProof, TokenizersEngine
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from random_chats import RandomChats, pool_of
from template_corpus import CORPUS, INDEX, compiles, control_tokens_of, own_ends, source_of, variables_of

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"history": "last"},
    {"train": {"end_of_turn": False}},
    {"train": {"roles": ["assistant", "user"]}},
    {"train": {"text": False}},
    {"train": {"reasoning": False}, "history": "last"},
    {"train": {"turns": "last"}},
    {"train": {"tool_calls": False, "empty_reasoning": False}},
    {"append_eos": True},
    {"open_reasoning": "compose"},
    {"open_reasoning": "as-rendered"},
    {"on_dropped": "count"},
    {"template_kwargs": {"enable_thinking": "auto"}},
    {"template_kwargs": {"enable_thinking": False}},
    {"loss_weights": True},
    {"history": "as-rendered"},
)
"""What a recipe may want otherwise than by default."""


class NoPlans:
    """Plans that fill nothing."""

    def known(self, *_: Any) -> None:
        """Fill nothing."""

    def fill(self, *_: Any) -> None:
        """Fill nothing."""


@cache
def _tokenizer() -> LoadedTokenizer:
    return load_tokenizer(str(SAMPLE / "tokenizer"))


def labeller_of(
    source: str,
    variables: dict[str, str] | None = None,
    special: tuple[str, ...] = ("<|im_end|>",),
    stops: tuple[str, ...] = ("</s>",),
    **keys: Any,
) -> Labeller:
    """A labeller with any template."""
    known = {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = replace(
        _tokenizer(), variables=variables or known, special=special, stops=stops, chat_template=source
    )
    recipe = Recipe(sources=["chats.jsonl"], tokenizer="corpus", output="out", **keys)
    return Labeller(recipe, tokenizer, EngineProof(TokenizersEngine.name))


def corpus_labeller(file: str, **keys: Any) -> Labeller:
    """A labeller with a template of the corpus."""
    variables = variables_of(file)
    ends = own_ends(file) if file.startswith("2026/") else ()
    stops = tuple(dict.fromkeys([variables["eos_token"], *ends]))
    return labeller_of(source_of(file), variables, control_tokens_of(file), stops, **keys)


@dataclass
class Judged:
    """What became of rows: how many each way filled, was refused or left, and what was filled wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


class Judge:
    """One recipe's plans and paths, and the decision beside them."""

    def __init__(self, labeller: Labeller, *, plans: bool = True) -> None:
        self.labeller = labeller
        self.judged = Judged()
        self._plans = plans_of(labeller) if plans else None
        self._paths = paths_of(labeller)

    def judge(self, conversations: Sequence[Conversation]) -> Judged:
        """Fill conversations both ways, one batch each, and compare."""
        found = [(each, shape_of(each)) for each in conversations]
        rows = [(each, *own) for each, own in found if own is not None]
        right = [self._decided(conversation) for conversation, *_ in rows]
        if self._paths is not None:
            self._compare("path", Filler(cast("Plans", NoPlans()), self._paths), rows, right)
        if self._plans is not None:
            self._compare("plan", Filler(self._plans), rows, right)
        self.judged.counts["rows"] += len(rows)
        self.judged.counts["trainable"] += sum(each is not None for each in right)
        return self.judged

    def _decided(self, conversation: Conversation) -> tuple[MaskedTexts, dict[str, int]] | None:
        try:
            samples = self.labeller.decide_together([conversation])
        except RowError:
            return None
        return masked_texts(samples, [0] * len(samples)), dict(samples[0].counts)

    def _compare(self, way: str, filler: Filler, rows: list[Any], right: list[Any]) -> None:
        filled = filler.fill([shape for _, shape, _ in rows], [texts for *_, texts in rows])
        if filled is None:
            return
        for place, row in enumerate(filled.rows.tolist()):
            own = filled.masked.taken(np.flatnonzero(filled.masked.rows == place))
            self.judged.counts[way] += 1
            wrong = _difference(own, dict(filled.filled[place].counts), right[row])
            texts = tuple(filled.filled[place].texts)
            if wrong is None and texts != tuple(own.texts):
                wrong = "texts of the row"
            if wrong is not None:
                self.judged.wrong.append(f"{way}: {wrong}: {rows[row][0]}")


def _difference(own: MaskedTexts, counts: dict[str, int], right: Any) -> str | None:  # noqa: PLR0911
    """What differs from the decision; None if nothing does."""
    if right is None:
        return "a refused row is filled"
    expected, expected_counts = right
    if own.texts != expected.texts:
        return f"texts {own.texts} for {expected.texts}"
    if own.proofs.tolist() != expected.proofs.tolist():
        return "proofs"
    if counts != expected_counts:
        return f"counts {counts} for {expected_counts}"
    for name in ("messages", "writers"):
        if not np.array_equal(*(np.repeat(getattr(each, name), each.sizes) for each in (own, expected))):
            return name
    if _seams(own) != _seams(expected):
        return f"seams {_seams(own)} for {_seams(expected)}"
    if not np.array_equal(_weights(own), _weights(expected)):
        return "weights"
    return None


def _seams(masked: MaskedTexts) -> list[int]:
    begin = np.cumsum(masked.sizes) - masked.sizes
    return sorted(set(begin[masked.seams].tolist()))


def _weights(masked: MaskedTexts) -> np.ndarray:
    weights = np.ones(len(masked.sizes)) if masked.weights is None else masked.weights
    return np.repeat(weights, masked.sizes)


# ==== Rows ====


def kinds_of(labeller: Labeller) -> Iterator[Conversation]:
    """The kinds of conversation that can be read."""
    for chat in KINDS.values():
        try:
            found, _ = labeller.read(Row("chats.jsonl", 0, chat.as_row()), "openai")
        except RowError:
            continue
        yield from found


def rows_of(labeller: Labeller, source: str, count: int, seed: int) -> Iterator[list[Conversation]]:
    """Batches of rows: random ones and the kinds, in a random order, every row twice."""
    chance = random.Random(seed)  # noqa: S311  the same rows each time
    pool = pool_of(source, (*labeller.tokenizer.stops, *labeller.tokenizer.special[:20]))
    chats = RandomChats(chance, pool, weights=bool(labeller.recipe.loss_weights) or chance.random() < 0.05)
    rows = [*kinds_of(labeller)] if count > 40 or chance.random() < 0.5 else []
    rows += (chats.next() for _ in range(count))
    chance.shuffle(rows)
    for at in range(0, len(rows), 8):
        yield rows[at : at + 8]


# ==== The command ====


def judged_template(task: tuple[str, int, int, bool]) -> tuple[str, int, Judged]:
    """Judge a template of the corpus."""
    file, rows, seed, plans = task
    number = seed * 7 + CORPUS.index(file)
    option = OPTIONS[number % len(OPTIONS)] if number % 2 else {}
    if option.get("template_kwargs") and "enable_thinking" not in source_of(file):
        option = {}
    try:
        judge = Judge(corpus_labeller(file, **option), plans=plans)
    except RecipeError:
        return file, number, Judged()
    with _reasons(judge.judged.reasons):
        for batch in rows_of(judge.labeller, source_of(file), rows, number):
            try:
                judge.judge(batch)
            except Exception:  # noqa: BLE001  a crash is a finding like others
                judge.judged.wrong.append(f"crash: {traceback.format_exc()[-1500:]}: {batch}")
    judge.judged.wrong = [f"{option}: {each}" for each in judge.judged.wrong]
    return file, number, judge.judged


class _reasons:  # noqa: N801  a context
    """Counts why rows have no path."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._walk = paths_module._Walk.path
        self._run = records_module._LearningRun.__init__
        self._window = turn_decisions._Window.decided

    def __enter__(self) -> None:
        counts, walk, run, window = self._counts, self._walk, self._run, self._window
        last: list[str] = [""]

        def walked(self: Any, start: int) -> Any:
            try:
                return walk(self, start)
            except paths_module.NoPath as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                inner = last[0] if where.name == "_turn" else where.line
                counts[f"no path: {where.name}: {inner}"] += 1
                raise

        def learned(self: Any, *args: Any) -> None:
            try:
                run(self, *args)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                counts[f"learning: {type(error).__name__} {str(error)[:60]} in {where.name}"] += 1
                raise

        def decided(self: Any) -> Any:
            try:
                return window(self)
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                what = getattr(error, "reason", "")
                last[0] = f"{type(error).__name__} {what} in {where.name}: {where.line}"
                raise

        paths_module._Walk.path = walked  # type: ignore[method-assign]
        records_module._LearningRun.__init__ = learned  # type: ignore[method-assign]
        turn_decisions._Window.decided = decided  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        paths_module._Walk.path = self._walk  # type: ignore[method-assign]
        records_module._LearningRun.__init__ = self._run  # type: ignore[method-assign]
        turn_decisions._Window.decided = self._window  # type: ignore[method-assign]


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge templates and print the tables."""
    options = _options(arguments)
    files = [file for file in CORPUS if fnmatch(file, options.templates)][:: options.every]
    tasks = [(file, options.rows, options.seed, not options.no_plans) for file in files if compiles(file)]
    families: dict[str, Counter[str]] = {}
    templates: dict[str, set[str]] = {}
    wrong = 0
    for file, number, judged in _results(tasks, options.processes):
        for each in judged.wrong[: options.show]:
            print(f"WRONG {file} (seed {number}) {each[: options.width]}", flush=True)
        wrong += len(judged.wrong)
        families.setdefault(_family(file), Counter()).update(judged.counts)
        for reason in judged.reasons:
            templates.setdefault(reason, set()).add(file)
    print(_shares(families))
    print("\nTemplates  why a row has no path")
    for reason, own in sorted(templates.items(), key=lambda each: -len(each[1]))[: options.reasons]:
        print(f"{len(own):9}  {reason}  e.g. {min(own)}")
    print(f"\nwrong: {wrong}")
    return int(wrong > 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Plans and paths against the decision.")
    parser.add_argument("--templates", default="*", metavar="GLOB", help="templates by file name")
    parser.add_argument("--every", type=int, default=1, help="take every n-th template only")
    parser.add_argument("--rows", type=int, default=18, help="random rows a template")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-plans", action="store_true", help="judge paths only")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--show", type=int, default=2, help="wrong rows to print of each template")
    parser.add_argument("--width", type=int, default=600, help="characters to print of each")
    parser.add_argument("--reasons", type=int, default=20, help="reasons to print")
    return parser.parse_args(arguments)


def _results(tasks: Sequence[Any], processes: int) -> Iterator[tuple[str, int, Judged]]:
    if processes <= 1:
        yield from map(judged_template, tasks)
        return
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(judged_template, tasks, chunksize=2)


def _family(file: str) -> str:
    return INDEX[file]["family"] if file in INDEX else "2026"


def _shares(families: dict[str, Counter[str]]) -> str:
    lines = [f"{'family':40}{'rows':>8}{'trained':>9}{'paths':>8}{'plans':>8}"]
    total: Counter[str] = Counter()
    for name, counts in [*sorted(families.items()), ("all", total)]:
        if name != "all":
            total.update(counts)
        of = max(1, counts["trainable"])
        lines.append(
            f"{name[:38]:40}{counts['rows']:8}{counts['trainable']:9}"
            f"{counts['path'] / of:8.1%}{counts['plan'] / of:8.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
