"""The pages for those who come from other tools: their blocks are real output, their code is that of these tools."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT
from places import SHARED
from premask.api.masker import Masker
from premask.core.manifest import LAYOUTS
from premask.publish.trainer_lines import snippets
from scripts import script

QWEN = SHARED / "tokenizers" / "qwen3"
MASKS = ROOT / "examples" / "coming_from" / "masks.py"
"""The script that fills the pages."""
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("from-*.md"))}

needs_qwen = pytest.mark.skipif(
    not QWEN.is_dir() or importlib.util.find_spec("trl") is None,
    reason="no tokenizer of Qwen3 here, or no TRL, which has the template",
)


@pytest.fixture(autouse=True, scope="module")
def _facts_are_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is found out of the tokenizer of Qwen3 is kept for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREMASK_FACTS", "on")
        patch.setenv("PREMASK_CACHE", str(tmp_path_factory.mktemp("facts")))
        yield


@cache
def masks() -> Any:
    return script(MASKS).Masks(str(QWEN))


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGES[name])


def test_the_script_knows_the_pages() -> None:
    assert sorted(script(MASKS).PAGES) == sorted(PAGES)


@needs_qwen
@pytest.mark.parametrize("name", PAGES)
def test_the_blocks_are_what_the_tools_make(name: str) -> None:
    assert script(MASKS).filled(PAGES[name], masks()) == PAGES[name]
    assert len(script(MASKS).MARK.findall(PAGES[name])) >= 3
    assert len(blocks(name, "text")) == len(script(MASKS).MARK.findall(PAGES[name]))


@needs_qwen
@pytest.mark.parametrize("name", PAGES)
def test_the_pictures_are_drawn_from_the_masks(name: str) -> None:
    drawn = script(MASKS).pictures(PAGES[name], masks())

    assert drawn
    for file, content in drawn.items():
        assert content == (ROOT / "docs" / "pictures" / file).read_text(encoding="utf-8")


@needs_qwen
def test_a_picture_shows_what_the_user_wrote_as_trained() -> None:
    """By unsloth, which takes the user's quotation for the beginning of an answer; not by premask."""
    theirs, ours = masks().picture("unsloth", "markers").split(">premask</text>")
    quoted = r'<g class="trained"><rect[^>]*/><text[^>]*>I never stop.'

    assert re.search(quoted, theirs)
    assert "I never stop." in ours
    assert not re.search(quoted, ours)


@pytest.mark.parametrize("name", PAGES)
def test_the_lines_of_the_trainer_are_those_that_are_run(name: str) -> None:
    """What is written now is a block of `SNIPPETS`; what was written is Python of the tool."""
    now = [each.text for each in snippets(LAYOUTS)]
    code = [block for language in ("python", "yaml") for block in blocks(name, language)]

    assert sum(block in now for block in code) == 1
    for block in blocks(name, "python"):
        ast.parse(block)


OF_TOOLS = [
    ("unsloth", {"history": "as-rendered"}, ["chat", "reasoning", "call", "inline"]),
    (
        "axolotl",
        {"history": "as-rendered", "train": {"empty_reasoning": False}},
        ["chat", "call"],
    ),
]


@needs_qwen
@pytest.mark.parametrize(("tool", "keys", "names"), OF_TOOLS, ids=["unsloth", "axolotl"])
def test_the_mask_of_a_tool_by_our_keys(tool: str, keys: dict[str, Any], names: list[str]) -> None:
    """The rows of which the pages say so."""
    masker = Masker(str(QWEN), chat_template=script(MASKS).template(), **keys)
    for name in names:
        (theirs,) = masks().of(tool, name)
        (ours,) = masker(script(MASKS).rows()[name])
        assert (list(ours.input_ids), list(ours.labels)) == (theirs["input_ids"], theirs["labels"]), name


@needs_qwen
def test_the_line_for_trl_gives_the_recorded_masks(tmp_path: Path) -> None:
    """The block of the page makes a trainer; its rows have the masks of `masks.json`, for the installed TRL."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    names = ("chat", "reasoning")  # none with tools: a file of JSON has one type for a column
    lines = "".join(json.dumps(script(MASKS).rows()[name]) + "\n" for name in names)
    (tmp_path / "chats.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "template.jinja").write_text(script(MASKS).template(), encoding="utf-8")
    (block,) = (
        text for text in blocks("from-assistant-only-loss", "python") if "assistant_only_loss" in text
    )
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "masked_by_trl.py", QWEN, "template.jinja"],
        input=block.replace("packing=True", "bf16=False, use_cpu=True, report_to='none'"),
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        masks().kept["trl"]["rows"][name] for name in names
    ]
