"""What is wrong with a mask, by the definition: the sample of a turn is its prompt and its completion.

    found = faults(inference, samples, reader, endings)     # {"header trained"}

The prompt is `render(messages[:i], add_generation_prompt=True)`. What is trained must start where the prompt
ends. It must hold all that message i wrote and the string that ends the turn, and nothing of other messages.

Texts are those of the ids. In them a character is a byte, so that every token has its own characters. Words
(`zq3cA`) tell which message a text is of. This judges any tool by its ids, and shares no code with premask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from os.path import commonprefix
from typing import Any, NamedTuple

from conversation_kinds import ANY_WORD, Message, field_of, message_of, words
from inference import Inference
from oracle import cut_by_closer, history_losses, is_empty, is_opening, lost_names, words_of
from reasoning_blocks import BLOCKS, problems, prompt_tail

PROMPT = "another prompt"
BLOCK = "wrong side of a block"
IDS = "other ids at the seam"
HISTORY_IDS = "other ids in history"
HEADER = "header trained"
TURN = "turn not trained"
REASONING = "reasoning not trained"
CALL = "call not trained"
TEXT = "text not trained"
STOP = "stop not trained"
AFTER = "trained past the end"
OTHERS = "other messages trained"
LOST = "words lost"
BLANK = "right but for a blank"
FAULTS = {
    BLANK: "nothing else is wrong than a blank: one of the header or after the end is trained, or one inside "
    "is not",
    PROMPT: "the text before what is trained is not the prompt of inference",
    BLOCK: "it is, but reasoning is behind a block that the prompt closes, or an answer inside an open one",
    IDS: "it is, but its last ids, between the last message and the answer, are not those of the prompt",
    HISTORY_IDS: "it is, but ids of earlier turns are not those that a server gives to the whole prompt",
    HEADER: "a part of the prompt is trained",
    TURN: "nothing of an answer is trained",
    REASONING: "reasoning, or the mark that opens or closes it, is not trained or not in the text",
    CALL: "the same for a part of a tool call",
    TEXT: "the same for a part of the answer: its words, or the marker of its channel",
    STOP: "the string that ends the turn is not trained, or is another one than the model has to write",
    AFTER: "markers behind the string that ends the turn are trained",
    OTHERS: "words of other messages are trained",
    LOST: "words of the row that no text shows: dropped without a word",
}

_FIELDS = {"r": REASONING, "c": TEXT, "t": CALL}
_MARKS = [mark for pair in BLOCKS for mark in pair]
_MARK = re.compile("|".join(map(re.escape, _MARKS)))
_PIECE = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|[^\W\d_]{4,}")


class Masked(NamedTuple):
    """A sample of any tool: ids, whether each is trained, and which losses the tool has counted."""

    ids: Sequence[int]
    trained: Sequence[bool]
    counted: frozenset[str] = frozenset()


class Endings(NamedTuple):
    """How turns of a template end.

    ends     strings that end a turn
    openers  control tokens: that of the next turn can be what ends a turn
    """

    ends: Sequence[str]
    openers: Sequence[str]


# ==== Ids as text ====


def raw(text: str) -> str:
    """A text with a character for each byte.

    >>> len(raw("ü"))
    2
    """
    return text.encode().decode("latin-1")


class Reader:
    """Ids of a byte-level tokenizer as text."""

    def __init__(self, tokenizer: Any) -> None:
        kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in set(kept)]
        letters = {chr(byte): chr(byte) for byte in kept}
        letters |= {chr(256 + number): chr(byte) for number, byte in enumerate(others)}
        added = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
        self._pieces = {index: raw(content) for index, content in added.items()}
        for token, index in tokenizer.get_vocab().items():
            if index not in added:
                self._pieces[index] = "".join(letters[letter] for letter in token)
        self._tokenizer = tokenizer
        self.ids = lru_cache(maxsize=256)(self._ids)

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text of each id."""
        return [self._pieces[index] for index in ids]

    def reread(self, text: str | None) -> str | None:
        """A text as its own ids show it."""
        return None if text is None else "".join(self.pieces(self.ids(text)))


class View:
    """The text of a sample, and what of it is trained."""

    def __init__(self, masked: Masked, reader: Reader) -> None:
        pieces = reader.pieces(masked.ids)
        self.ids, self.text, self.counted = masked.ids, "".join(pieces), masked.counted
        self.edges = [0, *accumulate(map(len, pieces))]
        self.on = bytearray(len(self.text))
        for is_trained, (start, end) in zip(masked.trained, pairwise(self.edges), strict=True):
            if is_trained:
                self.on[start:end] = b"\1" * (end - start)
        self.words = [(found.start(), found.end(), found[0]) for found in ANY_WORD.finditer(self.text)]

    def is_on(self, start: int, end: int) -> bool:
        """Whether all characters of a stretch are trained."""
        return all(self.on[start:end])

    def parts(self, start: int, end: int, *, trained: bool) -> list[str]:
        """The trained or the untrained parts of a stretch."""
        runs = re.finditer(rb"\x01+" if trained else rb"\x00+", bytes(self.on[start:end]))
        return [self.text[start + run.start() : start + run.end()] for run in runs]


