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
from functools import cached_property, partial
from typing import Any

from ...core.errors import RowError
from ...core.records import Conversation
from ..chat_template import ChatTemplate
from ..renders import Renders, TracedWindow, Window
from .run import Run
from .states import Node
from .traced_environment import TracedPrefixEnvironment
from .units import Units, Unsplit
from .versions import NotFollowed, Version
from .windows import WholeRope, text_from


class PrefixTemplate:
    """A chat template, cut into units.

    template   the template itself
    reasons    why conversations were rendered the plain way, and how often
    """

    def __init__(self, template: ChatTemplate) -> None:
        self.template = template
        self.reasons: Counter[str] = Counter()
        self._units: dict[str, Units | Unsplit] = {}

    @property
    def unsplit(self) -> dict[str, str]:
        """The sources that cannot be cut, and why."""
        units = {name: self._cut(name) for name in self.template.sources}
        return {name: str(each) for name, each in units.items() if isinstance(each, Unsplit)}

    def _cut(self, name: str) -> Units | Unsplit:
        """Return the units of a source, made when they are first asked for, or why there are none."""
        if name not in self._units:
            try:
                environment = TracedPrefixEnvironment(self.template.date)
                self._units[name] = Units(environment, self.template.sources[name])
            except Unsplit as error:
                self._units[name] = error
            except (RecursionError, SyntaxError):  # the units are nested more deeply than the template
                self._units[name] = Unsplit("nested too deeply")
        return self._units[name]

    def run(
        self,
        messages: list[dict[str, Any]],
        versions: list[Version],
        tools: Any,
        kwargs: Mapping[str, Any],
    ) -> Run:
        """Run the template for some versions of traced messages. Raises `NotFollowed`."""
        which = self.template.source_for(tools)
        units = self._cut(which)
        if isinstance(units, Unsplit):
            raise NotFollowed(f"unsplit: {units}")
        variables = self.template.variables_for(tools, kwargs)
        return Run(units, versions, messages, variables)


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
        self.versions = _versions_of(wanted, len(self.messages))
        self._last = len(self.versions) - 1
        self._numbers = {version: number for number, version in enumerate(self.versions)}

    @cached_property
    def run(self) -> Run | None:
        """The run of all versions; None if these are rendered the plain way."""
        try:
            run = self._prefixes.run(self._traced, self.versions, self._traced_tools, self._traced_kwargs)
        except NotFollowed as reason:
            return self._plain_way(str(reason))
        if self._last not in run.texts:
            return self._plain_way("an error in the whole conversation")
        try:
            plain = super()._render(len(self.messages), prompt=False)
        except RowError:
            return self._plain_way("an error in the whole conversation")
        return run if plain == run.text(self._last) else self._plain_way("another text than a plain render")

    def _plain_way(self, reason: str) -> Run | None:
        """Count why there is no run."""
        self._prefixes.reasons[reason] += 1
        return None

    def window(self, index: int) -> Window:
        nodes = self._nodes_of(index)
        if nodes is None or (span := self.whole.span(index)) is None:
            return super().window(index)
        texts = list(nodes.values())
        base = self._rope.base(texts, index)
        if span[0] < base:
            return super().window(index)
        whole = self.whole.cut(base, max(span[1], self._rope.end(base, texts)))
        made = {name: partial(text_from, node, base) for name, node in nodes.items()}
        return TracedWindow(whole, made, base)

    def _nodes_of(self, index: int) -> dict[str, Node] | None:
        """Return the texts of a turn; None if the run has not all of them."""
        versions = {
            "prompt": Version(index, prompt=True),
            "through": Version(index + 1, prompt=False),
            "before": Version(index, prompt=False),
        }
        numbers = {name: self._numbers.get(version, -1) for name, version in versions.items()}
        if self.run is None or not all(number in self.run.texts for number in numbers.values()):
            return None
        return {name: self.run.texts[number] for name, number in numbers.items()}

    @cached_property
    def _rope(self) -> WholeRope:
        if self.run is None:
            raise NotFollowed("no run")
        return WholeRope(self.run.texts[self._last], self.whole)

    def _render(self, count: int, *, prompt: bool, traced: bool = False) -> str:
        number = self._numbers.get(Version(count, prompt))
        if number is None:
            self._prefixes.reasons["another version"] += 1
        elif self.run is not None:
            if number in self.run.texts:
                text = self.run.text(number)
                return text if traced else str.__str__(text)
            self._prefixes.reasons["an error in a version"] += 1
        return super()._render(count, prompt=prompt, traced=traced)


def _versions_of(wanted: Iterable[int], count: int) -> list[Version]:
    """Return the versions for the turns of some messages and the whole conversation, which is the last."""
    versions = {Version(count, prompt=False)}
    for index in wanted:
        versions.add(Version(index + 1, prompt=False))
        if index:  # without a message before it, most templates raise
            versions |= {Version(index, prompt=True), Version(index, prompt=False)}
    return sorted(versions)
