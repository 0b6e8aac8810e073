"""premask: chat data in, training shards with the loss mask already in them out.

    import premask
    masker = premask.Masker("Qwen/Qwen3-0.6B")            # one conversation
    masked = premask.mask(dataset, "Qwen/Qwen3-0.6B")      # rows in memory
    premask.show(masked, "Qwen/Qwen3-0.6B")                # what is trained

What is public is in `__all__`. A name is loaded when it is first used, so `import premask` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.mask import mask
    from .api.masker import MaskedSample, Masker
    from .api.show import show
    from .core.errors import PremaskError, RowError
    from .core.recipe import Recipe
    from .core.recipe_file import load_recipe
    from .labeller import Labeller

__version__ = "0.1.0"

__all__ = [
    "Labeller",
    "MaskedSample",
    "Masker",
    "PremaskError",
    "Recipe",
    "RowError",
    "__version__",
    "load_recipe",
    "mask",
    "show",
]

_HOMES = {
    "Labeller": ".labeller",
    "MaskedSample": ".api.masker",
    "Masker": ".api.masker",
    "PremaskError": ".core.errors",
    "Recipe": ".core.recipe",
    "RowError": ".core.errors",
    "load_recipe": ".core.recipe_file",
    "mask": ".api.mask",
    "show": ".api.show",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
