"""Which characters of a text are completions: found by provenance, proved against inference.

The completion of an assistant message i is the text after
`render(messages[:i], add_generation_prompt=True)`, up to and including the turn end. Two independent methods
must agree on it, or the row is rejected:

    inference    the prompt of message i is a prefix of the text; the completion starts where it ends
    provenance   every character has an origin (`traced.py`); the completion contains all text of message i,
                 and no text of another message

Example: `<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n` has one completion,
`Hello<|im_end|>`. Header and newline are never trained.

Some templates rewrite history (Qwen3 drops earlier reasoning): the whole conversation shows a turn
differently than inference did. With `History.split`, such a turn becomes a sample of its own, which ends with
it.

Cost: two plain renders per turn, and comparisons of text.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from os.path import commonprefix
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of
from ..core.errors import RowError
from ..core.recipe import History, Train, Turns
from ..core.records import (
    GENERATED,
    MIXED,
    NOT_TRAINED,
    PROOFS,
    TEMPLATE,
    WRITERS,
    MaskedTexts,
    Message,
    Runs,
    Sample,
    Turn,
    content_end,
    content_start,
    cut,
    placed,
    span_of,
    wrote,
)
from .prompt_ends import find_opening, generation_prompt_start, prompt_end, whole_marker
from .renders import Renders
from .traced import TracedStr, runs_of
from .turn_ends import TurnEnds


@dataclass
class _Draft:
    """A sample under construction: a rendered text, and the completions proved in it so far."""

    text: str
    runs: Runs
    turns: list[Turn] = field(default_factory=list)

    @classmethod
    def of(cls, traced: TracedStr) -> _Draft:
        return cls(str.__str__(traced), runs_of(traced))


_ALL = Train()


def decide(
    renders: Renders, ends: TurnEnds, *, history: History = History.split, train: Train = _ALL, eos: str = ""
) -> tuple[Sample, ...]:
    """Return the samples of a conversation, with what is trained in them.

    The first sample is the whole conversation, unless nothing in it can be trained. `eos` is appended to a
    sample whose last turn has no turn end. Raises `RowError` if the mask cannot be proved, or if nothing
    would be trained.
    """
    wanted = _wanted(renders.messages, history, train)
    drafts = [_Draft.of(renders.full())]
    for index in reversed(wanted):
        if renders.messages[index].role != "assistant":
            drafts[0].turns.append(_own_text(renders, drafts[0], index))
        elif history is History.as_rendered:
            drafts[0].turns.append(_as_rendered(renders, ends, drafts[0], index))
        else:
            _place(renders, ends, drafts, index)
    proof = "as-rendered" if history is History.as_rendered else "split" if len(drafts) > 1 else "inference"
    for draft in drafts:
        _end_turns(draft, ends, eos)
    samples = [_sample(renders, draft, ends, train, proof) for draft in drafts]
    return _with_turns(samples)


def decide_by_tags(renders: Renders, ends: TurnEnds, train: Train = _ALL) -> tuple[Sample, ...]:
    """Return the sample of a conversation, trained inside the `{% generation %}` tags of the template.

    A stretch belongs to the message that wrote most of it. Stretches of messages that are not trained are
    left out. Raises `RowError` if nothing is left.
    """
    wanted = _wanted(renders.messages, History.split, train)
    draft = _Draft.of(renders.full())
    for start, end, origin in placed(runs_of(renders.tagged())):
        message = _writer(draft.runs, start, end) if origin.message == GENERATED.message else None
        if message in wanted:
            draft.turns.append(Turn(message, start, end))
    parts = [part for turn in draft.turns for part in _trained_parts(draft, turn, ends, train)]
    return _with_turns([Sample(draft.text, tuple(parts), draft.runs, "generation-tags")])


def masked_texts(samples: Sequence[Sample], rows: Sequence[int]) -> MaskedTexts:
    """Cut samples into segments; `rows` are the rows of the samples in their batch, ascending."""
    segments = [_segments(sample) for sample in samples]
    flat = [segment for of_sample in segments for segment in of_sample]
    sizes, writers, messages = np.array([each[:3] for each in flat], dtype=np.int64).reshape(-1, 3).T
    weights = None
    if any(sample.weights for sample in samples):
        weights = np.array([each.weight for each in flat], dtype=np.float32)
    return MaskedTexts(
        [sample.text for sample in samples],
        np.array(rows, dtype=np.int64),
        np.array([PROOFS.index(sample.proof) for sample in samples], dtype=np.int8),
        offsets_of([len(of_sample) for of_sample in segments]),
        sizes,
        writers,
        messages,
        np.array([each.seam for each in flat], dtype=bool),
        weights,
    )


class _Segment(NamedTuple):
    size: int
    writer: int
    message: int
    seam: bool
    weight: float


def _segments(sample: Sample) -> list[_Segment]:
    """Cut a text where the writer changes and at the edges of completions; sizes in bytes."""
    text, seams = sample.text, frozenset(sample.seams)
    runs, turns = deque(placed(sample.runs)), deque(sample.turns)
    weights = deque(_ends(sample.weights))
    edges = {0, len(text), *seams, *(end for _, end, _ in runs), *(end for end, _ in weights)}
    edges.update(edge for turn in turns for edge in (turn.start, turn.end))
    segments = []
    for start, end in pairwise(sorted(edges)):
        while runs and runs[0][1] <= start:
            runs.popleft()
        while turns and turns[0].end <= start:
            turns.popleft()
        while weights and weights[0][0] <= start:
            weights.popleft()
        writer = WRITERS.index(runs[0][2].role) if runs else 0
        trained = bool(turns) and turns[0].start <= start
        message = turns[0].message if trained else NOT_TRAINED
        size = end - start if text.isascii() else len(text[start:end].encode())
        weight = weights[0][1] if weights else 1.0
        segments.append(_Segment(size, writer, message, start in seams, weight))
    return segments


def _ends(weights: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return (end in characters, weight) pairs."""
    return [
        (end, weight) for end, (_, weight) in zip(accumulate(n for n, _ in weights), weights, strict=True)
    ]


