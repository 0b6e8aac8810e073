"""Every data file of the shared corpus: its dialect, its rows, what is kept and what is rejected for which
reason. `python tests/corpus/test_corpus_dialects.py` prints the table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from inputs import CORPUS, needs_corpus
from premask.core.contract import REASONS
from premask.core.errors import RowError, SourceError
from premask.dialects import DIALECTS, conversations, normalize, recognize_file
from premask.sources.cutting import plan_units
from premask.sources.formats import is_data
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice

NOT_DATA = {"index.shared.json"}


class Line(NamedTuple):
    """One line of the table; `refused` is the message of a file that cannot be read."""

    file: str
    dialect: str
    rows: int
    kept: int
    conversations: int
    rejects: Counter[str]
    refused: str


def names() -> list[str]:
    """All files of the corpus whose suffix says that they hold data."""
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file())
    return [path.relative_to(CORPUS).as_posix() for path in files if _is_data(path.name)]


def _is_data(name: str) -> bool:
    return name not in NOT_DATA and is_data(name)


@cache
def line(name: str) -> Line:
    source = (CORPUS / name).as_posix()
    try:
        info = inspect_source(source)
        dialect = recognize_file(peek(info), source=name)
    except SourceError as error:
        return Line(name, "", 0, 0, 0, Counter(), str(error).replace(f"{CORPUS.as_posix()}/", ""))
    rows = kept = several = 0
    rejects: Counter[str] = Counter()
    for unit in plan_units([info], unit_rows=1000):
        for row in (row for piece in unit.slices for row in read_slice(piece)):
            rows += 1
            try:
                normalize(row.value, dialect)
                several += len(conversations(row.value, dialect, every=True))
                kept += 1
            except RowError as error:
                rejects[error.reason] += 1
    return Line(name, dialect, rows, kept, several, rejects, "")


def table() -> Iterator[str]:
    total: Counter[str] = Counter()
    for name in names():
        found = line(name)
        if found.refused:
            yield f"{name}\n    refused: {found.refused}"
            total["files refused"] += 1
            continue
        why = ", ".join(f"{count} {reason}" for reason, count in found.rejects.most_common())
        several = f", {found.conversations} conversations" if found.conversations != found.kept else ""
        yield f"{name}\n    {found.dialect}: {found.rows} rows, {found.kept} kept{several}; {why or 'none rejected'}"
        total.update({"files": 1, "rows": found.rows, "kept": found.kept, **found.rejects})
    yield ", ".join(f"{key}: {count}" for key, count in total.items())


EXPECTED: dict[str, tuple[str, int, int]] = {
    "alpaca-cleaned-ext/gsm_8k/gsm_8k_train.json": ("alpaca", 7473, 7473),
    "axolotl-fixtures/conversation.missingturns.json": ("sharegpt", 1, 1),
    "gorilla/data/BFCL_v4_simple_python.json": ("bfcl", 400, 0),
    "gorilla/data/apibench/huggingface_eval.json": ("transcript", 911, 905),
    "litgpt/dolly.json": ("dolly", 12, 12),
    "litgpt/longform_train.json": ("question_answer", 17, 17),
    "llamafactory/dpo_en_demo.json": ("preference", 300, 300),
    "llamafactory/kto_en_demo.json": ("kto", 300, 150),
    "llamafactory/v1_dpo_demo.jsonl": ("preference", 10, 10),
    "medicalgpt/reward/toolcall_dpo_zh_demo.jsonl": ("preference", 11, 11),
    "ms-swift/alpaca.csv": ("alpaca", 3, 3),
    "ms-swift/multi_modal_2.jsonl": ("question_answer", 3, 0),
    "ms-swift/sharegpt.jsonl": ("pairs", 3, 3),
    "ms-swift/swift_multi.json": ("question_answer", 3, 3),
    "open-assistant/model/model_eval/manual/data/en_100_message.jsonl": ("trees", 100, 100),
    "open-assistant/model/model_eval/manual/data/en_100_tree.jsonl": ("trees", 100, 100),
    "open-instruct/history/preference_sample.jsonl": ("preference", 100, 100),
    "open-instruct/history/rlvr_sample.jsonl": ("openai", 100, 0),
    "open-instruct/human_eval/data/eval_instances_tulu_1.jsonl": ("prompt_completion", 996, 996),
    "sgd/train/dialogues_001.json": ("speakers", 128, 128),
    "smile/data/0.json": ("speakers", 1, 1),
    "tau-bench/few_shot_data/MockRetailDomainEnv-few_shot.jsonl": ("transcript", 69, 0),
    "tau-bench/historical_trajectories/gpt-4o-airline.json": ("openai", 200, 200),
    "toolbench/data_example/answer/G1_answer/10_ChatGPT_DFS_woFilter_w2.json": ("toolbench", 1, 1),
    "torchtune/hh_rlhf_tiny.json": ("preference", 1, 1),
    "torchtune/stack_exchange_paired_tiny.json": ("preference", 25, 25),
    "torchtune/vqa_tiny.json": ("question_answer", 1, 0),
}
"""File -> dialect, rows, and how many of them are kept."""


@needs_corpus
@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_found_in_files_of_each_dialect(name: str) -> None:
    found = line(name)

    assert (found.dialect, found.rows, found.kept) == EXPECTED[name]


@needs_corpus
def test_every_file_is_read_or_the_message_says_what_to_do() -> None:
    """No row is lost, whatever the file; what cannot be read says which lines to write, or why not."""
    for name in names():
        found = line(name)
        if found.refused:
            said = ("fields: {", "it is one object", "git lfs pull", "says not who speaks")
            assert any(words in found.refused for words in said), found.refused
        else:
            assert found.rows == found.kept + sum(found.rejects.values()) > 0, name
            assert found.rejects.keys() <= REASONS.keys()


@needs_corpus
def test_all_dialects_but_those_without_a_file_are_found() -> None:
    """Rows of some APIs and exports, and lists of statements, stand in no JSON file of the corpus."""
    found = {line(name).dialect for name in names()} - {""}

    without = {"anthropic", "chatgpt", "document", "gemini", "responses", "statements", "trajectory"}
    assert {*DIALECTS} - found == without


if __name__ == "__main__":
    for text in table():
        sys.stdout.write(f"{text}\n")
