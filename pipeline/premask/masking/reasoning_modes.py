"""Template arguments that are chosen per conversation: `template_kwargs: {enable_thinking: auto}`.

    mode = find_mode(template, "enable_thinking", renders=labeller.renders, decides=labeller.decide)
    mode.value(reasoning=True), mode.value(reasoning=False)      # True, False

Many templates have a mode for answers with reasoning and another for answers without: the generation prompt
opens a reasoning block in one and closes it in the other. Which value is which mode is found by rendering
one conversation of each kind with all values that the template knows: True, False, and the constants that it
compares the argument with. A value fits if the text of the conversation begins with its prompt at inference,
no word is missing, and the labeller accepts it.

Cost: about a hundred renders, once per argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from ..core.errors import RecipeError, RowError
from ..core.records import Conversation, Message, Sample
from .argument_values import compared_values
from .chat_template import ChatTemplate
from .reasoning_marks import COMMON_MARKS, ReasoningMarks
from .renders import Renders
from .template_arguments import arguments_of, is_about_reasoning

AUTO = "auto"
"""The value of an argument that is chosen per conversation."""

MAX_VALUES = 12
"""Values of an argument that are tried."""

_OFF = re.compile("none|off|no|no.?think(ing)?|non.?think(ing)?|disabled?|chat|false|instruct", re.IGNORECASE)
_NEGATED = re.compile("^(no|skip|disable|hide|without|force_no)_", re.IGNORECASE)

_WORDS, _ANSWER, _PRINTED = "zqreasonA zqreasonB", "zqanswerA zqanswerB", "zqvalueA"
_USER = Message("user", "zquserA zquserB")
_WITH = (_USER, Message("assistant", _ANSWER, reasoning=_WORDS))
_INLINED = (_USER, Message("assistant", f"<think>\n{_WORDS}\n</think>\n\n{_ANSWER}"))
_WITHOUT = (_USER, Message("assistant", _ANSWER))


@dataclass(frozen=True)
class Mode:
    """The values of an argument for conversations with reasoning and without."""

    name: str
    with_reasoning: Any
    without: Any

    def value(self, *, reasoning: bool) -> Any:
        """Return the value for a conversation."""
        return self.with_reasoning if reasoning else self.without

    def label(self, *, reasoning: bool) -> str:
        """Return the name under which conversations with this value are counted.

        >>> Mode("thinking_mode", "thinking", "chat").label(reasoning=False)
        'auto_thinking_mode_chat'
        """
        value = re.sub("[^a-z0-9]+", "_", str(self.value(reasoning=reasoning)).lower())
        return f"{AUTO}_{self.name}_{value}"


def automatic(template: ChatTemplate, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments of a recipe that are chosen per conversation.

    Where a template has a value `auto` of its own, that is what is meant.
    """
    names = [name for name, value in kwargs.items() if value == AUTO]
    return tuple(name for name in names if AUTO not in compared_values(template, name))


def has_reasoning(conversation: Conversation, marks: ReasoningMarks = COMMON_MARKS) -> bool:
    """Whether an assistant message that may be trained has reasoning: in its field, or at the start of its
    content between marks, those of the template or common ones.

    >>> has_reasoning(Conversation((Message("assistant", "<think>Hm.</think>Yes."),)))
    True
    """
    return any(
        bool((message.reasoning or "").strip())
        or any(_begins_with_reasoning(message.content or "", each) for each in (marks, COMMON_MARKS))
        for message in conversation.messages
        if message.role == "assistant" and message.train is not False
    )


def _begins_with_reasoning(content: str, marks: ReasoningMarks) -> bool:
    """Whether content begins with a block of reasoning that is closed and not blank."""
    opener = marks.first(content)
    if opener is None or not opener.opens or content[: opener.start].strip():
        return False
    rest = content[opener.end :]
    closer = marks.first(rest)
    return closer is not None and not closer.opens and bool(rest[: closer.start].strip())


def find_mode(
    template: ChatTemplate,
    name: str,
    *,
    renders: Callable[[Conversation], Renders],
    decides: Callable[[Conversation], Sequence[Sample]],
) -> Mode:
    """Find the values of an argument for conversations with and without reasoning.

    `decides` is the decision that the mask is made by. Raises `RecipeError` if the argument changes nothing
    about reasoning.
    """
    values = _values(template, name, renders)
    tries = [_Try(renders, decides, {name: value}) for value in values]
    default = _Try(renders, decides, {}).prompts()
    withs = [each.fit(_WITH) for each in tries]
    if not any(fit.accepted for fit in withs):  # the template reads no field for reasoning
        withs = [each.fit(_INLINED) for each in tries]
    without = [each.fit(_WITHOUT) for each in tries]
    pairs = [
        _Pair(name, (values[i], values[j]), (withs[i], without[j]), (withs[j], without[i]), one == default)
        for (i, one), (j, other) in product(enumerate(each.prompts() for each in tries), repeat=2)
        if one != other
    ]
    if not any(fit.accepted for fit in withs):  # no render shows reasoning: the words decide
        pairs = [each for each in pairs if each.is_meant] or pairs
    best = max(pairs, key=_Pair.rank, default=None)
    if best is None or not (best.is_proved or best.is_meant):
        raise _no_mode(template, name)
    return Mode(name, *best.values)