def _with_turns(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the samples with trained text; raise `RowError` if there is none."""
    kept = tuple(sample for sample in samples if sample.turns)
    if not kept:
        raise RowError("nothing_trained", "the template and the recipe leave no text of the row to train")
    return kept


def _wanted(messages: Sequence[Message], history: History, train: Train) -> list[int]:
    """Return the indices of the messages to train: those of the recipe's roles, unless the row excludes
    them."""
    wanted = [
        i for i, message in enumerate(messages) if message.role in train.roles and message.train is not False
    ]
    if not wanted:
        raise RowError("nothing_trained", f"no message of role {' or '.join(train.roles)} is to be trained")
    return wanted[-1:] if history is History.last or train.turns is Turns.last else wanted


def _writer(runs: Runs, start: int, end: int) -> int | None:
    """Return the message that wrote most characters of a stretch."""
    written: Counter[int] = Counter()
    for length, origin in cut(runs, start, end):
        if origin.message >= 0:
            written[origin.message] += length
    return written.most_common(1)[0][0] if written else None


def _place(renders: Renders, ends: TurnEnds, drafts: list[_Draft], index: int) -> None:
    """Prove the completion of a message, and add it to a text that shows it and its prompt as inference did.

    If no text does, a new one is added, which ends with the message.
    """
    through, whole = renders.through(index), drafts[0]
    span = span_of(whole.runs, index)
    if span is not None and whole.text[: span[1]] == through[: span[1]]:
        turn = _prove(renders, ends, whole.runs, through, index)
        if whole.text.startswith(through[: turn.end]):
            whole.turns.append(turn)
            return
    own = _Draft.of(renders.through_traced(index))
    turn = _prove(renders, ends, own.runs, through, index)
    home = next((draft for draft in drafts if draft.text.startswith(through[: turn.end])), None)
    if home is None:
        home = own
        drafts.append(home)
    home.turns.append(turn)


def _prove(renders: Renders, ends: TurnEnds, runs: Runs, through: str, index: int) -> Turn:
    """Return the completion of message `index` in `through`, a text that ends with that message.

    `runs` are the origins of the text, at least up to the last character of the message.
    """
    span = _written(renders, runs, index)
    start = prompt_end(renders, through, index, span[0])
    _check_origins(renders, runs, index, start, span)
    return Turn(index, start, ends.after(through, span[1]))


def _written(renders: Renders, runs: Runs, index: int) -> tuple[int, int]:
    """Return the span from the first to one past the last character that a message wrote."""
    span = span_of(runs, index)
    if span is None:
        raise RowError("content_dropped", f"the chat template prints nothing of message {index} (assistant)")
    if renders.messages[index].tool_calls and not wrote(runs, index, "tool_calls"):
        raise RowError(
            "content_dropped", f"the chat template does not print the tool calls of message {index}"
        )
    return span


def _check_origins(renders: Renders, runs: Runs, index: int, start: int, span: tuple[int, int]) -> None:
    """Raise `RowError` unless provenance agrees with a completion.

    No text of the message may come before it, except what the generation prompt already shows, such as
    `<think>`. No text of another message may be inside.
    """
    if span[0] < start and span[0] < content_end(runs_of(renders.prompt_traced(index))):
        raise RowError("boundary_unclear", f"message {index} is printed before its own prompt ends")
    for _, origin in cut(runs, start, span[1]):
        if origin == MIXED:
            raise RowError("origin_lost", f"the chat template hides whose text is in message {index}")
        if origin != TEMPLATE and origin.message != index:
            raise RowError("boundary_unclear", f"text of {origin.label} is inside message {index}")


def _as_rendered(renders: Renders, ends: TurnEnds, whole: _Draft, index: int) -> Turn:
    """Return the completion of a message as the whole conversation shows it, without regard to inference."""
    first, last = _written(renders, whole.runs, index)
    last, end = _end_as_rendered(renders, whole, ends, index, last)
    try:
        start = prompt_end(renders, whole.text, index, first)
    except RowError:
        opening = renders.prompt(index)[generation_prompt_start(renders, index) :].lstrip()
        shown = find_opening(opening, whole.text, first)
        if shown is None or shown[0] < content_end(cut(whole.runs, 0, first)):
            raise
        start = shown[1]
    _check_origins(renders, whole.runs, index, start, (first, last))
    return Turn(index, start, end)


def _end_as_rendered(
    renders: Renders, whole: _Draft, ends: TurnEnds, index: int, last: int
) -> tuple[int, int]:
    """Return where the text of a message and its turn end in the whole conversation.

    After the text of the message, the template prints the same as when nothing follows, up to the stop. Only
    after that may it print text of the message again (Gemma 4: the name of the tool beside its result). If it
    prints something else, the turn ends like the turns of the probes when a user answers.
    """
    own = _Draft.of(renders.through_traced(index))
    at = _written(renders, own.runs, index)[1]
    tail = own.text[at : ends.after(own.text, at)]
    written = [end for _, end, origin in placed(whole.runs) if origin.message == index]
    shown = [end for end in written if tail and whole.text.startswith(tail, end)]
    if shown:
        return shown[-1], shown[-1] + len(tail)
    if tail[: ends.begin(tail, len(tail), 0)].strip():
        detail = f"the whole text ends message {index} differently than when it was just written"
        raise RowError("boundary_unclear", detail)
    following = content_start(whole.runs, last)
    rest = whole.text[last:following]
    if following is None or any(stop in rest for stop in ends.stops):
        return last, ends.after(whole.text[:following], last)
    shared = commonprefix([rest, own.text[at:]])
    end = last + len(shared[: whole_marker(shared, len(shared), 0)].rstrip())
    return last, end + len(ends.answered) if whole.text.startswith(ends.answered, end) else end


def _own_text(renders: Renders, whole: _Draft, index: int) -> Turn:
    """Return what a message wrote that is not the assistant's; inference does not cover it."""
    span = _written(renders, whole.runs, index)
    _check_origins(renders, whole.runs, index, span[0], span)
    return Turn(index, *span)


def _end_turns(draft: _Draft, ends: TurnEnds, eos: str) -> None:
    """Extend turns that end with the opener of the next turn; append eos after a last turn without an end."""
    draft.turns = [
        turn._replace(end=ends.opener_after(draft.text, turn.end, _last_written(draft, turn)))
        for turn in draft.turns
    ]
    last = max(draft.turns, key=lambda turn: turn.end, default=None)
    if not eos or last is None or draft.text[last.end :].strip():
        return
    if ends.begin(draft.text, last.end, _last_written(draft, last)) < last.end:
        return
    draft.text = draft.text[: last.end] + eos
    draft.runs = (*cut(draft.runs, 0, last.end), (len(eos), TEMPLATE))
    draft.turns[draft.turns.index(last)] = last._replace(end=len(draft.text))


def _last_written(draft: _Draft, turn: Turn) -> int:
    """Return one past the last character that the message of a turn wrote in it."""
    span = span_of(cut(draft.runs, 0, turn.end), turn.message)
    return span[1] if span else turn.start


def _sample(renders: Renders, draft: _Draft, ends: TurnEnds, train: Train, proof: str) -> Sample:
    turns = sorted(draft.turns, key=lambda turn: turn.start)
    for before, after in pairwise(turns):
        if after.start < before.end:
            detail = f"the completions of messages {before.message} and {after.message} overlap"
            raise RowError("boundary_unclear", detail)
    for turn in turns:
        _check_origins(renders, draft.runs, turn.message, turn.start, (turn.start, turn.end))
    parts = [part for turn in turns for part in _trained_parts(draft, turn, ends, train)]
    return Sample(draft.text, tuple(parts), draft.runs, proof)


def _trained_parts(draft: _Draft, turn: Turn, ends: TurnEnds, train: Train) -> list[Turn]:
    """Return a completion without the parts that the recipe does not train."""
    holes = []
    if not train.reasoning:
        holes.append(span_of(draft.runs, turn.message, ("thinking", "reasoning_content")))
    if not train.tool_calls:
        holes.append(_tool_call_block(draft, turn, ends))
    if not train.end_of_turn:
        printed = len(draft.text[: turn.end].rstrip())  # tags may enclose a newline after the stop
        holes.append((ends.begin(draft.text, printed, _last_written(draft, turn)), turn.end))
    parts, at = [], turn.start
    for start, end in sorted(hole for hole in holes if hole is not None):
        parts.append(turn._replace(start=at, end=max(at, start)))
        at = max(at, end)
    parts.append(turn._replace(start=at, end=max(at, turn.end)))
    return [part for part in parts if part.start < part.end]


def _tool_call_block(draft: _Draft, turn: Turn, ends: TurnEnds) -> tuple[int, int] | None:
    """Return a completion from the start of its tool calls, with the markers around them, to its turn end."""
    span = span_of(draft.runs, turn.message, ("tool_calls",))
    if span is None:
        return None
    said = span_of(cut(draft.runs, 0, span[0]), turn.message)
    return max(turn.start, said[1] if said else 0), ends.begin(draft.text, turn.end, span[1])
