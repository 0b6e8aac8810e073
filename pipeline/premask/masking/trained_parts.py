"""Which parts of a completion are trained: all of it, less what the recipe or the row leaves out.

    trained_parts(text, turn, message, rules)      stretches of the completion
    weights_of(text, turns, messages)              the loss weights of the author, by character

The recipe leaves out kinds of text (`train`, `leave_out`), the author of the data parts of a message
(`Message.stretches`). Provenance knows which characters each of them wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..core.errors import RowError
from ..core.records import TEMPLATE, Message, Turn
from .reasoning_marks import COMMON_MARKS
from .renders import REASONING_FIELDS
from .rules import Rules
from .texts import Text, before_blanks

Span = tuple[int, int]


def trained_parts(text: Text, turn: Turn, message: Message, rules: Rules) -> list[Turn]:
    """Return a completion without the parts that are not trained.

    Raises `RowError` if the author marked parts of the message, and the template hides which part is where.
    """
    if message.stretches and any(field in ("content", "*") for *_, field in text.spans(turn.message)):
        detail = (
            f"the chat template hides which part of message {turn.message} is where, and parts are marked"
        )
        raise RowError("origin_lost", detail)
    spans = (
        [(*turn[1:],)] if message.train is not False else list(_stretches(text, turn, message, wanted=True))
    )
    holes = sorted(_holes(text, turn, message, rules))
    parts = []
    for low, high in spans:
        at = low
        for start, end in holes:
            parts.append((at, min(start, high)))
            at = max(at, end)
        parts.append((at, high))
    return [turn._replace(start=start, end=end) for start, end in parts if start < end]


def weights_of(
    text: Text, turns: Sequence[Turn], messages: Sequence[Message], row: float | None
) -> tuple[tuple[int, float], ...]:
    """Return the loss weights of a text, as (length, weight) pairs; none if all are 1. The weight of a row is
    a factor of all others."""
    weights, at, of_row = list[tuple[int, float]](), 0, 1.0 if row is None else float(row)
    for turn in sorted(turns, key=lambda turn: turn.start):
        own = messages[turn.message]
        whole = of_row * (1.0 if own.weight is None else float(own.weight))
        weights.append((turn.start - at, 1.0))
        at = turn.start
        for start, end, field in text.spans(turn.message):
            weight = _stretch_weight(own, field)
            if weight is not None and turn.start <= start and end <= turn.end:
                weights += [(start - at, whole), (end - start, of_row * weight)]
                at = end
        weights.append((turn.end - at, whole))
        at = turn.end
    weights.append((len(text) - at, 1.0))
    kept = tuple((length, weight) for length, weight in weights if length)
    return kept if any(weight != 1 for _, weight in kept) else ()


def last_written(text: Text, turn: Turn) -> int:
    """Return one past the last character that the message of a turn wrote in it."""
    return max((end for _, end, _ in text.spans(turn.message) if end <= turn.end), default=turn.start)


def span_of_field(text: Text, message: int, *fields: str) -> Span | None:
    """Return the first and one past the last character that fields of a message wrote; None if none did."""
    spans = [
        (start, end)
        for start, end, field in text.spans(message)
        if any(field == name or field.startswith(f"{name}.") for name in fields)
    ]
    return (spans[0][0], spans[-1][1]) if spans else None


# ==== What is left out ====


def _holes(text: Text, turn: Turn, message: Message, rules: Rules) -> Iterator[Span]:
    """Yield the parts of a completion that are not trained."""
    train, ends = rules.train, rules.ends
    reasoning = span_of_field(text, turn.message, *REASONING_FIELDS)
    if not train.reasoning and reasoning is not None:
        yield reasoning
    if not train.reasoning and reasoning is None:
        yield from _inline_reasoning(text, turn)
    if not (train.reasoning and train.empty_reasoning) and reasoning is None:
        yield from _empty_reasoning(text, turn, rules)
    content = span_of_field(text, turn.message, "content")
    if not train.text and content is not None:
        yield content
    if not train.tool_calls:
        yield from _tool_call_block(text, turn, rules)
    if not train.end_of_turn:
        printed = before_blanks(text.text, turn.end)  # tags may enclose a newline after the stop
        yield ends.begin(text.text, printed, last_written(text, turn)), turn.end
    for words in rules.leave_out:
        yield from _printed(text, turn, words)
    if message.train is not False:
        yield from _stretches(text, turn, message, wanted=False)


def _inline_reasoning(text: Text, turn: Turn) -> Iterator[Span]:
    """Yield the reasoning that a message has at the beginning of its content, between marks."""
    completion, at = text.text[turn.start : turn.end], turn.start
    mark = COMMON_MARKS.first(completion)
    if mark is not None and mark.opens and not completion[: mark.start].strip():
        at = turn.start + mark.end
        mark = COMMON_MARKS.first(completion[mark.end :])
    elif COMMON_MARKS.state(text.text[max(0, turn.start - 64) : turn.start]) != "open":
        return
    if mark is not None and not mark.opens:
        yield at, at + mark.start


def _empty_reasoning(text: Text, turn: Turn, rules: Rules) -> Iterator[Span]:
    """Yield the empty block of reasoning that the template prints at the beginning of a completion."""
    first = next((start for start, _, _ in text.spans(turn.message) if start >= turn.start), turn.end)
    printed = text.text[turn.start : first]
    if rules.marks.state(printed) == "closed" and rules.marks.only(
        printed
    ):  # an open one has inline reasoning
        yield turn.start, first


def _tool_call_block(text: Text, turn: Turn, rules: Rules) -> Iterator[Span]:
    """Yield a completion from the start of its tool calls, with the markers around them, to its turn end."""
    span = span_of_field(text, turn.message, "tool_calls")
    if span is not None:
        said = max((end for _, end, _ in text.spans(turn.message) if end <= span[0]), default=0)
        yield max(turn.start, said), rules.ends.begin(text.text, turn.end, span[1])


def _printed(text: Text, turn: Turn, words: str) -> Iterator[Span]:
    """Yield where the template prints a string inside a completion."""
    at = text.text.find(words, turn.start, turn.end)
    while at >= 0:
        end = at + len(words)
        if all(origin == TEMPLATE for _, _, origin in text.between(at, end)):
            yield at, end
        at = text.text.find(words, end, turn.end)


def _stretches(text: Text, turn: Turn, message: Message, *, wanted: bool) -> Iterator[Span]:
    """Yield what the stretches of a message wrote that its author marked as trained, or as not trained."""
    for start, end, field in text.spans(turn.message):
        stretch = _stretch(message, field)
        if stretch is not None and message.stretches[stretch].train is wanted and start >= turn.start:
            yield start, min(end, turn.end)


def _stretch(message: Message, field: str) -> int | None:
    """Return the index of the stretch that a field names, such as `content.1`."""
    name, _, number = field.partition(".")
    return int(number) if message.stretches and name == "content" and number else None


def _stretch_weight(message: Message, field: str) -> float | None:
    stretch = _stretch(message, field)
    return None if stretch is None else message.stretches[stretch].weight
