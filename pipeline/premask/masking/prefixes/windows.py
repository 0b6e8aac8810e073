"""Windows from one run: what the proof of a turn looks at, without the text before it.

    whole = WholeRope(run.texts[last], text)
    whole.base([prompt, through, before], index)     where these texts and the whole are still the same

Versions share the nodes of their ropes, so where two texts part is known without comparing them. A window
begins one node before the last text in front of the generation prompt that the template did not write.

Cost: linear in the text of the window; all windows of a conversation together are linear in its text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..texts import Text
from ..traced import JoinedStr, as_traced
from .states import Node

_NODES_BEHIND = 2
"""Nodes of the whole that a window shows behind its longest text."""

_SHOWN = 100
"""Characters before that text that a window has at least: messages about refused rows show some of them."""


class WholeRope:
    """The whole conversation: its nodes, where each of them ends, and its text."""

    def __init__(self, node: Node, text: Text) -> None:
        self.text = text
        self._nodes = frozenset(map(id, path := node.path()))
        self._ends = [each.size for each in path]

    def shared(self, node: Node) -> int:
        """Return the characters that a text shares with the whole, up to the end of a node."""
        while id(node) not in self._nodes:
            if node.parent is None:
                return 0
            node = node.parent
        return node.size

    def base(self, texts: Sequence[Node], index: int) -> int:
        """Return where the window of message `index` begins: before the last text that all these share and
        that the template did not write."""
        content, _ = self.text.content_before(min(map(self.shared, texts)), but=index)
        before = bisect_left(self._ends, content - _SHOWN) - 1
        return self._ends[before] if before >= 0 else 0

    def end(self, base: int, texts: Sequence[Node]) -> int:
        """Return where the window ends: behind the next nodes after its longest text."""
        place = bisect_left(self._ends, max(base, *(node.size for node in texts))) + _NODES_BEHIND
        return self._ends[min(place, len(self._ends) - 1)]


def text_from(node: Node, base: int) -> Text:
    """Return a text from a character on, which is where one of its nodes ends."""
    nodes = list[Node]()
    while node.size > base and node.parent is not None:
        nodes.append(node)
        node = node.parent
    pieces = [piece for each in reversed(nodes) for piece in each.pieces]
    return Text.of(as_traced(JoinedStr.joined(pieces)))