# ==== The judgement ====


def faults(
    inference: Inference, samples: Sequence[Masked], reader: Reader, endings: Endings
) -> frozenset[str]:
    """What is wrong with the samples of a conversation: names of `FAULTS`. Empty answers, and answers that
    open a conversation, are not judged."""
    views = [View(sample, reader) for sample in samples]
    turns = [i for i in inference.chat.wanted if not is_empty(inference.messages[i])]
    found: set[str] = set()
    for i in turns:
        texts = inference.prompt(i), inference.through(i)
        if not is_opening(inference.messages, i) and None not in texts:
            found |= set(_Turn(inference, i, views, reader, endings).faults())
    found |= set(_others(views, turns))
    return frozenset(found - {BLANK}) or frozenset(found)


def _others(views: Sequence[View], turns: Sequence[int]) -> Iterator[str]:
    for view in views:
        for start, end, word in view.words:
            if message_of(word) not in turns and field_of(word) != "n" and any(view.on[start:end]):
                yield OTHERS
                return


class _Turn:
    """One answer: its prompt, and the sample that trains most of it."""

    def __init__(
        self, inference: Inference, i: int, views: Sequence[View], reader: Reader, endings: Endings
    ) -> None:
        self.inference, self.i, self.reader = inference, i, reader
        self.ends = [raw(end) for end in endings.ends]
        self.openers = [raw(opener) for opener in endings.openers]
        self.message: Message = inference.messages[i]
        self.prompt = reader.reread(inference.prompt(i)) or ""
        self.through = reader.reread(inference.through(i)) or ""
        known = set(words(self.prompt, of=i))
        self.own = [word for word in words(self.through, of=i) if word not in known]
        self.view = max(views, key=lambda view: sum(view.is_on(s, e) for s, e, _ in self._shown(view)))
        shown = self._shown(self.view)
        self.first, self.last = (shown[0][0], shown[-1][1]) if shown else (0, 0)
        self.is_trained = any(self.view.is_on(start, end) for start, end, _ in shown)

    def _shown(self, view: View) -> list[tuple[int, int, str]]:
        own = set(self.own)
        return [word for word in view.words if word[2] in own]

    def faults(self) -> Iterator[str]:
        if self._lost():
            yield LOST
        if not self.own:
            return
        if not self.is_trained:
            yield TURN
            return
        low, high = self._bounds()
        start = next(at for at in range(low, high) if self.view.on[at])
        end, at = self._end(high)
        yield from self._start_faults(start)
        yield from self._part_faults(start, at)
        yield from self._end_faults(end, at, high)

    def _lost(self) -> bool:
        """Whether words of this message, or of those before it, are in no text and were not counted."""
        seen = {*words(self.through, of=self.i), *words(self.prompt, of=self.i)}
        fields = {field_of(word) for word in words_of(self.message) if word not in seen}
        written = self.through[len(commonprefix([self.prompt, self.through])) :]
        fields |= {"t" for _ in lost_names(self.message, written)}
        if self.own and self.is_trained:
            before = self.view.text[: self.first]
            fields |= {loss.field for loss in history_losses(self.inference, before, self.i)}
        return bool(fields - self.view.counted)

    # ---- Where it starts ----

    @cached_property
    def _neighbours(self) -> tuple[tuple[int, int | None], tuple[int, int | None]]:
        """Where the words of other messages before and after this one end and start, and whose they are."""
        own, view = set(self.own), self.view
        others = [(first, last, message_of(word)) for first, last, word in view.words if word not in own]
        before = [(last, index) for _, last, index in others if last <= self.first]
        after = [(first, index) for first, _, index in others if first >= self.last]
        return (before[-1] if before else (0, None)), (after[0] if after else (len(view.text), None))

    def _bounds(self) -> tuple[int, int]:
        """Where the text of this message can start and end."""
        (low, index), (high, _) = self._neighbours
        if index is not None and self._is_answer(index):  # the end of that one is its own
            low += self._past_answer(index, self.view.text[low : self.first])
        return low, high

    def _is_answer(self, index: int | None) -> bool:
        messages = self.inference.messages  # words of tool definitions have no message
        return index is not None and index < len(messages) and messages[index]["role"] == "assistant"

    def _past_answer(self, index: int, between: str) -> int:
        """Where an answer before this one ends, in the text between their words."""
        written = _behind_words(self.reader.reread(self.inference.through(index)) or "")
        shown = commonprefix([written, between])
        opener = _first_of(self.openers, between)
        return len(shown) if shown.strip() or opener is None else between.index(opener) + len(opener)

    def _start_faults(self, start: int) -> Iterator[str]:
        text, prompt = self.view.text, self.prompt
        if not text.startswith(prompt):
            yield PROMPT
            header = set(_PIECE.findall(prompt_tail(prompt))) - set(_MARKS)
            if ANY_WORD.search(prompt) and header & set(_PIECE.findall(text[start : self.first])):
                yield HEADER
        elif start < len(prompt):
            yield HEADER if text[start : len(prompt)].strip() else BLANK
        elif start == len(prompt):
            yield from self._id_faults(start)
            yield from self._block_faults(start)

    def _id_faults(self, start: int) -> Iterator[str]:
        """Ids of the prompt, and those of its header: from the first token behind the last word."""
        wanted = self.reader.ids(self.inference.prompt(self.i) or "")
        shown = tuple(self.view.ids[: self.view.edges.index(start)])
        if shown == wanted:
            return
        header = len(_behind_words(self.prompt))
        tails = [self._tail(ids, header) for ids in (shown, wanted)]
        yield HISTORY_IDS if tails[0] == tails[1] else IDS

    def _tail(self, ids: Sequence[int], count: int) -> list[int]:
        """The last ids, as many as have at least `count` characters."""
        tail: list[int] = []
        while count > 0 and len(tail) < len(ids):
            tail.insert(0, ids[len(ids) - 1 - len(tail)])
            count -= len(self.reader.pieces(tail[:1])[0])
        return tail

    def _block_faults(self, start: int) -> Iterator[str]:
        content = str(self.message.get("content"))
        closes = cut_by_closer(content) is not None
        if any(problems(self.prompt, self.view.text[start : self.last], self.i, closes=closes)):
            yield BLOCK

    # ---- What it has ----

    def _part_faults(self, start: int, end: int) -> Iterator[str]:
        """What of the completion is not trained, from its start to the string that ends the turn."""
        view = self.view
        trained = {word for first, last, word in view.words if view.is_on(first, last)}
        yield from {_FIELDS[field_of(word)] for word in self.own if word not in trained}
        if view.text.startswith(self.prompt):
            start = len(self.prompt)
            if self.through.startswith(self.prompt):
                yield from self._form_faults(view.text[start:end])
        for gap in view.parts(start, end, trained=False):
            if not gap.strip():
                yield BLANK
            elif not words(gap):
                yield self._kind_of(gap)

    def _form_faults(self, shown: str) -> Iterator[str]:
        """A completion that is not what the model has to write, though all words are there."""
        written = self.through[len(self.prompt) :]
        if written.startswith(shown) or not set(self.own) <= set(words(shown)):
            return
        if _MARK.findall(written) != _MARK.findall(shown):
            yield REASONING
        else:
            yield CALL if self.message.get("tool_calls") else TEXT

    def _kind_of(self, gap: str) -> str:
        if _MARK.search(gap):
            return REASONING
        return CALL if self.message.get("tool_calls") else TEXT

    # ---- Where it ends ----

    def _end(self, high: int) -> tuple[str | None, int]:
        """The string that ends the turn in the text, and where. If the model does not have to write one, it
        counts only where it is trained."""
        text = self.view.text
        end = _first_of(self.ends, text[self.last : high])
        at = self.last if end is None else text.index(end, self.last)
        if end and self._wanted_end is None and not self.view.is_on(at, at + len(end)):
            return None, self.last
        return end, at

    @cached_property
    def _wanted_end(self) -> str | None:
        return _first_of(self.ends, _behind_words(self.through))

    def _end_faults(self, end: str | None, at: int, high: int) -> Iterator[str]:
        """What is wrong with the string that ends the turn, and with what follows it."""
        view, stop = self.view, at + len(end or "")
        wanted = self._wanted_end
        if wanted is not None and (wanted != end or not view.is_on(at, stop)):
            yield STOP
        if self._is_answer(self._neighbours[1][1]):
            return  # what follows is the start of that one
        follows = "".join(view.parts(stop, high, trained=True))
        own = () if end else (*self.openers, _behind_words(self.through).strip())
        if follows.strip() and follows.strip() not in own:
            yield AFTER
        elif follows and not follows.strip():
            yield BLANK


def _behind_words(text: str) -> str:
    return ANY_WORD.split(text)[-1]


def _first_of(ends: Sequence[str], text: str) -> str | None:
    """The string that ends a turn first in a text; the longest where several do."""
    return min(((text.find(end), -len(end), end) for end in ends if end in text), default=(0, 0, None))[2]


def count(found: Sequence[frozenset[str]]) -> dict[str, int]:
    """How many rows have no fault, and how many have each.

    >>> count([frozenset(), frozenset({HEADER})])["header trained"]
    1
    """
    rows = {name: sum(name in each for each in found) for name in FAULTS}
    return {"right": sum(not each for each in found), **rows}
