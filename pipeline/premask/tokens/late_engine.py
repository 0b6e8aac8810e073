"""A fast engine that is loaded once there is enough work for it.

    make = partial(LateEngine, backend=backend)
    engines = TwoEngines(backend, proof, make=make)

Loading the fast engine takes as long as encoding a million characters with the reference engine, and both
give the same ids for the texts that the engine check allows. So the first texts of a process use the
reference engine: a command for a few rows never loads the other one. Large batches load it at once.

All encoders of a process share one engine for each tokenizer (`shared_engine`), and so does the engine check.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import tokenizers

from .engines import Engine, GigatokenEngine, Ids, TokenizersEngine

ENOUGH = 400_000
"""Characters for which the fast engine is loaded: a tenth of a second with the reference engine."""

_loaded: set[str] = set()


@lru_cache(maxsize=4)
def shared_engine(tokenizer_json: str) -> Engine:
    """Return the fast engine of a tokenizer; it is loaded once."""
    engine = GigatokenEngine(tokenizer_json)
    _loaded.add(tokenizer_json)
    return engine


class LateEngine:
    """The fast engine for large batches, and once it is loaded; the reference engine before."""

    name = GigatokenEngine.name

    def __init__(self, tokenizer_json: str, *, backend: tokenizers.Tokenizer) -> None:
        self._json = tokenizer_json
        self._reference = TokenizersEngine(backend)
        self._encoded = 0

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the ids of all texts, flat."""
        if self._json not in _loaded:
            self._encoded += sum(map(len, texts))
            if self._encoded < ENOUGH:
                return self._reference.encode(texts)
        return shared_engine(self._json).encode(texts)
