"""premask: chat data in, training shards with the loss mask already in them out.

    import premask
    recipe = premask.load_recipe("recipe.yaml")

What is public is in `__all__`. A name is loaded when it is first used, so `import premask` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.errors import PremaskError, RowError
    from .core.recipe import Recipe
    from .core.recipe_file import load_recipe
    from .labeller import Labeller

__version__ = "0.1.0"

__all__ = ["Labeller", "PremaskError", "Recipe", "RowError", "__version__", "load_recipe"]

_HOMES = {
    "Labeller": ".labeller",
    "PremaskError": ".core.errors",
    "Recipe": ".core.recipe",
    "RowError": ".core.errors",
    "load_recipe": ".core.recipe_file",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
