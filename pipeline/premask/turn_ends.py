"""What ends an assistant turn of a chat template, found by rendering two short conversations.

What a template prints after an assistant message both when a user answers and when nothing follows is
the end of the turn:

    <|im_end|>\\n<|im_start|>user\\n    when a user answers
    <|im_end|>\\n                       when nothing follows    -> `<|im_end|>`

Known stop tokens (the tokenizer's eos, those of the generation config) end a turn wherever they stand
first. A template that prints nothing in common but opens the next turn with a control token (GLM) has
the model stop by writing that token. Cost: a few renders, once per template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from os.path import commonprefix

from .boundaries import Renders, TurnEnds, whole_marker
from .core.errors import RowError
from .core.records import Conversation, Message, span_of
from .traced import runs_of

PROBE = (
    Message("user", "ping"),
    Message("assistant", "pong"),
    Message("user", "pang"),
    Message("assistant", "pung"),
)


def find_turn_ends(
    renders_of: Callable[[Conversation], Renders],
    *,
    stops: Sequence[str] = (),
    control_tokens: Sequence[str] = (),
) -> TurnEnds:
    """The turn ends of a template.

    `stops` are the strings known to stop the model, `control_tokens` those of the tokenizer that can end
    or open a turn (all but bos). Of a template that refuses the probes only the known stops are used.
    """
    try:
        answered = _printed_after_first_answer(renders_of(Conversation(PROBE)))
        last = _printed_after_first_answer(renders_of(Conversation(PROBE[:2])))
    except RowError:
        return TurnEnds(tuple(stops))
    if answered is None or last is None:
        return TurnEnds(tuple(stops))
    always = _always_prompts(renders_of(Conversation(PROBE[:2])), last)
    common = commonprefix([answered, last])
    end = _turn_end(common[: whole_marker(common, len(common), 0)], control_tokens)
    if end:
        known = any(stop in common for stop in stops)
        return TurnEnds(tuple(stops) if known else (*stops, end), always_prompts=always)
    opens = not last.strip() and answered.lstrip().startswith(tuple(control_tokens))
    seen = opens or any(stop in last for stop in stops)
    openers = tuple(control_tokens) if opens else ()
    ended = (
        "" if opens or not any(map(answered.count, control_tokens)) else _turn_end(answered, control_tokens)
    )
    return TurnEnds(tuple(stops), openers, always, seen, ended)


def _turn_end(common: str, control_tokens: Sequence[str]) -> str:
    """What of a text that always follows an answer ends the turn: all up to its first control token.

    >>> _turn_end("<|im_end|>\\n", ["<|im_end|>"]), _turn_end("</s>\\n", []), _turn_end("\\n\\n", [])
    ('<|im_end|>', '</s>', '')
    """
    ends = [found + len(token) for token in control_tokens if (found := common.find(token)) >= 0]
    return common[: min(ends)] if ends else common.rstrip()


def _printed_after_first_answer(renders: Renders) -> str | None:
    """What the template prints between the first answer and the next message's text."""
    text = renders.full()
    answer, question = span_of(runs_of(text), 1), span_of(runs_of(text), 2)
    return None if answer is None else str.__str__(text)[answer[1] : question[0] if question else None]


def _always_prompts(renders: Renders, last: str) -> bool:
    """Whether what stands after the last answer is the generation prompt, though nobody asked for it: then
    it ends as the text between a question and its answer does."""
    text = renders.full()
    question, answer = span_of(runs_of(text), 0), span_of(runs_of(text), 1)
    if question is None or answer is None or renders.through(1) != renders.prompt(2):
        return False
    opening = str.__str__(text)[question[1] : answer[0]]
    shared = commonprefix([last.rstrip()[::-1], opening.rstrip()[::-1]])[::-1]
    header = re.search(r"[<\[\n].*", shared, re.DOTALL)  # from where a marker or a line begins
    return header is not None and bool(header[0].strip())
