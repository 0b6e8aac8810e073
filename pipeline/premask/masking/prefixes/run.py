"""The run: a template over all versions of a conversation.

    run = Run(units, versions, messages, variables)
    run.texts[3]         the text of version 3, as a rope (`states.Node`)
    run.failed[4]        what the template raised in version 4

Versions go through the units together, as sets. A unit is run for the lead of a set; the versions that answer
a question otherwise run it again. A loop over a view goes forwards with all versions: in each turn those with
no more messages leave. A loop over the messages in reverse starts with the version of the most messages, and
the others enter at their last one. Wherever states of versions are alike they become one (`states.merged`).

Cost: about ten microseconds a unit. Most templates take two to five units for each message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2.runtime import Context

from ..chat_template import MAX_RENDERED
from ..traced import JoinedStr, TracedStr, as_traced
from .environment import TOO_MUCH
from .facets import Choice, choice
from .states import Node, State, check_frame, check_held, merged
from .units import Units
from .versions import NotFollowed, Version, Versions, bits
from .views import Listed, Loop, Once, View

UNITS_PER_MESSAGE = 12
"""Units that a run may take for each message; a template that takes more is faster the plain way."""

UNITS_AT_LEAST = 60
"""Units that any run may take."""


class Run:
    """One run of a template for all versions. Raises `NotFollowed` if it does something not followed.

    `refusals` are the exceptions that end the run, besides `NotFollowed`; all others are those of a version.
    """

    def __init__(
        self,
        units: Units,
        versions: Sequence[Version],
        messages: Sequence[Any],
        variables: Mapping[str, Any],
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self.texts: dict[int, Node] = {}
        self.failed: dict[int, Exception] = {}
        self.units_run = 0
        self._most = UNITS_AT_LEAST + UNITS_PER_MESSAGE * len(messages)
        self._units = units
        self._refusals: tuple[type[Exception], ...] = (NotFollowed, *refusals)
        self._versions = self._versions_of(versions)
        self._environment = units.environment
        self._context = Context(
            units.environment, {**units.globals, **variables, **self._facets(messages)}, None, {}
        )
        with self._environment.running(self._versions):
            try:
                self._go(0, [State(self._versions.every, units.start, {}, (), Node(None, ()))])
            except RecursionError:
                raise NotFollowed("nested too deeply") from None

    def text(self, number: int) -> TracedStr:
        """Return the text of a version, traced."""
        pieces = [piece for node in self.texts[number].path() for piece in node.pieces]
        return as_traced(JoinedStr.joined(pieces))

    def _versions_of(self, versions: Sequence[Version]) -> Versions:
        return Versions(versions)

    def _facets(self, messages: Sequence[Any]) -> dict[str, Any]:
        """Return the variables in which versions differ."""
        listed = enumerate(self._versions.listed)
        asked = choice(self._versions, [(1 << number, version.prompt) for number, version in listed])
        return {"messages": View(self._versions, messages), "add_generation_prompt": asked}

    # ==== units ====

    def _go(self, number: int, states: Sequence[State]) -> None:
        """Run a unit for some states, and all that follows it."""
        following: dict[int, list[State]] = {}
        loops: dict[int, list[tuple[State, Any]]] = {}
        for state in states:
            for result, end in self._results(number, state):
                if result is None:
                    self.texts.update(dict.fromkeys(bits(end.versions), end.node))
                    continue
                end.frame = result[1]
                check_frame((*end.frame, *end.variables.values()), self._environment)
                if result[0] in self._units.loops:
                    loops.setdefault(result[0], []).append((end, result[2]))
                else:
                    following.setdefault(result[0], []).append(end)
        for unit, ends in following.items():
            self._go(unit, merged(self._versions, ends))
        for unit, entries in loops.items():
            after = [end for entry in self._entries(entries) for end in self._loop(unit, *entry)]
            self._go(self._units.loops[unit], merged(self._versions, after))

    def _results(self, number: int, state: State, *args: Any) -> Iterator[tuple[Any, State]]:
        """Run a unit for a state: yield what it returns, and the state behind it, for each set of versions
        that it cannot tell apart."""
        code, environment, versions = self._units.code[number], self._environment, self._versions
        is_turn = number in self._units.loops
        pending = state.versions
        while pending:
            versions.take(pending)
            environment.fill(state.held)
            self._context.vars = state.variables if is_turn else state.variables.copy()
            self._count_unit()
            pieces: list[str] = []
            environment.prints(pieces, state.steps)
            try:
                result = code(self._context, environment, state.frame, pieces.append, *args)
                node = self._printed(state.node, pieces)
            except self._refusals:
                raise
            except Exception as error:  # noqa: BLE001  a template can raise anything; a plain render words it
                self.failed.update(dict.fromkeys(bits(versions.live), error.with_traceback(None)))
                pending &= ~versions.live
                continue
            made = len(state.held) if is_turn else environment.made  # a turn leaves none of its own behind
            held = environment.held(made)
            for attributes in held:
                check_held(attributes.values(), environment, made)
            yield result, State(versions.live, state.frame, self._context.vars, held, node, environment.steps)
            pending &= ~versions.live

    def _count_unit(self) -> None:
        self.units_run += 1
        if self.units_run > self._most:
            raise NotFollowed("budget")

    def _printed(self, node: Node, pieces: list[str]) -> Node:
        if not pieces:
            return node
        node = Node(node, pieces)
        if node.size > MAX_RENDERED:
            raise NotFollowed(TOO_MUCH)
        return node

    # ==== loops ====

    def _entries(self, entries: Sequence[tuple[State, Any]]) -> list[tuple[State, View | Listed]]:
        """Return the states that enter a loop, with what they loop over; those that are alike as one."""
        groups: list[tuple[View | Listed, list[State]]] = []
        for state, items in entries:
            for own, over in self._loops_over(state, items):
                for known, states in groups:
                    if known is over or (type(known) is View and type(over) is View and known.same(over)):
                        states.append(own)
                        break
                else:
                    groups.append((over, [own]))
        return [(state, over) for over, states in groups for state in merged(self._versions, states)]

    def _loops_over(self, state: State, items: Any) -> Iterator[tuple[State, View | Listed]]:
        """Yield what a loop goes over, for the versions of a state."""
        if isinstance(items, Once):
            items = items.take()
        if isinstance(items, View):
            yield state, items
        elif isinstance(items, Choice):
            for versions, value in items.pairs:
                if versions & state.versions:
                    yield from self._loops_over(state.of(versions & state.versions), value)
        else:
            self._versions.take(state.versions)
            try:
                listed = Listed(self._versions, list(items))
            except self._refusals:
                raise
            except Exception as error:  # noqa: BLE001  the loop raises it
                self.failed.update(dict.fromkeys(bits(state.versions), error.with_traceback(None)))
                return
            if self._versions.live != state.versions:
                raise NotFollowed("a loop over what depends on the version")
            yield state, listed

    def _loop(self, unit: int, state: State, over: View | Listed) -> list[State]:
        """Run a loop; return the states behind it."""
        return self._backwards(unit, state, over) if over.backwards else self._forwards(unit, state, over)

    def _forwards(self, unit: int, state: State, over: View | Listed) -> list[State]:
        active, after, place = [state], list[State](), over.start
        while active:
            longer = over.longer(place - over.start)
            following: list[State] = []
            for each in active:
                if over_now := each.versions & ~longer:
                    after.append(each.of(over_now))
                if left := each.versions & longer:
                    self._turn(unit, each.of(left), over, place, (following, after))
            active = merged(self._versions, following)
            place += 1
        return after

    def _backwards(self, unit: int, state: State, over: View | Listed) -> list[State]:
        waiting = state.versions & over.longer(0)
        after = [state.of(state.versions & ~waiting)] if waiting != state.versions else []
        active: list[State] = []
        for place in range(len(over.items) - 1, over.start - 1, -1):
            if entering := waiting & over.longer(place - over.start):
                waiting &= ~entering
                active = merged(self._versions, [*active, state.of(entering)])
            following: list[State] = []
            for each in active:
                self._turn(unit, each, over, place, (following, after))
            active = merged(self._versions, following)
        return after + active

    def _turn(
        self,
        unit: int,
        state: State,
        over: View | Listed,
        place: int,
        ends: tuple[list[State], list[State]],
    ) -> None:
        """Run one turn of a loop; the states behind it are added to those that go on, or that leave."""
        args = [over.items[place]]
        if unit in self._units.with_loop:
            args.append(Loop(over, place, self._environment.undefined))
        for leaves, end in self._results(unit, state, *args):
            ends[leaves].append(end)
