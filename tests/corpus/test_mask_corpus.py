"""The mask of the corpus' templates on every kind of conversation, judged by the oracle.

`python tests/support/mask_table.py` prints the whole table; here are all templates of the first collection and
a part of those of 2026. No mask may be wrong, and no word may be lost in silence. A row may be refused only
where a reason can be seen without the pipeline.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatch
from typing import Any

import pytest
from conversation_kinds import ANY_WORD, CHATS, words
from inference import Inference, frozen_date
from mask_survey import samples_of, survey
from premask.core.errors import RowError
from template_corpus import (
    CORPUS,
    INDEX,
    TEMPLATES,
    compiles,
    control_tokens_of,
    endings_of,
    own_ends,
    source_of,
    variables_of,
)

pytestmark = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")

FILES = [*INDEX, *CORPUS[len(INDEX) :: 6]]
"""All templates of the first collection, and every sixth of 2026."""

EXPLAINED = {
    "*dse_qwen2_vl*": "an embedding model: its prompt ends with <|endoftext|>, behind which nothing is written",
    "*WorldPM*": "a reward model: its prompt ends with <|endoftext|>, behind which nothing is written",
    "*praxisresearch*": "it prints no turn end after a turn of reasoning alone",
    "*kanana-safeguard*": "a classifier: it prints one conversation into the turn of a user",
}
"""Templates with refusals for which the oracle sees no reason, and why they are right all the same."""


KNOWN = {
    ("*Apriel-1.6*", "identical turns"): "the oracle cannot tell its system text from a block of reasoning",
    ("*Apriel-1.6*", "empty user"): "the oracle cannot tell its system text from a block of reasoning",
}
"""What is not judged, by template and kind, and why."""


def _is_judged(file: str, kind: str) -> bool:
    return not any(fnmatch(file, each) and kind == other for each, other in KNOWN)


@pytest.mark.parametrize("file", FILES)
def test_masks_are_right_and_refusals_have_a_reason(file: Any) -> None:
    if not compiles(file):
        assert INDEX[file]["compiles"] is False
        return
    results = [result for result in survey(file) if _is_judged(file, result.kind)]

    assert not {(r.kind, r.setting): r.detail for r in results if r.outcome == "wrong"}
    assert not {(r.kind, r.setting): r.detail for r in results if r.outcome == "lost"}
    assert not {
        (r.kind, r.setting): r.detail
        for r in results
        if r.views == "unexplained" and not any(fnmatch(file, each) for each in EXPLAINED)
    }


def test_most_conversations_are_kept() -> None:
    """A refusal is easy; it must be the exception where the template itself does not object."""
    results = [result for file in INDEX if compiles(file) for result in survey(file)]
    outcomes = Counter(result.outcome for result in results if not result.setting)
    plain = Counter(result.outcome for result in results if result.kind == "plain" and not result.setting)

    assert outcomes["exact"] + outcomes["split"] + outcomes["composed"] > 5000
    assert plain["exact"] > 160


# ==== Policies ====


@pytest.mark.parametrize(
    "file", ["trl/qwen3.jinja", "trl/qwen2_5.jinja", "trl/gemma.jinja", "trl/deepseekv3.jinja"]
)
def test_policy_last_trains_the_last_turn_as_split_does(file: Any) -> None:
    for kind in (
        "two turns",
        "reasoning twice",
        "consecutive users",
        "six turns with reasoning",
        "inline think",
    ):
        try:
            split = samples_of(file, CHATS[kind])
        except RowError:
            continue
        (last,) = samples_of(file, CHATS[kind], history="last")
        (sample,) = [s for s in split if any(t.message == CHATS[kind].wanted[-1] for t in s.turns)]

        assert last.text == sample.text
        assert last.turns == sample.turns[-1:]


@pytest.mark.parametrize("file", INDEX)
def test_policy_as_rendered_trains_every_turn_of_the_whole_text(file: Any) -> None:
    """What stands behind a turn's own words is what the template prints when the turn has just been written:
    never the header of the next one. (Some templates end a turn that is answered in another way, with one
    control token, or not at all.)"""
    if not compiles(file):
        return
    for kind in ("two turns", "reasoning twice", "consecutive users", "tools", "six turns with reasoning"):
        try:
            (sample,) = samples_of(file, CHATS[kind], history="as-rendered")
        except RowError:
            continue
        with frozen_date():
            inference = Inference(source_of(file), variables_of(file), CHATS[kind])
            whole = inference.full()
            alone = {i: inference.through(i) or "" for i in CHATS[kind].wanted}

        assert sample.text == whole
        assert [turn.message for turn in sample.turns] == CHATS[kind].wanted
        for i, start, end in sample.turns:
            stretch = sample.text[start:end]
            behind, expected = (ANY_WORD.split(text)[-1] for text in (stretch, alone[i]))

            assert words(stretch) == words(sample.text, of=i)
            ended = stretch.endswith(own_ends(file))
            assert ended or expected.startswith(behind) or behind.strip() in control_tokens_of(file), (
                kind,
                i,
                behind,
            )


@pytest.mark.parametrize("file", ["trl/qwen3.jinja", "llamacpp/Qwen3.5-4B.jinja", "trl/gemma.jinja"])
def test_policy_as_rendered_keeps_plain_conversations(file: Any) -> None:
    for kind in ("two turns", "consecutive users", "reasoning twice"):
        if file == "trl/gemma.jinja" and kind != "two turns":
            continue  # Gemma's template refuses consecutive users, and prints no reasoning
        (sample,) = samples_of(file, CHATS[kind], history="as-rendered")

        assert all(endings_of(file).is_end(sample.text[start:end], "") for _, start, end in sample.turns)
