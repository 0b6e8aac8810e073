"""Conversation -> text: all renders of one conversation that the mask needs, each made once.

    renders = Renders(conversation, template)
    renders.full()        the traced training text
    renders.prompt(1)     what the model sees at inference before it writes message 1
    renders.through(1)    the text when message 1 has just been written

Nothing is decided here. Renders are lazy.

Cost: if the template does not rewrite history, one traced and two plain renders per assistant turn, each 50
to 150 us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

from ..core.errors import RowError
from ..core.records import TOOLS, Conversation, Message, Origin, Stretch
from .chat_template import ChatTemplate
from .texts import Text
from .traced import TracedDict, TracedList, TracedStr, as_traced, concat, trace

T = TypeVar("T")

REASONING_FIELDS = ("thinking", "reasoning_content")
"""The names under which templates get the reasoning of a message."""


class Renders:
    """The renders of one conversation; every method raises `RowError` if the template raises.

    `as_parts` are the roles whose content the template takes as a list of parts (`content_parts.py`).
    """

    def __init__(
        self,
        conversation: Conversation,
        template: ChatTemplate,
        kwargs: Mapping[str, Any] | None = None,
        as_parts: frozenset[str] = frozenset(),
    ) -> None:
        self.messages = conversation.messages
        self.weight = conversation.weight
        self._template = template
        self._kwargs = {**(kwargs or {}), **conversation.template_kwargs}
        self.tools = None if conversation.tools is None else list(conversation.tools)
        self._plain = [template_message(message, as_parts) for message in self.messages]
        self._cache: dict[tuple[str, int], str] = {}

    @property
    def template_messages(self) -> list[dict[str, Any]]:
        """The messages as the template gets them."""
        return self._plain

    def full(self) -> TracedStr:
        """Return the traced text of the whole conversation. Raises `RowError` if tracing changed it."""
        return self.through_traced(len(self.messages) - 1)

    def through(self, index: int) -> str:
        """Return the text of messages 0 to `index`."""
        return self._once("through", index, lambda: self._render(index + 1, prompt=False))

    def through_traced(self, index: int) -> TracedStr:
        """Return `through`, traced. Raises `RowError` if tracing changed it."""
        return self._checked(index + 1, prompt=False)

    def prompt(self, index: int) -> str:
        """Return what the model sees before it writes message `index`: earlier messages and the generation
        prompt."""
        return self._once("prompt", index, lambda: self._render(index, prompt=True))

    def prompt_traced(self, index: int) -> TracedStr:
        """Return `prompt`, traced."""
        return self._checked(index, prompt=True)

    @cached_property
    def whole(self) -> Text:
        """The text of the whole conversation, as `full` returns it. Raises `RowError` as `full` does."""
        return Text.of(self.full())

    def window(self, index: int) -> Window:
        """Return what the proof of turn `index` looks at."""
        return Window(self, index)

    def tagged(self) -> TracedStr:
        """Return the whole text; text inside `{% generation %}` tags is marked `GENERATED`."""
        text = self._template.render(self._plain, tools=self.tools, kwargs=self._kwargs, mode="tagged")
        if text != self.through(len(self.messages) - 1):
            raise RowError("origin_lost", "the chat template prints another text when its tags are traced")
        return as_traced(text)

    def _once(self, what: str, index: int, render: Callable[[], str]) -> str:
        key = (what, index)
        if key not in self._cache:
            self._cache[key] = render()
        return self._cache[key]

    def _checked(self, count: int, *, prompt: bool) -> TracedStr:
        plain = self.prompt(count) if prompt else self.through(count - 1)
        traced = as_traced(self._render(count, prompt=prompt, traced=True))
        if traced != plain:
            again = self._render(count, prompt=prompt)
            if again != plain:
                raise RowError(
                    "template_unstable", "the chat template gives another text each time it is rendered"
                )
            raise RowError("origin_lost", "the chat template prints another text when its input is traced")
        return traced

    def _render(self, count: int, *, prompt: bool, traced: bool = False) -> str:
        messages = self._traced if traced else self._plain
        try:
            return self._template.render(
                messages[:count],
                tools=self._traced_tools if traced else self.tools,
                kwargs=self._traced_kwargs if traced else self._kwargs,
                add_generation_prompt=prompt,
                mode="traced" if traced else "plain",
            )
        except RowError as error:
            if count == len(messages) and not prompt:
                raise
            part = f"the prompt of message {count}" if prompt else f"messages 0 to {count - 1}"
            raise RowError(error.reason, f"rendering {part}: {error.detail}") from None

    @cached_property
    def _traced(self) -> list[dict[str, Any]]:
        return [
            _traced_message(index, own, message)
            for index, (own, message) in enumerate(zip(self.messages, self._plain, strict=True))
        ]

    @cached_property
    def _traced_tools(self) -> Any:
        return trace(self.tools, TOOLS)

    @cached_property
    def _traced_kwargs(self) -> Any:
        return {key: trace(value, TOOLS) for key, value in self._kwargs.items()}


def settled(conversation: Conversation, renders_of: Callable[[Conversation], Renders]) -> Conversation:
    """Return the conversation in a form that the template accepts.

    Many templates fail on a message with tool calls and no content, and accept empty content.
    """
    messages = conversation.messages
    if all(message.content is not None for message in messages):
        return conversation
    try:
        renders_of(conversation).through(len(messages) - 1)
    except RowError:
        filled = tuple(replace(each, content="") if each.content is None else each for each in messages)
        return replace(conversation, messages=filled)
    return conversation


class Window:
    """The texts that the proof of one turn looks at, from character `base` on; they are equal before it.

    Every method raises `RowError` if the template does. Here, the texts are complete.
    """

    base = 0

    def __init__(self, renders: Renders, index: int) -> None:
        self._renders, self._index = renders, index

    @property
    def whole(self) -> Text:
        """The whole conversation, up to a place behind the turn at least."""
        return self._renders.whole

    def through(self) -> str:
        """Return the text that ends with the turn."""
        return self._renders.through(self._index)

    def through_traced(self) -> Text:
        """Return `through` with its origins."""
        return Text.of(self._renders.through_traced(self._index))

    def prompt(self) -> str:
        """Return the prompt of the turn."""
        return self._renders.prompt(self._index)

    def prompt_traced(self) -> Text:
        """Return `prompt` with its origins."""
        return Text.of(self._renders.prompt_traced(self._index))

    def before(self) -> str:
        """Return the text of the messages before the turn, without a generation prompt; empty if the template
        refuses them."""
        try:
            return self._renders.through(self._index - 1) if self._index else ""
        except RowError:
            return ""


class TracedWindow(Window):
    """A window of texts that are known with their origins, from character `base` on. `texts` makes those
    named `through`, `prompt` and `before` when they are asked for."""

    def __init__(self, whole: Text, texts: Mapping[str, Callable[[], Text]], base: int = 0) -> None:
        self._whole, self._texts, self.base = whole, texts, base
        self._made: dict[str, Text] = {}

    @property
    def whole(self) -> Text:
        return self._whole

    def through(self) -> str:
        return self.through_traced().text

    def through_traced(self) -> Text:
        return self._text_named("through")

    def prompt(self) -> str:
        return self.prompt_traced().text

    def prompt_traced(self) -> Text:
        return self._text_named("prompt")

    def before(self) -> str:
        return self._text_named("before").text

    def _text_named(self, name: str) -> Text:
        if name not in self._made:
            self._made[name] = self._texts[name]()
        return self._made[name]


def template_message(message: Message, as_parts: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return a message as `apply_chat_template` passes it to templates.

    Keys without a value are left out. Reasoning is under its two common names. Content of the roles
    `as_parts` is a list of one part.

    >>> template_message(Message("assistant", "Yes.", reasoning="Hm."))
    {'thinking': 'Hm.', 'role': 'assistant', 'content': 'Yes.', 'reasoning_content': 'Hm.'}
    """
    is_part = message.role in as_parts and message.content is not None
    fields: dict[str, Any] = {
        "thinking": message.reasoning,
        "role": message.role,
        "content": [{"type": "text", "text": message.content}] if is_part else message.content,
        "reasoning_content": message.reasoning,
        "tool_calls": list(message.tool_calls) or None,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        **message.extra,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _traced_message(index: int, own: Message, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of traced strings. A field of an origin names the part: `content.1` is the second
    stretch, `tool_calls.0.name` the name of the first call."""
    traced = {}
    for key, value in message.items():
        origin = Origin(index, own.role, key)
        if key == "role":
            traced[key] = value
        elif key == "tool_calls":
            traced[key] = TracedList(_traced_call(f"{key}.{i}", call, origin) for i, call in enumerate(value))
        elif key == "content" and own.stretches and own.content is not None:
            text = _traced_stretches(own.content, own.stretches, origin)
            traced[key] = text if isinstance(value, str) else [{"type": "text", "text": text}]
        else:
            traced[key] = trace(value, origin)
    return traced


def _traced_call(place: str, call: Any, origin: Origin, names: Sequence[str] = ("name", "arguments")) -> Any:
    """Return a tool call of traced strings; its name and its arguments have origins of their own."""
    own = origin._replace(field=place)
    if not isinstance(call, Mapping):
        return trace(call, own)
    return TracedDict(
        {
            trace(key, own): _traced_call(place, value, origin)
            if key == "function"
            else trace(value, origin._replace(field=f"{place}.{key}") if key in names else own)
            for key, value in call.items()
        }
    )


def _traced_stretches(content: str, stretches: Sequence[Stretch], origin: Origin) -> str:
    edges = [0, *(min(stretch.end, len(content)) for stretch in stretches)]
    return concat(
        TracedStr.of(content[start:end], origin._replace(field=f"{origin.field}.{number}"))
        for number, (start, end) in enumerate(pairwise(edges))
    )
