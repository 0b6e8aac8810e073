"""Where the sample and the shared folder are, and the types of the fixtures that load labellers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from premask.labeller import Labeller
from premask.running.batches import BatchLabeller

ROOT = Path(__file__).resolve().parents[2]


SAMPLE = ROOT / "pipeline" / "premask" / "sample"


SHARED = ROOT.parent / "shared"


MakeLabeller = Callable[..., Labeller]
"""`make(tokenizer, **recipe_keys)`; a tokenizer is `sample`, a name in shared/tokenizers, or a path."""


MakeBatches = Callable[..., BatchLabeller]
"""The same for batches."""
