"""Pages that repeat what the code has: the commands, the errors by their text, the reasons of rejected rows."""

from __future__ import annotations

import re

import pytest
from commands import ROOT
from premask.cli.app import COMMANDS
from premask.core import errors
from premask.core.contract import REASONS, row_schema
from premask.core.errors import PremaskError
from said import raised, said
from scripts import script

DOCS = ROOT / "docs"
TROUBLE = (DOCS / "trouble.md").read_text(encoding="utf-8")
ERRORS = TROUBLE.partition("\n## Recipes and options\n")[2].partition("\n## Interruptions and faults\n")[0]
QUOTES = re.findall(r"^\| `([^`]+)` \|", ERRORS, re.MULTILINE)
"""The messages of the page."""


def test_the_page_of_the_commands_is_that_of_the_script() -> None:
    shown = (DOCS / "commands.md").read_text(encoding="utf-8")

    assert shown == script(DOCS / "reference.py").page(), "the commands have changed: run 'make reference'"
    assert set(re.findall(r"^## (.+)$", shown, re.MULTILINE)) == set(COMMANDS)


def test_every_reason_has_a_cause_and_a_fix() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", TROUBLE.partition("## Recipes")[0], re.MULTILINE)

    assert [reason for reason, _, _ in rows] == list(REASONS)


@pytest.mark.parametrize("quote", QUOTES)
def test_messages_that_the_page_quotes_are_in_the_code(quote: str) -> None:
    assert said(quote)


FAMILIES = [
    each.__name__
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, PremaskError) and each is not PremaskError
]
ELSEWHERE = {"VerifyError"}
"""Errors that a run turns into another message before anybody sees them."""


@pytest.mark.parametrize("family", [each for each in FAMILIES if each not in ELSEWHERE])
def test_every_family_of_errors_is_on_the_page(family: str) -> None:
    texts = raised(family)

    assert sum(said(quote, texts) for quote in QUOTES) >= 3


HOW_TO = [
    (page.stem, quote)
    for page in sorted((DOCS / "how-to").glob("*.md"))
    for quote in re.findall(
        r"^\| `([^`]+)` ?(?:\||in the|:)",
        page.read_text(encoding="utf-8").partition("## What goes wrong")[2],
        re.MULTILINE,
    )
]


@pytest.mark.parametrize(("page", "quote"), HOW_TO)
def test_what_goes_wrong_is_what_the_code_says(page: str, quote: str) -> None:
    assert quote in REASONS or said(quote), page


@pytest.mark.parametrize("layout", ["packed", "unpacked", "preference", "kto"])
def test_the_columns_of_a_layout_are_in_its_table(layout: str) -> None:
    text = (DOCS / "outputs.md").read_text(encoding="utf-8").partition(f"\n**`{layout}`**")[2]
    table = text[text.index("| column |") :].partition("\n\n")[0]
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]

    assert sorted(named) == sorted(row_schema(layout).names)
