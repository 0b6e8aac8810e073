"""The environment of units whose strings are symbolic."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..chat_template import ChatTemplate
from ..symbolic import Symbolic, SymbolicEnvironment
from .environment import FacetEnvironment


class SymbolicPrefixEnvironment(FacetEnvironment, SymbolicEnvironment):
    """The environment of units whose strings are symbolic."""

    texts: frozenset[type] = frozenset({str, Symbolic})

    def __init__(self, template: ChatTemplate) -> None:
        super().__init__(template)

    def contains(self, item: Any, container: Any) -> bool:
        return super().contains(self.alone(item), container)

    def join_strings(self, values: Iterable[Any]) -> str:
        return SymbolicEnvironment.join_strings(self, [self.alone(value) for value in values])
