"""The how-to pages and the answers to questions do what they say: files, commands and code of each page, in the order of the page.

A block with a title is a file, which is written. A block of `sh` is run here, line by line, but for lines that
need a network, a cluster or torch; `test_docs.py` checks how those are written. `python` is run, too. The
tokenizer of the pages is one of this machine: that of the sample, with a template that rewrites history, as that
of Qwen3 does.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import ROOT, SAMPLE, premask

HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = [*HOW_TO, ROOT / "docs" / "faq.md"]
MODEL = "Qwen/Qwen3-0.6B"

TEMPLATE = """\
{%- if tools %}{{ '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
    {%- set text = m.content or '' %}
    {%- set thought = m.reasoning_content or '' %}
    {%- if m.role == 'assistant' and '</think>' in text %}
        {%- set thought = text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
        {%- set text = text.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + ('user' if m.role == 'tool' else m.role) + '\\n' }}
    {%- if m.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{% endif %}
    {{- text }}
    {%- for call in m.tool_calls or [] %}{{ '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""
"""What the pages need of a template: tools, reasoning, and a mode without it."""

ELSEWHERE = re.compile(r"s3://|org/name|--runner ray|premask (train|verify) (?!out/chats-8k)")
"""Lines that need more than this machine. Of `verify`, which has tests of its own, one is run."""


class Block(NamedTuple):
    """A fenced block of code; with a title it is a file."""

    language: str
    title: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in their order."""
    fence = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    return [Block(*found) for found in fence.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the pages."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(SAMPLE / "tokenizer", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_says_is_done(
    page: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(page):
        text = block.text.replace(MODEL, str(model))
        if block.title:
            (tmp_path / block.title).write_text(text, encoding="utf-8")
        elif block.language == "sh":
            _run(text)
        elif block.language == "python":
            exec(text, {})  # noqa: S102
    for written in tmp_path.glob("out/*/manifest.json"):
        counts = json.loads(written.read_text(encoding="utf-8"))["counts"]
        assert counts["kept"] > 0, written.parent
        assert set(counts["rejected_by_reason"]) <= {"contaminated", "near_duplicate"}, written.parent


def _run(text: str) -> None:
    """Run the lines of a block; `template` and `diff` may say that there is something to see."""
    for line in text.replace("--workers 2", "--workers 1").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["premask"] or ELSEWHERE.search(line):
            continue
        done = premask(*words[1:], PREMASK_FACTS="on")  # what is known of the tokenizer is found out once
        assert done.code in ({0, 1} if words[1] in {"template", "diff"} else {0}), f"{line}\n{done.err}"


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_each_page_has_its_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert [
        part for part in ("**Goal**:", "\n## Check\n", "\n## What goes wrong\n") if part not in text
    ] == []
    assert any(block.language == "sh" for block in blocks_of(page))
