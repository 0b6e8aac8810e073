"""Ids of every template of the corpus with real tokenizers are those of `apply_chat_template`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from oracle import CHATS
from places import MakeLabeller
from premask.core.errors import RowError
from premask.dialects import normalize
from premask.labeller import Labeller
from premask.masking.chat_template import ChatTemplate
from premask.masking.completions import decide
from premask.masking.renders import Renders, template_message
from premask.masking.segments import masked_texts
from premask.masking.turn_ends import find_turn_ends
from template_corpus import INDEX, TEMPLATES, compiles, source_of

pytestmark = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")

KINDS = [kind for kind in CHATS if kind != "control tokens in content"]
AT_LEAST = 3000
"""Samples to compare a tokenizer, at the least: fewer would mean that the comparison has gone blind."""


@pytest.mark.parametrize("name", ["gemma", "qwen3", "llama3_2"])
def test_ids_are_those_of_apply_chat_template(make_labeller: MakeLabeller, name: str) -> None:
    labeller = make_labeller(name, chat_template="chatml")
    compared = 0
    for file, kind, ours, theirs in _ids(labeller):
        assert ours == theirs, (file, kind)
        compared += 1

    assert compared >= AT_LEAST


def _ids(labeller: Labeller) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Our ids of each whole conversation that is kept, and those of transformers."""
    today = datetime.datetime.now().date()  # noqa: DTZ005  transformers prints the local day
    for file in filter(compiles, INDEX):
        template = ChatTemplate(source_of(file), variables=labeller.tokenizer.variables, date=today)
        ends = find_turn_ends(lambda each, t=template: Renders(each, t), stops=labeller.tokenizer.stops)
        for kind in KINDS:
            found = _whole(labeller, template, ends, kind)
            if found is not None:
                yield file, kind, *found


def _whole(
    labeller: Labeller, template: ChatTemplate, ends: Any, kind: str
) -> tuple[list[int], list[int]] | None:
    chat = CHATS[kind]
    value = {"messages": list(chat.messages), "tools": chat.tools and list(chat.tools)}
    conversation = normalize(value, "openai")
    renders = Renders(conversation, template)
    try:
        sample, *_ = decide(renders, ends)
    except RowError:
        return None
    if sample.text != renders.through(len(conversation.messages) - 1):
        return None
    encoded = labeller.encoder.encode(masked_texts([sample], [0]))
    assert encoded.errors == {}
    theirs = labeller.tokenizer.hf.apply_chat_template(
        [template_message(message) for message in conversation.messages],
        tools=None if conversation.tools is None else list(conversation.tools),
        chat_template=template.source,
        tokenize=True,
        return_dict=False,
    )
    return encoded.tokens.ids.tolist(), theirs
