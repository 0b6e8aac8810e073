"""What inference does with a conversation: plain renders of transformers.

    P(i) = render(messages[:i], add_generation_prompt=True)    what the model sees
    S(i) = render(messages[:i + 1])                            the text once it has answered

Shares no code with `pipeline`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

from conversation_kinds import Chat, Message, words
from transformers.utils import chat_template_utils

DATE = datetime.date(2025, 1, 1)

_NOT_FOR_TEMPLATES = frozenset({"train", "weight"})


@contextmanager
def frozen_date() -> Iterator[None]:
    """transformers' `strftime_now` on the day that recipes have by default."""
    clock = mock.Mock(wraps=datetime.datetime)
    clock.now.side_effect = lambda: datetime.datetime.combine(DATE, datetime.time())
    with mock.patch.object(chat_template_utils, "datetime", clock):
        yield


class Inference:
    """The renders of a chat by transformers, each made once; None where the template raises."""

    def __init__(
        self,
        source: str,
        variables: Mapping[str, Any],
        chat: Chat,
        messages: Sequence[Message] | None = None,
    ) -> None:
        self.chat = chat
        self.messages = tuple(chat.messages if messages is None else messages)
        self._given = tuple(map(as_parts, self.messages)) if takes_parts(source) else self.messages
        self._source, self._variables = source, variables
        self._cache: dict[tuple[int, bool], str | None] = {}

    def prompt(self, i: int) -> str | None:
        """What the model sees before it writes message i."""
        return self._render(i, prompt=True)

    def through(self, i: int) -> str | None:
        """The text when message i has just been written."""
        return self._render(i + 1, prompt=False)

    def full(self) -> str | None:
        """The text of the whole conversation."""
        return self.through(len(self.messages) - 1)

    def _render(self, count: int, *, prompt: bool) -> str | None:
        if (count, prompt) not in self._cache:
            self._cache[count, prompt] = render(
                self._source, self._variables, self._given[:count], self.chat.tools, prompt=prompt
            )
        return self._cache[count, prompt]


def as_parts(message: Message) -> Message:
    """A message whose content is a list of parts."""
    content = message.get("content")
    return (
        {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message
    )


@cache
def takes_parts(source: str) -> bool:
    """Whether a template prints content only if it is given as parts."""
    texts = [{"role": "user", "content": "zq0uA"}, {"role": "assistant", "content": "zq1cA"}]
    lists = [as_parts(message) for message in texts]
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    shown = [words(render(source, variables, messages) or "") for messages in (texts, lists)]
    return len(shown[0]) < 2 == len(shown[1])


def render(
    source: str,
    variables: Mapping[str, Any],
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]] | None = None,
    *,
    prompt: bool = False,
) -> str | None:
    """transformers' render of OpenAI messages; None where the template raises."""
    chat = [{k: v for k, v in m.items() if v is not None and k not in _NOT_FOR_TEMPLATES} for m in messages]
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            [chat],
            tools=None if tools is None else list(tools),
            chat_template=source,
            add_generation_prompt=prompt,
            **variables,
        )
    except Exception:  # noqa: BLE001  a template can raise anything
        return None
    return str(rendered[0])
