"""Real ids of every template of the corpus with real tokenizers.

A sample that is a render, and in which no token straddles a seam, has the ids of
`apply_chat_template(tokenize=True)`. Any other has the ids of its pieces: of the prompt, then of the
completion.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import pytest
from conversation_kinds import CHATS, Chat
from places import MakeLabeller
from premask.core.arrays import offsets_of
from premask.core.errors import RowError
from premask.core.recipe import OnDropped, OpenReasoning
from premask.core.records import Sample
from premask.dialects import normalize
from premask.labeller import Labeller
from premask.masking import educational
from premask.masking.chat_template import ChatTemplate
from premask.masking.completions import decide
from premask.masking.reasoning_marks import find_reasoning_marks
from premask.masking.renders import Renders, template_message
from premask.masking.rules import Rules
from premask.masking.segments import masked_texts
from premask.masking.turn_ends import find_turn_ends
from premask.tokens.token_bytes import character_spans
from template_corpus import INDEX, TEMPLATES, compiles, source_of
from tokenizers import Tokenizer

pytestmark = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")


def _talk(*contents: str) -> Chat:
    roles = ("user", "assistant")
    return Chat(tuple({"role": roles[i % 2], "content": text} for i, text in enumerate(contents)))


EDGES = {
    "answers start with newlines": _talk("Hi", "\nHello", "And?", "\n\n  Bye\n"),
    "answers start with blanks": _talk("1", " 2", "3", "  \t4", "5", "6 "),
    "answers start with accents": _talk("e", "\u0301a", "\u0301", "\u0327c"),
    "answers start with other scripts": _talk("Hi", "中文", "🙂", "👩‍👩‍👧 한글", "\u1112", "\u1161\u11ab"),
    "answers start with marks": _talk(":", ":", "'", "'s", "`", "```py\n```", "12", "345"),
}
KINDS = {kind: chat for kind, chat in CHATS.items() if kind != "control tokens in content"} | EDGES
AT_LEAST = {"gemma": 1000, "qwen3": 1000, "llama3_2": 1000}
"""Samples to compare a tokenizer, at the least: fewer would mean that the comparison has gone blind. Each template
is compared with one of the tokenizers, in turns."""


class Compared(NamedTuple):
    """One sample: its ids here, what they must be, and how many seams are straddled."""

    where: tuple[str, str]
    ids: list[int]
    expected: list[int]
    seams: int


@pytest.mark.parametrize("name", AT_LEAST)
def test_ids_are_those_of_inference(make_labeller: MakeLabeller, name: str) -> None:
    labeller = make_labeller(name, chat_template="chatml")
    compared = straddled = 0
    for where, ids, expected, seams in _compared(labeller, list(AT_LEAST).index(name)):
        assert ids == expected, where
        compared, straddled = compared + 1, straddled + bool(seams)

    assert compared >= AT_LEAST[name]
    assert straddled >= 30


def _compared(labeller: Labeller, first: int) -> Iterator[Compared]:
    today = datetime.datetime.now().date()  # noqa: DTZ005  transformers prints the local day
    for file in filter(compiles, list(INDEX)[first :: len(AT_LEAST)]):
        template = ChatTemplate(source_of(file), variables=labeller.tokenizer.variables, date=today)
        rules = _rules(labeller, template)
        for kind, chat in KINDS.items():
            for ids, expected, seams in _of_chat(labeller, template, rules, chat):
                yield Compared((file, kind), ids, expected, seams)


def _rules(labeller: Labeller, template: ChatTemplate) -> Rules:
    ends = find_turn_ends(lambda each: Renders(each, template), stops=labeller.tokenizer.stops)
    marks = find_reasoning_marks(template.sources.values(), lambda each: Renders(each, template))
    return Rules(ends, marks, open_reasoning=OpenReasoning.compose, on_dropped=OnDropped.count)


def _of_chat(
    labeller: Labeller, template: ChatTemplate, rules: Rules, chat: Chat
) -> Iterator[tuple[list[int], list[int], int]]:
    """Our ids of each sample of a conversation that is kept, and what they must be."""
    value = {"messages": list(chat.messages), "tools": chat.tools and list(chat.tools)}
    conversation = normalize(value, "openai")
    try:
        samples = decide(Renders(conversation, template), rules)
    except RowError:
        return
    encoded = labeller.encoder.encode(masked_texts(samples, [0] * len(samples)))
    assert encoded.errors == {}
    for number, sample in enumerate(samples):
        ids = encoded.tokens.ids[slice(*encoded.tokens.offsets[number : number + 2])].tolist()
        seams = int(encoded.seam_tokens[number])
        theirs = None if seams else _rendered(labeller, template, sample, conversation)
        yield ids, _in_pieces(labeller, sample) if theirs is None else theirs, seams


def _rendered(
    labeller: Labeller, template: ChatTemplate, sample: Sample, conversation: object
) -> list[int] | None:
    """The ids of transformers for the messages that a sample shows; None if no render is its text."""
    renders = Renders(conversation, template)  # type: ignore[arg-type]
    for last in range(len(renders.messages) - 1, -1, -1):
        try:
            if renders.through(last) != sample.text:
                continue
        except RowError:
            continue
        found: list[int] = labeller.tokenizer.hf.apply_chat_template(
            [template_message(message) for message in renders.messages[: last + 1]],
            tools=None if renders.tools is None else list(renders.tools),
            chat_template=template.source,
            tokenize=True,
            return_dict=False,
        )
        return found
    return None


# ==== The readable way ====


def _in_pieces(labeller: Labeller, sample: Sample) -> list[int]:
    return [index for index, _, _ in educational.tokens_of(sample, lambda text: _spans(labeller, text))]


def _spans(labeller: Labeller, text: str) -> list[educational.Token]:
    """The tokens of a text as the tokenizer gives them; a token is as long as the bytes that it stands for,
    unless the tokenizer changes the text."""
    backend = labeller.tokenizer.backend
    encoding = backend.encode(text, add_special_tokens=False)
    edges = offsets_of([_size(backend, index) for index in encoding.ids])
    if edges[-1] == len(text.encode()):
        spans = zip(*(each.tolist() for each in character_spans(text, edges[:-1], edges[1:])), strict=True)
        return [(index, *span) for index, span in zip(encoding.ids, spans, strict=True)]
    firsts, lasts = zip(*encoding.offsets, strict=True)
    composed = [  # the accents behind a letter are its own
        last + len(text[last:first]) - len(text[last:first].lstrip(_ACCENTS))
        for last, first in zip(lasts, [*firsts[1:], len(text)], strict=True)
    ]
    starts = map(min, firsts, [0, *composed[:-1]])  # the blanks before a word are its own
    return list(zip(encoding.ids, starts, composed, strict=True))


_ACCENTS = "\u0301\u0327\u1161\u11ab"


@cache
def _size(backend: Tokenizer, index: int) -> int:
    """The bytes of text of a token."""
    name = str(backend.id_to_token(index))
    if index in backend.get_added_tokens_decoder():
        return len(name.encode())
    if "ByteLevel" in str(backend.decoder):
        return len(name)
    return 1 if _BYTE.fullmatch(name) else len(name.replace("\u2581", " ").encode())


_BYTE = re.compile("<0x[0-9A-F]{2}>")
