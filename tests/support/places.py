"""Where the sample and the shared folder lie, and the type of the fixture that makes stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from premask.labeller import Stages

ROOT = Path(__file__).resolve().parents[2]


SAMPLE = ROOT / "pipeline" / "premask" / "sample"


SHARED = ROOT.parent / "shared"


MakeStages = Callable[..., Stages]
"""`make(tokenizer, **recipe_keys)`; a tokenizer is `sample`, a name in shared/tokenizers, or a path."""
