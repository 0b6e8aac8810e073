"""Renders of one conversation from one run of its template.

    template = PrefixTemplate(ChatTemplate(source))
    renders = PrefixRenders(conversation, template)
    renders.full(), renders.prompt(3), renders.through(3)

`PrefixRenders` answers as `Renders` does. Its run has the versions that the proof of each assistant turn
asks for. The run prints traced text only; so the text of the whole conversation is rendered the plain way,
too, and must be the same. Other versions, versions in which the template raises, and conversations that a run
does not follow are rendered the plain way; `PrefixTemplate.reasons` counts why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ...core.records import Conversation
from ..chat_template import ChatTemplate
from ..renders import Renders
from ..traced import JoinedStr, as_traced
from .run import Run
from .traced_environment import TracedPrefixEnvironment
from .units import Units, Unsplit
from .versions import NotFollowed, Version


class PrefixTemplate:
    """A chat template, cut into units.

    template   the template itself
    reasons    why conversations were rendered the plain way, and how often
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template
        self.reasons: Counter[str] = Counter()
        self._units: dict[str, Units] = {}
        self._unsplit: dict[str, str] = {}
        for name, source in template.sources.items():
            try:
                self._units[name] = Units(TracedPrefixEnvironment(template.date), source)
            except Unsplit as error:
                self._unsplit[name] = f"unsplit: {error}"

    @property
    def unsplit(self) -> dict[str, str]:
        """The sources that could not be cut, and why."""
        return dict(self._unsplit)

    def run(
        self,
        messages: list[dict[str, Any]],
        versions: list[Version],
        tools: Any,
        kwargs: Mapping[str, Any],
    ) -> Run:
        """Run the template for some versions of traced messages. Raises `NotFollowed`."""
        which = "tool_use" if tools is not None and "tool_use" in self.template.sources else "default"
        if which in self._unsplit:
            raise NotFollowed(self._unsplit[which])
        variables = {"documents": None, **self.template.variables, **kwargs, "tools": tools}
        return Run(self._units[which], versions, messages, variables)


class PrefixRenders(Renders):
    """The renders of one conversation, from one run of its template where that is possible.

    `wanted` are the messages whose turns are to be proved; without it, those of the assistant.
    """

    def __init__(
        self,
        conversation: Conversation,
        template: PrefixTemplate,
        kwargs: Mapping[str, Any] | None = None,
        as_parts: frozenset[str] = frozenset(),
        wanted: Iterable[int] | None = None,
    ) -> None:
        super().__init__(conversation, template.template, kwargs, as_parts)
        self._prefixes = template
        if wanted is None:
            wanted = (i for i, message in enumerate(self.messages) if message.role == "assistant")
        self._versions = _versions_of(wanted, len(self.messages))
        self._numbers = {version: number for number, version in enumerate(self._versions)}

    @cached_property
    def run(self) -> Run | None:
        """The run of all versions; None if these are rendered the plain way."""
        try:
            run = self._prefixes.run(self._traced, self._versions, self._traced_tools, self._traced_kwargs)
        except NotFollowed as reason:
            self._prefixes.reasons[str(reason)] += 1
            return None
        whole = len(self._versions) - 1
        if whole not in run.texts:
            self._prefixes.reasons["an error in the whole conversation"] += 1
            return None
        plain = super()._render(len(self.messages), prompt=False)
        if plain != _text_of(run, whole):
            self._prefixes.reasons["another text than a plain render"] += 1
            return None
        return run

    def _render(self, count: int, *, prompt: bool, traced: bool = False) -> str:
        number = self._numbers.get(Version(count, prompt))
        if number is None:
            self._prefixes.reasons["another version"] += 1
        elif self.run is not None:
            if number in self.run.texts:
                return self._text(number, traced=traced)
            self._prefixes.reasons["an error in a version"] += 1
        return super()._render(count, prompt=prompt, traced=traced)

    def _text(self, number: int, *, traced: bool) -> str:
        if self.run is None:
            raise NotFollowed
        return _text_of(self.run, number) if traced else str.__str__(_text_of(self.run, number))


def _versions_of(wanted: Iterable[int], count: int) -> list[Version]:
    """Return the versions for the turns of some messages and the whole conversation, which is the last."""
    versions = {Version(count, prompt=False)}
    for index in wanted:
        versions.add(Version(index + 1, prompt=False))
        if index:  # without a message before it, most templates raise
            versions |= {Version(index, prompt=True), Version(index, prompt=False)}
    return sorted(versions)


def _text_of(run: Run, number: int) -> str:
    pieces = [piece for node in run.texts[number].path() for piece in node.pieces]
    return as_traced(JoinedStr.joined(pieces))
