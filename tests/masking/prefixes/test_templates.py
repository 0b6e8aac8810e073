"""Templates that try to print another text in a run than each version does by itself."""

from __future__ import annotations

from collections import Counter

import pytest
from prefix_checks import SOME_KINDS, compare, conversation_of, reasons_of
from prefix_templates import REFUSED, TEMPLATES, source_of
from premask.masking.chat_template import ChatTemplate
from premask.masking.prefixes import run
from premask.masking.prefixes.renders import PrefixTemplate

ERRORS = {"an error in a version", "an error in the whole conversation", "another version"}
"""Reasons to render a version by itself that every template may have."""


@pytest.fixture(autouse=True)
def _no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that print the number of messages everywhere take many units; they are followed, too."""
    monkeypatch.setattr(run, "UNITS_AT_LEAST", 100_000)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_version_prints_what_it_prints_by_itself(name: str) -> None:
    template = PrefixTemplate(ChatTemplate(source_of(TEMPLATES[name])))
    seen: Counter[str] = Counter()

    for kind in SOME_KINDS:
        assert compare(template, conversation_of(kind), lambda each: seen.update([each])) == []

    assert seen.total() > 200
    assert set(template.reasons) <= ERRORS


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_followed_has_a_reason_and_is_rendered_the_plain_way(name: str) -> None:
    reason, short = REFUSED[name]
    template = PrefixTemplate(ChatTemplate(source_of(short)))

    for kind in SOME_KINDS:
        assert compare(template, conversation_of(kind)) == []

    assert any(each.startswith(reason) for each in template.reasons), dict(template.reasons)
    assert {each for each in template.reasons if not each.startswith(reason)} <= ERRORS


def test_most_are_followed() -> None:
    """A reason is easy; it must be the exception."""
    reasons = Counter[str]()
    for short in TEMPLATES.values():
        reasons += reasons_of(source_of(short), conversation_of("tool rounds, two questions"))

    assert len(TEMPLATES) >= 100
    assert set(reasons) <= ERRORS
    assert reasons.total() < len(TEMPLATES) / 10
