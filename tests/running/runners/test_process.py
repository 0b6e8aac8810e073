"""What the command does for its own process, seen in one of its own: it cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from commands import ROOT, TOKENIZER

ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
SCRIPT = f"""
import importlib.util, sys
find = importlib.util.find_spec
from premask.running.runners.process import prepare_process
from premask.tokens.transformers_library import leave_torch_out, transformers
prepare_process()
leave_torch_out()
assert importlib.util.find_spec is find
import pyarrow as pa
from premask.tokens.tokenizer import load_tokenizer
load_tokenizer({str(TOKENIZER)!r})
transformers().AutoTokenizer.from_pretrained({str(TOKENIZER)!r})
pa.array([1, 2]).to_numpy()
print(sorted({{"torch", "pandas"}} & {{*sys.modules}}))
"""


def test_neither_torch_nor_pandas_is_imported() -> None:
    """Both are installed where the tests run in full; nothing that is done for a row needs them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=ENVIRON, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_they_would_be_otherwise() -> None:
    """The test above can fail."""
    pytest.importorskip("torch")
    script = f"""
import sys
from premask.tokens.transformers_library import transformers
transformers().AutoTokenizer.from_pretrained({str(TOKENIZER)!r})
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRON, capture_output=True, text=True, check=False
    )

    assert done.stdout == "True\n", done.stderr