def _no_mode(template: ChatTemplate, name: str) -> RecipeError:
    kin = [each for each in arguments_of(template) if is_about_reasoning(each) and each != name]
    hint = f"or try {' or '.join(kin)}; " if kin else ""
    return RecipeError(
        f"template_kwargs: {name}: auto: {template.name} reads {name}, but no value changes how reasoning is "
        f"printed; {hint}give it a value"
    )


def _is_on(name: str, value: Any) -> bool:
    """Whether a value asks for reasoning, by its words.

    >>> _is_on("enable_thinking", True), _is_on("skip_thinking", True), _is_on("thinking_mode", "chat")
    (True, False, False)
    """
    on = not _OFF.fullmatch(value) if isinstance(value, str) else bool(value)
    return on is not bool(_NEGATED.match(name))


# ==== Two values ====


class _Fit(NamedTuple):
    """How well a value fits a conversation; more is better.

    exact     the text begins with the prompt, no word is missing, and the labeller accepts it
    accepted  the labeller accepts it, and no word is missing
    direct    the first thing that the model has to write are words of the message
    """

    exact: bool
    accepted: bool
    direct: bool


class _Pair(NamedTuple):
    """Two values of an argument: for conversations with reasoning, and for those without.

    fits        how well each fits its own conversations
    swapped     how well they fit if they change places
    is_default  whether the first is what the template does without the argument
    """

    name: str
    values: tuple[Any, Any]
    fits: tuple[_Fit, _Fit]
    swapped: tuple[_Fit, _Fit]
    is_default: bool

    def rank(self) -> tuple[int, ...]:
        """Return what the best pair has most of; the first of equal pairs is taken."""
        exact, accepted, direct = (sum(both) for both in zip(*self.fits, strict=True))
        same_type = type(self.values[0]) is type(self.values[1])
        return exact, accepted, self.is_meant, direct, same_type, self.is_default

    @property
    def is_proved(self) -> bool:
        """Whether a render shows that the values must not be swapped."""
        return any(fit > other for fit, other in zip(self.fits, self.swapped, strict=True))

    @property
    def is_meant(self) -> bool:
        """Whether the words say that the first value asks for reasoning, and the second for none."""
        on, off = (_is_on(self.name, value) for value in self.values)
        return is_about_reasoning(self.name) and on and not off


# ==== One value ====


class _Try:
    """An argument with one value."""

    def __init__(
        self,
        renders: Callable[[Conversation], Renders],
        decides: Callable[[Conversation], Sequence[Sample]],
        kwargs: dict[str, Any],
    ) -> None:
        self._renders, self._decides = renders, decides
        self._kwargs = kwargs

    def _of(self, messages: tuple[Message, ...]) -> Conversation:
        return Conversation(messages, template_kwargs=self._kwargs)

    def _rendered(self, messages: tuple[Message, ...]) -> tuple[str, str]:
        """Return the prompt at inference and the text of a conversation; empty if the template raises."""
        renders = self._renders(self._of(messages))
        try:
            return renders.prompt(1), renders.through(1)
        except RowError:
            return "", ""

    def prompts(self) -> tuple[str, str]:
        """Return what the model sees with this value; empty if the template raises."""
        return self._rendered(_WITH)[0], self._rendered(_WITHOUT)[0]

    def fit(self, messages: tuple[Message, ...]) -> _Fit:
        """Return how well the value fits a conversation."""
        prompt, text = self._rendered(messages)
        words = [_WORDS, _ANSWER] if messages is not _WITHOUT else [_ANSWER]
        if not all(each in text for each in words) or not self._is_accepted(messages):
            return _Fit(exact=False, accepted=False, direct=False)
        exact = text.startswith(prompt)
        direct = exact and text[len(prompt) :].lstrip().startswith(words[0])
        return _Fit(exact, accepted=True, direct=direct)

    def _is_accepted(self, messages: tuple[Message, ...]) -> bool:
        try:
            return bool(self._decides(self._of(messages)))
        except RowError:
            return False


def _values(template: ChatTemplate, name: str, renders: Callable[[Conversation], Renders]) -> list[Any]:
    """Return the values to try, the likeliest first: True and False, and what the template compares with.

    True and False are left out if the template prints the argument, or compares it with numbers.
    """
    numbers = any(type(each) is int for each in compared_values(template, name, itself=True))
    plain = [] if numbers or _is_printed(name, renders) else [True, False]
    keyed = {(type(each), each): each for each in (*plain, *compared_values(template, name))}  # 1 is not True
    values = list(keyed.values())[:MAX_VALUES]
    if any(isinstance(each, str) for each in values) and "none" not in values:
        values.append("none")  # what is compared may all be ways to reason
    return values


def _is_printed(name: str, renders: Callable[[Conversation], Renders]) -> bool:
    """Whether a template prints the value itself, as gpt-oss does with `reasoning_effort`."""
    try:
        return _PRINTED in renders(Conversation(_WITHOUT, template_kwargs={name: _PRINTED})).prompt(1)
    except RowError:
        return False
