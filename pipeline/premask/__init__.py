"""premask: chat data in, training shards with the loss mask already in them out.

    import premask
    masker = premask.Masker("Qwen/Qwen3-0.6B")                      # one conversation
    masked = premask.mask(dataset, "Qwen/Qwen3-0.6B")               # rows in memory
    premask.show(masked, "Qwen/Qwen3-0.6B")                         # what is trained
    packs = premask.prepare(dataset, "Qwen/Qwen3-0.6B", max_length=8192)
    result = premask.run(sources=[dataset], tokenizer="Qwen/Qwen3-0.6B", output="out/chats")

What is public is in `__all__`. A name is loaded when it is first used, so `import premask` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.kinds import SampleRows
    from .api.mask import mask, prepare
    from .api.masker import MaskedSample, Masker
    from .api.outputs import diff, verify
    from .api.outputs import open_output as open  # noqa: A004  premask.open
    from .api.pack import pack
    from .api.result import Result
    from .api.run import run
    from .api.show import show
    from .core.errors import (
        OutputError,
        PremaskError,
        PushError,
        RecipeError,
        RowError,
        RunError,
        SourceError,
        TemplateError,
        TokenizerError,
        VerifyError,
    )
    from .core.recipe import Recipe
    from .core.recipe_file import load_recipe
    from .labeller import Labeller

__version__ = "0.1.0"

__all__ = [
    "Labeller",
    "MaskedSample",
    "Masker",
    "OutputError",
    "PremaskError",
    "PushError",
    "Recipe",
    "RecipeError",
    "Result",
    "RowError",
    "RunError",
    "SampleRows",
    "SourceError",
    "TemplateError",
    "TokenizerError",
    "VerifyError",
    "__version__",
    "diff",
    "load_recipe",
    "mask",
    "open",
    "pack",
    "prepare",
    "run",
    "show",
    "verify",
]

_ERRORS = [name for name in __all__ if name.endswith("Error")]

_HOMES = {
    **dict.fromkeys(_ERRORS, ".core.errors"),
    "Labeller": ".labeller",
    "MaskedSample": ".api.masker",
    "Masker": ".api.masker",
    "Recipe": ".core.recipe",
    "Result": ".api.result",
    "SampleRows": ".api.kinds",
    "diff": ".api.outputs",
    "load_recipe": ".core.recipe_file",
    "mask": ".api.mask",
    "open": ".api.outputs",
    "pack": ".api.pack",
    "prepare": ".api.mask",
    "run": ".api.run",
    "show": ".api.show",
    "verify": ".api.outputs",
}
"""Public name -> the module that has it."""

_OTHER_NAMES = {"open": "open_output"}
"""Public names that would hide a built-in function in their module."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name], __name__)
    return getattr(module, _OTHER_NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
