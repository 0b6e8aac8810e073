"""The environment of units whose strings are symbolic: what they print holds for all texts of a shape."""

from __future__ import annotations

from typing import Any

from ..symbolic import JsonSlot, Symbolic, SymbolicEnvironment
from .environment import FacetEnvironment
from .facets import Facet


class SymbolicPrefixEnvironment(FacetEnvironment, SymbolicEnvironment):
    """The environment of units over symbolic strings; runs must give `Unplannable` as a refusal."""

    texts = frozenset({str, Symbolic})
    unchanging = frozenset({JsonSlot})

    def contains(self, item: Any, container: Any) -> bool:
        """Return `item in container`; a facet asks each of its values."""
        item, contains = self.alone(item), super().contains
        if isinstance(container, Facet):
            return container.ask(lambda value: contains(item, value))
        return contains(item, container)
